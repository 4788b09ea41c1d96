package http3

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

const rules = `{"rules": [
	{"name": "one",       "match": {"path": {"prefix": "/one/"}},       "client": [{"query": "client"}]},
	{"name": "early",     "match": {"path": {"prefix": "/early/"}},     "client": [{"query": "client"}], "claim_at": "request"},
	{"name": "polite",    "match": {"path": {"prefix": "/polite/"}},    "client": [{"query": "client"}], "goodbye_grace": "60s"},
	{"name": "duplicate", "match": {"path": {"prefix": "/duplicate/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new"},
	{"name": "hasty",     "match": {"path": {"prefix": "/hasty/"}},     "client": [{"query": "client"}], "on_duplicate": "reject_new", "claim_at": "request"},
	{"name": "limited",   "match": {"path": {"prefix": "/limited/"}},   "client": [{"query": "client"}], "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}}
]}`

// What a client sees over HTTP/3 is what clients of the other protocols see. All of it happens in
// one Envoy, whose start takes longer than the rest, and one after the other: to choose a worker
// nobody else may connect.
func TestStreams(t *testing.T) {
	e := start(t, rig.Options{Concurrency: 2, Filter: rules, LogLevel: "wasm:debug"})
	t.Run("takeovers", func(t *testing.T) { takeovers(t, e) })
	t.Run("releases", func(t *testing.T) { releases(t, e) })
	t.Run("refusals", func(t *testing.T) { refusals(t, e) })
	rigtest.WantNoLeaks(t, e.Rig)
	for reason, want := range map[string]int{"refused_duplicate": 4, "refused_takeover_limit": 2} {
		if got := len(e.Access.Containing(`"protocol":"HTTP/3","reason":"` + reason + `"`)); got != want {
			t.Errorf("the access log has %d requests over HTTP/3 that were %s, want %d", got, reason, want)
		}
	}
}
