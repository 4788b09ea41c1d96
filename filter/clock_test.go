package main_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Somebody sets the wall clock while streams live. All durations are measured by the monotonic
// clock, so no stream ends early, and none lives on.

func TestClockSetForwardEndsNoStream(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events",
		"client": [{"header": "x-client-id"}], "idle_timeout": "60s", "max_lifetime": "1h", "lifetime_jitter_percent": 0}]}`)})
	var streams []*host.Stream
	for i := range 200 {
		streams = append(streams, e.open(0, strconv.Itoa(i)))
	}
	e.Advance(2 * time.Second)
	e.SetWallClock(2 * time.Hour)
	e.Advance(50 * time.Second)
	if n := living(streams); n != 200 {
		t.Errorf("%d of 200 streams live, want all: they were busy 52 s ago", n)
	}
}

func TestClockSetBackEndsStreamsInTime(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events",
		"client": [{"header": "x-client-id"}], "idle_timeout": "10s"}]}`)})
	s := e.open(0, "alice")
	e.SetWallClock(-time.Hour)
	e.Advance(12 * time.Second)
	e.live(s, false)
}

func TestClockSetBackEndsAWait(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(atRequest)})
	old, _ := e.ask(0, "alice")
	old.ResponseHeaders(eventStream, false)
	e.Worker(0).Crash() // nobody says that the old stream has ended
	fresh, ok := e.ask(1, "alice")
	if ok {
		t.Fatal("the request does not wait")
	}
	e.SetWallClock(-time.Hour)
	e.Advance(3 * time.Second)
	if !through(fresh) {
		t.Error("the request still waits after 3 s, want two at most")
	}
}

func TestClockSetBackDoesNotSilenceTheLog(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{PluginConfig: []byte(`{"rules": [{"name": "events",
		"client": [{"header": "x-client-id"}], "on_duplicate": "reject_new"}]}`)})
	e.open(0, "alice")
	e.SetWallClock(-time.Hour)
	for range 60 {
		e.Advance(20 * time.Second) // longer than the wait that a refusal asks for
		e.Worker(1).Open(host.Request("GET", "/events", "accept", "text/event-stream", "x-client-id", "alice")).RequestHeaders(true)
	}
	if n := len(e.Logs().AtLeast(host.LogInfo).Containing("refused")); n != 60 {
		t.Errorf("%d of 60 refusals, 20 s apart, are logged at info", n)
	}
}
