package host_test

import (
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

func wantSent(t *testing.T, data []byte, end bool, want string, wantEnd bool) {
	t.Helper()
	if string(data) != want || end != wantEnd {
		t.Errorf("got the data %q, end %v; want %q, %v", data, end, want, wantEnd)
	}
}

// The filter holds data, changes them, and lets them go.
func TestConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "connection-downstream-data: body 2 0 9; return 1", "connection-upstream-data: setbody 3 0 0 re:")
	c := w.Worker(0).Connect()
	wantAction(t, c.DownstreamData([]byte("a"), false), host.StopIteration)
	wantAction(t, c.DownstreamData([]byte("b"), false), host.StopIteration)
	data, end := c.ToUpstream()
	wantSent(t, data, end, "", false)
	wantAction(t, c.UpstreamData([]byte("x"), true), host.Continue)
	data, end = c.ToClient()
	wantSent(t, data, end, "re:x", true)
	if c.Closed() || w.Worker(0).Contexts() != 2 {
		t.Error("the connection is closed, and the client has not closed its half")
	}
	c.Reset()
	wantLog(t, w.Logs(), "2 new-connection", "data: 1 0", `body 2 0 9 -> Ok "a"`, "data: 2 0", `body 2 0 9 -> Ok "ab"`, "2 upstream-data", "closed: 0", "2 upstream-close",
		"closed: 2", "2 downstream-close", "2 done", "2 log", "2 delete")
	wantAction(t, c.DownstreamData(nil, true), host.None)
	if !c.Closed() || w.Worker(0).Contexts() != 1 {
		t.Error("the connection is not closed after a reset")
	}
}

func TestConnectionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "connection-downstream-data: property source/address")
	c := w.Worker(0).Connect()
	c.DownstreamData([]byte("a"), true)
	c.UpstreamData([]byte("b"), true)
	if !c.Closed() {
		t.Error("both sides have ended, and the connection is open")
	}
	wantLog(t, w.Logs(), `property source/address -> Ok "127.0.0.1:49153"`, "closed: 1", "2 done")
}

// What the client sends waits until the filter lets a new connection go on.
func TestConnectionThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "connection-new-connection: return 1")
	c := w.Worker(0).Connect()
	c.DownstreamData([]byte("a"), false)
	if len(w.Logs().Containing("downstream-data")) > 0 {
		t.Error("the filter sees data of a connection that it has stopped")
	}
	open(w.Worker(0), "request-headers", "effective 2; continue 2")
	wantLog(t, w.Logs(), "effective 2 -> Ok", "data: 1 0", "2 downstream-data")
	data, end := c.ToUpstream()
	wantSent(t, data, end, "a", false)
}

// A VM that fails closes its connections. With fail open, they bypass the filter.
func TestConnectionOfAFailedVM(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "connection-downstream-data: panic ouch")
	c := w.Worker(0).Connect()
	wantAction(t, c.DownstreamData([]byte("a"), false), host.StopIteration)
	if later := w.Worker(0).Connect(); !c.Closed() || !later.Closed() {
		t.Error("the VM has failed, and connections are open")
	}
	w = newWorld(t, host.Config{FailurePolicy: host.FailOpen}, "connection-downstream-data: panic ouch")
	c = w.Worker(0).Connect()
	wantAction(t, c.DownstreamData([]byte("a"), false), host.Continue)
	later := w.Worker(0).Connect()
	later.DownstreamData([]byte("b"), false)
	data, end := later.ToUpstream()
	wantSent(t, data, end, "b", false)
}
