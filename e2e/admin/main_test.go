// Package admin tests what operators see and do through a real Envoy: the admin path, the metrics
// and the logs.
package admin

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

var shared = rigtest.Shared{Filter: `{"rules": [
	{"name": "secret", "match": {"path": {"prefix": "/secret/"}}, "client": [{"query": "client"}]}
]}`}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
