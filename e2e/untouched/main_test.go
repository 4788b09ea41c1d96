// Package untouched tests that a request which is not for an event stream passes Envoy in the same
// way with the filter and without it.
package untouched

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

var shared = rigtest.Shared{Filter: `{"rules": [
	{"name": "reuse", "match": {"path": {"prefix": "/reuse/"}}, "client": [{"query": "client"}]},
	{"name": "plain", "match": {"path": {"prefix": "/plain/"}}, "client": [{"header": "x-user"}]}
]}`}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
