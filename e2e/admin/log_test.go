package admin

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Envoy's log says once which filter it runs with which configuration, although every thread starts it.
func TestStartIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	const started = "started version=" + rig.Version + ` config={"rules":[{"name":"secret",`
	var loud, quiet int
	for _, line := range r.Log.Containing("started version=") {
		entry, ok := proxy.ParseLogEntry(line)
		switch {
		case !ok || !strings.Contains(line, started):
			t.Errorf("log: %s; want %s", line, started)
		case entry.Level == "info":
			loud++
		case entry.Level == "debug":
			quiet++
		}
	}
	if loud != 1 {
		t.Errorf("the start is logged %d times at info, want once", loud)
	}
	if quiet == 0 {
		t.Error("nothing is logged at debug: what follows from that log would prove nothing")
	}
}

// A client id may be a session cookie or an address: whatever happens to its streams, no log of Envoy's has it, not
// even at wasm:debug. The log can be followed by the client's hash all the same.
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
			t.Errorf("the log has no line with %q", want)
		}
	}
	if found := rigtest.Leaks(r); len(found) > 0 {
		t.Errorf("logs name clients:\n%s", strings.Join(found, "\n"))
	}
}
