package main_test

import (
	"slices"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/etcdhost"
	"github.com/streamlatch/streamlatch/host"
)

// longOutage is longer than a lease.
const longOutage = 15 * time.Second

// An Envoy does not reach etcd. It decides alone, and only the first request waits. When etcd is
// back, the streams of all Envoys are one order again.
func TestFleetOutage(t *testing.T) {
	for name, reach := range map[string]etcdhost.Reach{"silent": etcdhost.Silent, "failing": etcdhost.Failing, "nonsense": etcdhost.Nonsense} {
		for _, at := range []string{"request", "response"} {
			t.Run(name+", at "+at, func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, `"claim_at": "`+at+`"`, "")
				old := f.open(2, "alice")
				staying := f.open(0, "bob")
				f.Envoys[0].Reach = reach
				first := f.ask(0, "alice")
				f.Run()
				if waits := first.ToUpstream().Headers == nil; waits != (reach == etcdhost.Silent) {
					t.Errorf("the first request waits: %t", waits)
				}
				f.Advance(300 * time.Millisecond)
				first.answer()
				f.Run()
				second := f.open(0, "alice")
				if !second.isOpen() || first.isOpen() || !old.isOpen() {
					t.Errorf("open: %t, %t and %t; want the second stream at the first Envoy, and the old one at the other", first.isOpen(), second.isOpen(), old.isOpen())
				}
				if got := f.edges[0].Metrics().Gauges["streamlatch.fleet_unregistered"]; got > 1 {
					t.Errorf("%d streams are unregistered, want 1 at most", got)
				}
				f.Advance(5 * time.Second)
				if got := f.edges[0].Metrics().Gauges["streamlatch.fleet_unregistered"]; got != 1 {
					t.Errorf("%d streams are unregistered, want 1", got)
				}
				f.Envoys[0].Reach = etcdhost.Answered
				f.Advance(2 * time.Second)
				f.wantOpen(staying, second)
				f.wantReason(old, "superseded")
				if n := f.counts("fleet_unavailable"); n != 1 {
					t.Errorf("etcd was unavailable %d times, want 1", n)
				}
				f.endAll()
			})
		}
	}
}

// A rule whose limit must hold refuses newcomers while etcd does not answer.
func TestFleetOutageRefuses(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"request", "response"} {
		f := newFleet(t, `"on_unavailable": "refuse", "claim_at": "`+at+`"`, "")
		old := f.open(0, "alice")
		f.Envoys[0].Reach = etcdhost.Silent
		browser := f.ask(0, "alice")
		program := f.ask(1, "bob", "accept", "application/json, text/event-stream")
		f.Advance(300 * time.Millisecond)
		f.wantReason(browser, "refused_unavailable")
		if program.LocalReply() == nil && at == "response" { // it is asked for at the response
			program.answer()
		}
		f.wantReason(program, "refused_unavailable")
		if got := program.LocalReply(); got == nil || got.Status != 503 {
			t.Errorf("claim_at %s: a program got %+v, want 503", at, got)
		}
		f.Envoys[0].Reach = etcdhost.Answered
		f.Advance(2 * time.Second)
		f.wantOpen(old)
		fresh := f.open(1, "alice")
		f.wantOpen(fresh)
		f.endAll()
	}
}

// A claim is sent and not answered in time. Its stream is in, whatever the rule says, as others may
// have ended for it. Etcd carries the claim out: before the time-out, after it, or never.
func TestFleetLateClaim(t *testing.T) {
	t.Parallel()
	for _, more := range []string{`"on_unavailable": "allow"`, `"on_unavailable": "refuse"`} {
		for _, when := range []string{"before", "after", "never"} {
			f := newFleet(t, more, "")
			old := f.open(2, "alice")
			f.open(0, "bob").End() // so the member has a lease
			f.Run()
			fresh := f.ask(0, "alice")
			f.Run()
			f.Envoys[0].Reach = etcdhost.Silent
			fresh.answer()
			claim := f.Waiting(f.Envoys[0])
			if when == "before" {
				f.Do(claim)
			}
			f.Advance(300 * time.Millisecond)
			if !fresh.isOpen() {
				t.Errorf("%s, %s: the stream is not open", more, when)
			}
			if when == "after" {
				f.Do(claim)
			}
			f.Run()
			if got, want := old.isOpen(), when == "never"; got != want {
				t.Errorf("%s, %s: the old stream is open: %t", more, when, got)
			}
			f.Envoys[0].Reach = etcdhost.Answered
			f.Advance(2 * time.Second)
			f.wantOpen(fresh)
			f.wantReason(old, "superseded")
			f.endAll()
		}
	}
}

