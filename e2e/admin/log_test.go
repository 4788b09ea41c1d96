package admin

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Every thread starts the filter, but Envoy's log says only once at info which version runs with
// which configuration.
func TestStartIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	const started = "started version=" + rig.Version + ` config={"rules":[{"name":"secret",`
	var loud, quiet int
	for _, line := range r.Log.Containing("started version=") {
		entry, ok := proxy.ParseLogEntry(line)
		switch {
		case !ok || !strings.Contains(line, started):
			t.Errorf("log: got %s, want %s", line, started)
		case entry.Level == "info":
			loud++
		case entry.Level == "debug":
			quiet++
		}
	}
	if loud != 1 {
		t.Errorf("got the start %d times at info, want once", loud)
	}
	if quiet == 0 {
		t.Error("got no start at debug, want one: otherwise other tests of this log prove nothing")
	}
}

// A client id may be a session cookie or an address. No log of Envoy contains it, whatever happens
// to the client's streams, even at wasm:debug. The log has a hash of it instead.
func TestLogsNameNoClient(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("secret", client))
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("secret", client))
	rigtest.WantEnd(t, old, rig.Reset)
	newer.Close()
	rigtest.WantCounts(t, r, "secret", rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
	for _, want := range []string{"takeover rule=secret client=", "reset rule=secret client=", "ended rule=secret client="} {
		if len(r.Log.Containing(want)) == 0 {
			t.Errorf("log: want a line with %q", want)
		}
	}
	if found := rigtest.Leaks(r); len(found) > 0 {
		t.Errorf("logs: want no client id, got\n%s", strings.Join(found, "\n"))
	}
}
