package e2e

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Envoy's log says once which filter it runs with which configuration, although every thread starts it.
func TestStartIsAnnouncedOnce(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	const started = "started version=" + rig.Version + ` config={"rules":[{"name":"rejected",`
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
	r := sharedRig(t)
	client := newClient()
	old := open(t, dial(t, r, rig.HTTP1, 0), get("secret", client))
	newer := open(t, dial(t, r, rig.HTTP1, 1), get("secret", client))
	wantEnd(t, old, rig.Reset)
	newer.Close()
	wantCounts(t, r, "secret", counts{opened: 2, superseded: 1, released: 1})
	for _, want := range []string{"takeover rule=secret client=", "reset rule=secret client=", "ended rule=secret client="} {
		if len(r.Log.Containing(want)) == 0 {
			t.Errorf("the log has no line with %q", want)
		}
	}
	if found := leaks(r); len(found) > 0 {
		t.Errorf("logs name clients:\n%s", strings.Join(found, "\n"))
	}
}
