package registry

import (
	"errors"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// These tests are about workers with very many streams, and Envoys with very many workers: what a
// tick promises is done within three ticks, and no call does more than it may.

const many = 100_000

// manyStreams makes a worker with many streams, and another with one.
func manyStreams(w *world) (a, b *thread, streams []*stream) {
	w.envoy.onWrite = nil // the checks of every write would take minutes
	a, b = w.thread(), w.thread()
	for i := range many {
		streams = append(streams, a.open(clientName(i)))
	}
	b.open("bob")
	return a, b, streams
}

// second lets all workers tick, and delivers wake-ups until there are none. It checks that no call
// makes more calls of the host than most, and that none names too many streams to be ended.
func (w *world) second(t *testing.T, most int) {
	t.Helper()
	w.now += 1000
	bounded := func(th *thread, name string, call func() (Done, error)) {
		before := w.envoy.calls
		done, err := call()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := w.envoy.calls - before; n > most {
			t.Fatalf("a %s makes %d calls, want at most %d", name, n, most)
		}
		if n := len(done.End); n > EndsPerCall {
			t.Fatalf("a %s names %d streams to be ended, want at most %d", name, n, EndsPerCall)
		}
		th.did(done)
	}
	for _, th := range w.threads {
		if !th.crashed {
			bounded(th, "tick", func() (Done, error) { return th.Tick(w.now) })
		}
	}
	for pending := true; pending; {
		pending = false
		for _, th := range w.threads {
			tokens := w.envoy.takeWakeups(th.port.listener)
			for _, token := range tokens {
				pending = true
				if !th.crashed {
					bounded(th, "wake-up", func() (Done, error) { return th.Wake(w.now, token) })
				}
			}
		}
	}
}

// mostCalls is more than one call of a worker needs: each bucket is read and written once, and a
// few slots are read for each.
const mostCalls = 10 * (checksPerTick + 2*visitsPerCall)

// A worker that was declared dead has all of its streams back after one tick.
func TestManyStreamsReturn(t *testing.T) {
	w := newWorld()
	a, b, streams := manyStreams(w)
	b.sweepNow(t, a)
	w.second(t, mostCalls)
	entries, err := w.registry()
	if err != nil || len(entries) != many+1 {
		t.Errorf("%d streams in the registry after one second, %v; want %d", len(entries), err, many+1)
	}
	expect(t, alive, streams...)
}

// While a worker is declared dead, all of its clients come back elsewhere. When it returns, its
// streams end, and no call ends too many.
func TestManyStreamsReturnTooLate(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	var streams []*stream
	for i := range 10 * EndsPerCall {
		streams = append(streams, a.open(clientName(i)))
	}
	b.open("bob")
	b.sweepNow(t, a)
	for i := range streams {
		b.open(clientName(i))
	}
	w.second(t, mostCalls)
	expect(t, endedByMessage, streams...)
}

// A claim that lost every race is finished by the next tick, though many streams are put back then.
func TestContendedClaimBesideAReturn(t *testing.T) {
	w := newWorld()
	a, b, _ := manyStreams(w)
	if _, err := a.tick(); err != nil {
		t.Fatal(err)
	}
	b.sweepNow(t, a)
	if _, err := a.tick(); err != nil {
		t.Fatal(err)
	}
	late := a.openContended(t, "alice")
	w.now += 1000
	if _, err := a.tick(); err != nil && !errors.Is(err, ErrContended) {
		t.Fatal(err)
	}
	if late.handle.state != Registered {
		t.Errorf("the claim is %v after a tick", late.handle.state)
	}
}

// One lost message among many streams: its stream is found at once, and ended when the next tick
// has confirmed it.
func TestLostMessageOfManyStreams(t *testing.T) {
	w := newWorld()
	a, b, streams := manyStreams(w)
	w.second(t, mostCalls)
	own := a.open(clientName(0)) // a message of its own does not stand for the one that is lost
	w.deliver(t)
	expect(t, endedByMessage, streams[0])
	b.open(clientName(many - 1))
	w.loseMessages(a)
	w.second(t, mostCalls)
	w.second(t, mostCalls)
	expect(t, endedByCheck, streams[many-1])
	expect(t, alive, append(streams[1:many-1], own)...)
	before := w.envoy.calls
	w.second(t, mostCalls)
	if n := w.envoy.calls - before; n > 2*(checksPerTick+visitsPerTick) {
		t.Errorf("a second later the workers make %d calls: they still look for the message", n)
	}
}

// The message of a dismissal is lost among many streams.
func TestLostDismissalOfManyStreams(t *testing.T) {
	w := newWorld()
	a, b, streams := manyStreams(w)
	w.second(t, mostCalls)
	if n, err := b.dismiss(clientName(many - 1)); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	w.loseMessages(a)
	w.second(t, mostCalls)
	w.second(t, mostCalls)
	expect(t, endedByCheck, streams[many-1])
	expect(t, alive, streams[:many-1]...)
}

// A worker looks at few buckets if no message is missing: a message that arrives is not missing,
// nor is one that was announced for a claim that was then refused, nor one of its own.
func TestNothingIsMissed(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	for i := range 100 {
		a.open(clientName(i))
	}
	for i := range 10 {
		b.open(clientName(i))
		a.open(clientName(10 + i))
	}
	// The first try of this claim announces a message. Then the stream that was to yield ends.
	lucky := a.open("lucky")
	b.port.before = func(c call) error {
		if isBucket(c) && c.name == "set" {
			b.port.before = nil
			a.close(lucky)
		}
		return nil
	}
	b.open("lucky")
	if a.registered == 0 || lucky.fate != closed {
		t.Fatal("the claim met nothing")
	}
	w.deliver(t)
	for range 3 {
		w.now += 1000
		before := w.envoy.calls
		for _, th := range w.threads {
			if _, err := th.tick(); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.envoy.calls - before; n > 2*(checksPerTick+visitsPerTick) {
			t.Fatalf("two ticks make %d calls: they look for a message", n)
		}
	}
	w.settle(t)
}

// The owner of a dismissed stream stalls, is swept, and loses its slot, with the message in its
// queue, to another worker. It comes back, and the stream does not.
func TestDismissalSurvivesTheOwner(t *testing.T) {
	w := newWorld().small(0)
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	w.ticks(t, 1)
	if n, err := b.dismiss("alice"); n != 1 || err != nil {
		t.Fatalf("dismissed %d, %v", n, err)
	}
	b.sweepNow(t, a)
	c := w.thread() // takes the lowest free slot
	other := c.open("carol")
	if _, err := c.tick(); err != nil { // reads "its" queue
		t.Fatal(err)
	}
	w.settle(t)
	expect(t, alive, other)
	expect(t, dismissed, s)
	again := b.open("alice")
	w.settle(t)
	expect(t, alive, again)
	w.now += int64(policy.MaxMemory)
	b.close(again)
	w.settle(t)
	bucket, err := ParseBucket(w.envoy.data[bucketKey(0)].value)
	if err != nil || len(bucket.Entries) != 2 {
		t.Errorf("an hour later the bucket holds %+v, %v; want bob and carol", bucket.Entries, err)
	}
}

// A stream that was admitted under an old limit of one comes back to a client that may have four
// now. It ends none of the newer streams.
func TestReturnUnderAnOldLimit(t *testing.T) {
	w := newWorld().small(0)
	old, fresh := w.thread(), w.thread()
	first := old.open("alice")
	fresh.open("bob")
	w.ticks(t, 1)
	w.limits = policy.Limits{MaxStreams: 4}
	streams := []*stream{first, fresh.open("alice"), fresh.open("alice"), fresh.open("alice")}
	w.deliver(t)
	fresh.sweepNow(t, old)
	w.ticks(t, 3)
	expect(t, alive, streams...)
	w.settle(t)
}

// A client that closes its stream after each takeover gains no token by it.
func TestTokensOutliveTheStreams(t *testing.T) {
	w := newWorld().small(0)
	w.limits = policy.Limits{MaxStreams: 1, TakeoverLimit: policy.TokenBucket{MaxTokens: 2, TokensPerFill: 1, FillInterval: policy.Minute}}
	victims, attacker := w.thread(), w.thread()
	took := 0
	for range 100 {
		victim := victims.open("alice")
		s := attacker.open("alice")
		w.deliver(t)
		if victim.fate == endedByMessage {
			took++
			attacker.close(s)
		} else {
			victims.close(victim)
		}
		w.now += 10
	}
	if took != 2 {
		t.Errorf("%d takeovers in a second, want the two that the limit allows", took)
	}
	w.now += 2 * int64(policy.Minute)
	w.ticks(t, 1)
	if n := len(w.envoy.data[bucketKey(0)].value); n != bucketHeaderSize {
		t.Errorf("after the last token has come back, the bucket has %d bytes, want %d", n, bucketHeaderSize)
	}
}

// What is remembered of clients without streams is bounded.
func TestMemoriesAreBounded(t *testing.T) {
	w := newWorld().small(0)
	a := w.thread()
	for i := range 4 * mostMemories {
		a.open(clientName(i))
		if n, err := a.dismiss(clientName(i)); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		w.now++
	}
	w.deliver(t)
	b, err := ParseBucket(w.envoy.data[bucketKey(0)].value)
	if err != nil || len(b.Entries) != mostMemories {
		t.Fatalf("%d entries, %v; want %d", len(b.Entries), err, mostMemories)
	}
	for _, e := range b.Entries {
		if e.Dismissed <= 3*mostMemories {
			t.Errorf("the bucket remembers dismissal %d, and not only the last ones", e.Dismissed)
		}
	}
}

// Two streams with one instance that supersede each other come to rest.
func TestReconnectsAreLimited(t *testing.T) {
	w := newWorld().small(0)
	a := w.thread()
	admitted := 0
	for range 900 { // 90 s
		if s := a.open("alice/A"); s.verdict.Refusal == 0 {
			admitted++
		} else if s.verdict.Refusal != policy.TakeoverLimit || s.verdict.Wait > policy.ReconnectLimit.FillInterval {
			t.Fatalf("refused: %+v", s.verdict)
		}
		w.deliver(t)
		w.now += 100
	}
	if admitted < 10 || admitted > 1+10+90/5 {
		t.Errorf("%d streams in 90 s, want the ten at once, and one every five seconds", admitted)
	}
}

// Nobody is refused for the sake of a worker that has crashed, though it is not known to be dead
// yet. If the worker only stalled, its stream yields.
func TestSilentWorkers(t *testing.T) {
	for name, lives := range map[string]bool{"crashed": false, "stalled": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld().small(0)
			w.limits.RejectNew = true
			a, b := w.thread(), w.thread()
			old := a.open("alice")
			b.open("bob")
			w.ticks(t, 1)
			if !lives {
				a.crash()
			}
			w.now += silentMs
			if s := b.open("alice"); s.verdict.Refusal != policy.Duplicate {
				t.Fatalf("%d ms after the last heartbeat: %+v, want a refusal", silentMs, s.verdict)
			}
			w.now++
			s := b.newStream("alice")
			peeked := b.peek(t, s)
			if s.err = b.claim(s); s.err != nil || s.verdict.Refusal != 0 || len(s.verdict.Superseded) != 1 {
				t.Fatalf("%d ms after it: %+v, %v; want it admitted", silentMs+1, s.verdict, s.err)
			}
			if !equal(peeked, s.verdict) {
				t.Errorf("a peek says %+v", peeked)
			}
			w.deliver(t)
			if lives {
				expect(t, endedByMessage, old)
			}
			expect(t, alive, s)
			w.settle(t)
		})
	}
}

