package main_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/host"
)

// swept is long enough to declare a worker dead and to search all buckets for its streams.
const swept = 6 * time.Second

// A VM dies with its streams. The other workers remove them from the registry.
func TestDeadWorkerIsSwept(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{FailurePolicy: host.FailReload})
	for _, client := range []string{"alice", "bob", "carol"} {
		e.open(0, client)
	}
	survivor := e.open(1, "dave")
	e.Worker(0).Crash()
	e.Advance(2 * time.Second)
	e.counted(map[string]uint64{"swept": 0, "events.active": 4}) // the worker might still live
	e.pass(swept)
	e.live(survivor, true)
	e.counted(map[string]uint64{"swept": 3, "events.active": 1, "lost_wakeups": 0})
	found := 0
	for _, line := range e.Logs().Containing("swept streams=") {
		n, err := strconv.Atoi(strings.TrimPrefix(line.Message, "swept streams="))
		if err != nil || line.Level != host.LogInfo {
			t.Errorf("line about the sweep: %v, want a number, at level info", line)
		}
		found += n
	}
	if found != 3 {
		t.Errorf("the log says that %d streams were swept, want 3", found)
	}
}

// A dead worker's streams may be of a rule that the sweeping workers do not have: a rule of another
// listener, or of an earlier configuration. Its gauge goes down all the same.
func TestSweepOfAnotherConfigurationsStreams(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	e.open(0, "alice")
	const id = 0xabcd
	bucket := registry.Bucket{Claims: 1, Entries: []registry.Entry{{Rule: id, Client: policy.Client{MaxStreams: 1, Streams: []policy.Stream{
		{Claim: 1, Owner: policy.Owner{Slot: 0, Incarnation: 1}, Context: 1},
	}}}}}
	e.SetSharedData("streamlatch/3/b/0", bucket.Append(nil))
	e.SetSharedData("streamlatch/3/rules", []byte("\x03\xcd\xab\x00\x00\x09elsewhere"))
	e.Advance(time.Duration(1<<14/64+1) * time.Second)                               // the slow search sees every bucket once
	if got := int64(e.Metrics().Gauges["streamlatch.elsewhere.active"]); got != -1 { // the stream was never counted up
		t.Errorf("the gauge of rule elsewhere is %d, want -1", got)
	}
	if got := e.Metrics().Counters["streamlatch.swept"]; got != 1 {
		t.Errorf("%d streams swept, want 1", got)
	}
}

// A client of the dead worker comes back twice: before any worker has noticed the death, and after
// the VM was started again.
func TestReloadAfterACrash(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{FailurePolicy: host.FailReload})
	e.open(0, "alice")
	e.Worker(0).Crash()
	fresh := e.open(1, "alice")
	e.Run()
	e.live(fresh, true)
	e.counted(map[string]uint64{"events.active": 1, "events.superseded": 1})

	e.Advance(5 * time.Second) // past the back-off of the reload, and long enough to declare the old worker dead
	again := e.open(0, "alice")
	e.Run()
	e.superseded(fresh)
	e.live(again, true)
	e.pass(swept)
	e.live(again, true)
	e.counted(map[string]uint64{"events.active": 1})
}

// With reject_new, a client whose worker has crashed is let in two seconds later, wherever it comes
// back: on the thread of the dead worker, though the new VM there is alone and nobody has declared
// the old one dead, and on another.
func TestRejectNewAfterACrash(t *testing.T) {
	t.Parallel()
	const config = `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}], "on_duplicate": "reject_new"}]}`
	for _, c := range []struct {
		name    string
		returns int  // the worker
		others  bool // another worker has streams, so it looks for dead workers
	}{
		{"alone, on the same thread", 0, false},
		{"alone, on another thread", 1, false},
		{"among others, on the same thread", 0, true},
		{"among others, on another thread", 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{FailurePolicy: host.FailReload, PluginConfig: []byte(config)})
			for n := range 4 {
				client := "alice-" + strconv.Itoa(n)
				e.open(0, client)
				if c.others {
					e.open(1, "bob-"+strconv.Itoa(n))
				}
				e.Advance(5*time.Second + time.Duration(n)*300*time.Millisecond) // it crashes at any time after a tick
				e.Worker(0).Crash()
				if early, ok := e.ask(c.returns, client); ok { // the worker might live
					t.Errorf("crash %d: %s is let in at once", n, client)
				} else if reason := early.FilterState()["wasm.streamlatch.reason"]; reason != "refused_duplicate" {
					t.Errorf("crash %d: %s is refused with reason %q", n, client, reason)
				}
				e.pass(2 * time.Second)
				back, ok := e.ask(c.returns, client)
				if !ok {
					t.Fatalf("crash %d: %s is not let in two seconds later: %+v", n, client, back.LocalReply())
				}
				back.ResponseHeaders(eventStream, false)
				e.pass(swept)
				e.live(back, true)
				back.End()
			}
			active := uint64(0)
			if c.others {
				active = 4
			}
			e.counted(map[string]uint64{"events.active": active})
		})
	}
}