// A client goes while its claim is under way, and etcd carries the claim out all the same, after
// the release. The member finds the ghost and removes it.
func TestFleetGhost(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"request", "response"} {
		f := newFleet(t, `"claim_at": "`+at+`"`, "")
		other := f.open(0, "bob")
		s := f.ask(0, "alice")
		look := f.Waiting(f.Envoys[0])
		f.Do(look)
		look.Kind = etcdhost.Answer
		f.Do(look)
		s.answer()
		claim := f.Waiting(f.Envoys[0])
		s.End()
		f.Run()
		f.Do(claim)
		if n := len(f.registeredStreams()); n != 2 {
			t.Errorf("etcd has %d streams, want the ghost too", n)
		}
		f.Advance(time.Second)
		f.wantOpen(other)
		if n := f.counts("fleet_ghosts"); n != 1 {
			t.Errorf("%d ghosts, want 1", n)
		}
		f.endAll()
	}
}

// A client goes while its request or its response waits for etcd. Nothing is left of it.
func TestFleetGoneWhileWaiting(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"request", "response"} {
		f := newFleet(t, `"claim_at": "`+at+`"`, "")
		other := f.open(0, "bob")
		for steps := range 5 { // of etcd, before it goes
			f.Envoys[0].Reach = etcdhost.Silent
			s := f.ask(0, "alice")
			for range steps {
				f.Envoys[0].Reach = etcdhost.Answered
				if next := f.Steps(); len(next) > 0 {
					f.Do(next[0])
				}
				f.Envoys[0].Reach = etcdhost.Silent
				s.answer()
			}
			s.End()
			f.Envoys[0].Reach = etcdhost.Answered
			f.wantOpen(other)
		}
		f.endAll()
	}
}

// Etcd says that a lease is gone: by the watch, by a keepalive's answer, or by refusing a claim. No
// stream ends, and all are registered again.
func TestFleetLostLease(t *testing.T) {
	for _, how := range []string{"watch", "keepalive", "claim"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, `"max_streams": 2`, "")
			streams := []*fleetStream{f.open(0, "alice"), f.open(2, "alice"), f.open(0, "bob"), f.open(1, "bob")}
			if how != "watch" {
				f.Mute(f.Envoys[0], f.Watches(f.Envoys[0])[0])
			}
			lease := f.Leases[0].ID
			f.Expire(lease)
			if how == "claim" {
				streams = append(streams, f.open(0, "carol"))
			} else {
				f.Advance(4 * time.Second) // until the next keepalive
			}
			f.Advance(2 * time.Second)
			f.wantOpen(streams...)
			if f.Lives(lease) || len(f.Leases) != 3 || f.counts("fleet_leases_lost") != 1 {
				t.Errorf("leases %v, %d lost, want three, with a new one for %d", f.Leases, f.counts("fleet_leases_lost"), lease)
			}
			f.endAll()
		})
	}
}

// All leases are revoked at once, and streams open before the members have joined anew.
func TestFleetAllLeasesLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, "", "")
	alice, bob := f.open(0, "alice"), f.open(2, "bob")
	for _, l := range slices.Clone(f.Leases) {
		f.Expire(l.ID)
	}
	fresh := f.open(3, "alice")
	f.Advance(2 * time.Second)
	f.wantOpen(bob, fresh)
	f.wantReason(alice, "superseded")
	f.endAll()
}

// A watch breaks, or etcd ends it because its revisions are compacted, or it falls silent. What it
// would have told is found out.
func TestFleetLostWatch(t *testing.T) {
	for how, within := range map[string]time.Duration{"breaks": time.Second, "compacted": time.Second, "silent": 30 * time.Second} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, "", "")
			old, other := f.open(0, "alice"), f.open(0, "bob")
			watch := f.Watches(f.Envoys[0])[0]
			f.Mute(f.Envoys[0], watch)
			fresh := f.open(2, "alice")
			if !old.isOpen() {
				t.Fatal("the old stream has ended without a watch")
			}
			switch how {
			case "breaks":
				watch.Reset(host.RemoteReset)
			case "compacted":
				watch.Send(f.WatchCompacted())
			}
			f.Advance(within)
			f.wantOpen(other, fresh)
			f.wantReason(old, "superseded")
			if n := f.counts("fleet_resyncs"); n != 1 {
				t.Errorf("%d resyncs, want 1", n)
			}
			newest := f.open(3, "alice") // the new watch tells
			f.wantOpen(other, newest)
			f.endAll()
		})
	}
}

