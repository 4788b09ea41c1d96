// Package untouched shows that requests which are no event streams pass a real Envoy with the filter as they pass one
// without it.
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