// A worker stalls for so long that it is declared dead, and then comes back. Its streams are
// healthy and live on, except where the client has opened a newer one meanwhile.
func TestStalledWorkerComesBack(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	alice, bob := e.open(0, "alice"), e.open(0, "bob")
	e.open(1, "carol")
	for range 35 { // worker 1 lives, worker 0 does not; no wake-up is delivered, so the search is slow
		e.SkipTime(time.Second)
		e.Worker(1).Tick()
	}
	e.counted(map[string]uint64{"swept": 2, "events.active": 1})
	newer := e.open(1, "bob")
	e.Worker(0).Tick()
	e.Run()
	e.pass(swept)
	e.live(alice, true)
	e.superseded(bob)
	e.live(newer, true)
	e.counted(map[string]uint64{"events.active": 3, "events.superseded": 1, "lost_wakeups": 0})
}

// A worker crashes in the middle of a takeover or of a dismissal. If it has written the bucket, and
// its message never comes, the stream ends at the second tick. If it has only announced the
// message, nothing ends.
func TestCrashInTheMiddle(t *testing.T) {
	t.Parallel()
	const config = `{"rules": [{"name": "events", "match": {"path": {"exact": "/events"}}, "client": [{"header": "x-client-id"}]}], "admin_path": "/admin"}`
	for _, c := range []struct {
		name, call, key string
		ends            bool
	}{
		{"before the announcement", "proxy_set_shared_data", "streamlatch/3/w/", false},
		{"before the write", "proxy_set_shared_data", "streamlatch/3/b/", false},
		{"before the message", "proxy_enqueue_shared_queue", "", true},
	} {
		for _, dismissal := range []bool{false, true} {
			t.Run(c.name+map[bool]string{true: " of a dismissal"}[dismissal], func(t *testing.T) {
				t.Parallel()
				e := newEdge(t, host.Config{FailurePolicy: host.FailReload, PluginConfig: []byte(config)})
				old, other := e.open(0, "alice"), e.open(0, "bob")
				e.open(1, "carol").End() // worker 1 has joined
				e.pass(2 * time.Second)
				crashed := false
				e.Intercept(func(call *host.Call) {
					if call.Worker == 1 && call.Name == c.call && strings.HasPrefix(call.Key, c.key) && !crashed {
						crashed = true
						call.Trap("in the middle")
					}
				})
				if dismissal {
					e.Worker(1).Open(host.Request("DELETE", "/admin/streams/events/alice")).RequestHeaders(true)
				} else {
					e.request(1, "alice").ResponseHeaders(eventStream, false)
				}
				e.Intercept(nil)
				if !crashed || !e.Worker(1).Failed() {
					t.Fatal("worker 1 has not crashed")
				}
				e.pass(time.Second)
				e.live(old, true) // the message might still come
				e.pass(time.Second)
				e.live(old, !c.ends)
				if got := old.FilterState()["wasm.streamlatch.reason"]; c.ends && got != "unregistered" {
					t.Errorf("reason %q, want unregistered", got)
				}
				e.pass(swept)
				e.live(old, !c.ends)
				e.live(other, true)
				active := uint64(2)
				if c.ends {
					active = 1
				}
				e.counted(map[string]uint64{"events.active": active, "lost_wakeups": 2 - active})
			})
		}
	}
}

// A value that no version of the filter has written is counted and started afresh. The new claim
// stands.
func TestMalformedBucket(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{})
	s := e.open(0, "alice")
	s.End()
	var key string
	for k := range e.SharedData() {
		if strings.HasPrefix(k, "streamlatch/3/b/") {
			key = k
		}
	}
	for _, value := range [][]byte{nil, {0}, {255, 1, 2, 3}, []byte(strings.Repeat("\x01", 500))} {
		e.SetSharedData(key, value)
		before := e.Metrics().Counters["streamlatch.malformed"]
		fresh := e.open(1, "alice")
		if got := e.Metrics().Counters["streamlatch.malformed"] - before; got != 1 {
			t.Errorf("value % x: malformed counted %d times, want 1", value[:min(len(value), 8)], got)
		}
		e.live(fresh, true)
		b, err := registry.ParseBucket(e.SharedData()[key].Bytes)
		if err != nil || len(b.Entries) != 1 {
			t.Errorf("bucket after the claim: %+v, %v; want alice's entry", b, err)
		}
		fresh.End()
	}
	for _, w := range e.Workers() {
		if w.Failed() {
			t.Errorf("worker %d failed", w.Index())
		}
	}
}