// Etcd is restored from a backup: streams that it has forgotten are registered again, and those
// that it remembers though they have ended are not in anybody's way.
func TestFleetRestored(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `"on_duplicate": "reject_new"`, "")
	alice, bob := f.open(0, "alice"), f.open(2, "bob")
	backup := f.Store.Clone()
	backup.Cluster++
	bob.End()
	f.Run()
	carol := f.open(2, "carol")
	f.Restore(backup)
	f.Advance(5 * time.Second)
	bob = f.open(0, "bob")
	if !bob.isOpen() {
		t.Errorf("bob is refused for a stream that has ended: %q", bob.reason())
	}
	f.Advance(longOutage) // the old leases end
	f.wantOpen(alice, bob, carol)
	f.endAll()
}

// A worker's VM crashes. Its streams' keys stay until its lease ends. Meanwhile a client is let in
// by a takeover at once, wherever it comes, and with reject_new when the lease has ended.
func TestFleetCrash(t *testing.T) {
	for name, rule := range map[string]string{"takeover": "", "reject_new": `"on_duplicate": "reject_new"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, rule, "")
			dead, survivor := f.open(0, "alice"), f.open(1, "bob")
			lease := f.Leases[0].ID
			f.worker(0).Crash()
			fresh := f.open(2, "alice")
			if fresh.isOpen() != (rule == "") {
				t.Errorf("the client is let in at once: %t", fresh.isOpen())
			}
			f.Advance(longOutage)
			dead.ResponseBody([]byte("data: more\n\n"), false) // Envoy cuts it at its next chunk
			if rule != "" {
				fresh = f.open(2, "alice")
			}
			if f.Lives(lease) {
				t.Error("the lease of the dead worker lives")
			}
			f.wantOpen(survivor, fresh)
			again := f.open(0, "carol") // the new VM
			f.wantOpen(survivor, fresh, again)
			f.endAll()
		})
	}
}

// An Envoy stands still for longer than its leases live. When it goes on, its streams live on, but
// those whose clients have newer ones elsewhere.
func TestFleetStoppedEnvoy(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"request", "response"} {
		f := newFleet(t, `"claim_at": "`+at+`"`, "")
		old, staying, other := f.open(0, "alice"), f.open(1, "bob"), f.open(2, "carol")
		waiting := f.ask(0, "dave")
		f.Envoys[0].Stopped = true
		f.Advance(longOutage)
		if n := len(f.Leases); n != 1 {
			t.Fatalf("%d leases live, want only that of the running Envoy", n)
		}
		fresh := f.open(2, "alice")
		f.Envoys[0].Stopped = false
		f.Advance(3 * time.Second)
		waiting.answer()
		f.Advance(2 * time.Second) // a tick registers it, and the next one counts it
		f.wantOpen(staying, other, fresh, waiting)
		f.wantReason(old, "superseded")
		f.endAll()
	}
}

// Without etcd, too, streams are in the order in which an Envoy has let them in, on whichever
// worker and within one millisecond. The oldest yields when etcd is back.
func TestFleetOrderOfAnOutage(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `"max_streams": 2`, "")
	f.Envoys[0].Reach = etcdhost.Failing
	var open, old []*fleetStream
	for n := range 8 {
		client := string(rune('a' + n))
		old = append(old, f.open(n%2, client))
		open = append(open, f.open(n/2%2, client))
	}
	f.Advance(time.Second)
	for n := range 8 {
		open = append(open, f.open(2, string(rune('a'+n))))
	}
	f.Envoys[0].Reach = etcdhost.Answered
	f.Advance(3 * time.Second)
	f.wantOpen(open...)
	for _, s := range old {
		f.wantReason(s, "superseded")
	}
	f.endAll()
}

// Both Envoys are cut off from etcd, and a client opens streams at both. When etcd is back, the
// newest is left.
func TestFleetSplit(t *testing.T) {
	t.Parallel()
	for _, first := range []int{0, 1} { // the Envoy that is back first
		f := newFleet(t, "", "")
		for place := range places {
			f.open(place, "alice")
		}
		for _, e := range f.Envoys {
			e.Reach = etcdhost.Failing
		}
		f.Advance(time.Second)
		var newest *fleetStream
		for _, place := range []int{0, 3, 1, 2} {
			newest = f.open(place, "alice")
			f.Advance(100 * time.Millisecond)
		}
		f.Envoys[first].Reach = etcdhost.Answered
		f.Advance(2 * time.Second)
		f.Envoys[1-first].Reach = etcdhost.Answered
		f.Advance(2 * time.Second)
		f.wantOpen(newest)
		f.endAll()
	}
}
