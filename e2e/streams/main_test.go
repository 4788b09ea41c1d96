// Package streams tests the life of one event stream through a real Envoy: how it opens, how
// another one takes its place, and how it ends.
package streams

import (
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

var shared = rigtest.Shared{Filter: `{"rules": [
	{"name": "rejected", "match": {"path": {"prefix": "/rejected/"}}, "client": [{"query": "client"}]},
	{"name": "post",     "match": {"path": {"prefix": "/post/"}},     "client": [{"query": "client"}]},
	{"name": "leave",    "match": {"path": {"prefix": "/leave/"}},    "client": [{"query": "client"}]},
	{"name": "finish",   "match": {"path": {"prefix": "/finish/"}},   "client": [{"query": "client"}]},
	{"name": "observe",  "match": {"path": {"prefix": "/observe/"}},  "client": [{"query": "client"}], "mode": "observe"},
	{"name": "two",      "match": {"path": {"prefix": "/two/"}},      "client": [{"query": "client"}], "max_streams": 2},
	{"name": "crowd",    "match": {"path": {"prefix": "/crowd/"}},    "client": [{"query": "client"}], "max_streams": 64},
	{"name": "slow",     "match": {"path": {"prefix": "/slow/"}},     "client": [{"query": "client"}]},
	{"name": "mux",      "match": {"path": {"prefix": "/mux/"}},      "client": [{"query": "client"}]}
]}`}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