// A death is found within ten ticks, with any number of workers, and also if most of them die at
// once.
func TestDeathAmongManyWorkers(t *testing.T) {
	for _, workers := range []int{2, 8, 64, 130, 520, MaxWorkers} {
		for _, mostDie := range []bool{false, true} {
			w := newWorld().small(0)
			for range workers {
				if err := w.thread().Join(w.now); err != nil {
					t.Fatal(err)
				}
			}
			all := w.threads
			second := func() (deaths int) {
				w.now += 1000
				for _, th := range all {
					if !th.crashed {
						done, err := th.tick()
						if err != nil {
							t.Fatal(err)
						}
						deaths += done.Deaths
					}
				}
				return deaths
			}
			for range 3 {
				second()
			}
			dead := all[workers/2 : workers/2+1]
			if mostDie {
				dead = all[1:]
			}
			for _, th := range dead {
				th.crashed = true
			}
			found := 0
			for range 10 {
				found += second()
			}
			if found != len(dead) {
				t.Errorf("%d workers, of which %d die: %d are found in ten ticks", workers, len(dead), found)
			}
		}
	}
}

// If all slots are taken, requests do not look at them again and again.
func TestJoinWhenFull(t *testing.T) {
	w := newWorld()
	for range MaxWorkers {
		if err := w.thread().Join(w.now); err != nil {
			t.Fatal(err)
		}
	}
	late := w.thread()
	if err := late.Join(w.now); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	before := w.envoy.calls
	for range 10 {
		if err := late.Join(w.now + tryJoinAfterMs - 1); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if n := w.envoy.calls - before; n != 0 {
		t.Errorf("ten more requests make %d calls, want none", n)
	}
	w.envoy.write(slotKey(5), Record{}.Append(nil))
	if err := late.Join(w.now + tryJoinAfterMs); err != nil || late.owner.Slot != 5 {
		t.Errorf("a second later: %+v, %v; want the slot that was freed", late.owner, err)
	}
}

// A worker has crashed, and another has just taken its slot. A third has last seen the slot held.
// It, too, refuses nobody for the dead worker's stream.
func TestRefusalJustAfterASweep(t *testing.T) {
	w := newWorld().small(0)
	w.limits.RejectNew = true
	a, b, c := w.thread(), w.thread(), w.thread()
	old := a.open("alice")
	b.open("bob")
	c.open("carol")
	w.ticks(t, 1)
	a.crash()
	w.ticks(t, missedTicks-1)
	w.now += 1000
	b.port.before = func(c call) error { // it removes no stream yet
		if isBucket(c) {
			return errBroken
		}
		return nil
	}
	if found, _ := b.tick(); found.Deaths != 1 {
		t.Fatalf("tick found %+v, want a death", found)
	}
	b.port.before = nil
	back := c.newStream("alice")
	if verdict := c.peek(t, back); verdict.Refusal != 0 {
		t.Errorf("a peek says %v", verdict.Refusal)
	}
	if back.err = c.claim(back); back.err != nil || back.verdict.Refusal != 0 {
		t.Errorf("%+v, %v; want it admitted", back.verdict, back.err)
	}
	expect(t, cutByCrash, old)
	w.settle(t)
	expect(t, alive, back)
}

// A client has a stream of a silent worker, and one of a worker that lives, and may have no third:
// not even if the silent worker is dead. An instance that lost its place may come back if the
// winner's worker is silent.
func TestSilentWorkersAmongOthers(t *testing.T) {
	w := newWorld().small(0)
	w.limits = policy.Limits{MaxStreams: 2, RejectNew: true}
	a, b := w.thread(), w.thread()
	b.open("bob")
	a.open("alice")
	b.open("alice")
	w.limits.MaxStreams = 1
	a.open("carol/A")
	w.limits.RejectNew = false
	a.open("carol/B")
	w.deliver(t)
	a.crash()
	w.now += silentMs + 1
	if _, err := b.tick(); err != nil {
		t.Fatal(err)
	}
	if s := b.open("carol/A"); s.verdict.Refusal != 0 || len(s.verdict.Superseded) != 1 {
		t.Errorf("the instance that lost gets %+v", s.verdict)
	}
	w.limits.RejectNew = true
	if s := b.open("alice"); s.verdict.Refusal != policy.Duplicate || len(s.verdict.Superseded) != 0 {
		t.Errorf("the third stream gets %+v, want a refusal", s.verdict)
	}
}
