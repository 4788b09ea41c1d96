// Package clients tests the sources of a client's key through a real Envoy. A key is either what
// the client says about itself, or what Envoy has verified: a claim of a token, a certificate or an
// address.
package clients

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

var shared = rigtest.Shared{Filter: `{"rules": [
	{"name": "unkeyed",  "match": {"path": {"prefix": "/unkeyed/"}},  "client": [{"query": "client"}]},
	{"name": "separate", "match": {"path": {"prefix": "/separate/"}}, "client": [{"query": "client"}]},
	{"name": "header",   "match": {"path": {"prefix": "/header/"}},   "client": [{"header": "X-User"}]},
	{"name": "cookie",   "match": {"path": {"prefix": "/cookie/"}},   "client": [{"cookie": "session"}]},
	{"name": "pair",     "match": {"path": {"prefix": "/pair/"}},     "client": [{"header": "x-tenant"}, {"header": "x-user"}]}
]}`}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
