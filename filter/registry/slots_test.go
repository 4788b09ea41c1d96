package registry

import (
	"errors"
	"slices"
	"testing"
)

// once runs do before the first call that matches, and before no other.
func once(match func(call) bool, do func()) func(call) error {
	done := false
	return func(c call) error {
		if !done && match(c) {
			done = true
			do()
		}
		return nil
	}
}

func TestJoin(t *testing.T) {
	w := newWorld()
	a := w.thread()
	if _, err := a.tick(); err != nil || w.envoy.calls != 0 {
		t.Fatalf("a plugin context that has seen no stream made %d calls, %v; want none", w.envoy.calls, err)
	}
	if err := a.Join(9); err != nil {
		t.Fatal(err)
	}
	if w.envoy.tokens[queueName(0)] != a.queue || a.Owner().Slot != 0 || a.Owner().Incarnation == 0 {
		t.Fatalf("joined as %+v on queue %d", a.Owner(), a.queue)
	}
	record, err := ParseRecord(w.envoy.data[slotKey(0)].value)
	if want := (Record{Incarnation: a.owner.Incarnation, Queue: a.queue, Heartbeat: 1, BeatAt: 9}); record != want || err != nil {
		t.Fatalf("the slot holds %+v, %v; want %+v", record, err, want)
	}
	calls, was := w.envoy.calls, a.owner
	if err := a.Join(w.now); err != nil || w.envoy.calls != calls || a.owner != was {
		t.Fatalf("joined twice: %+v, %v", a.owner, err)
	}
}

// Every tick moves the heartbeat on, and writes how many streams the worker has.
func TestHeartbeat(t *testing.T) {
	w := newWorld()
	a := w.thread()
	a.open("alice")
	a.open("bob")
	w.ticks(t, 3)
	record, err := ParseRecord(w.envoy.data[slotKey(0)].value)
	if want := (Record{Incarnation: a.owner.Incarnation, Queue: a.queue, Heartbeat: 4, BeatAt: w.now, Live: 2}); record != want || err != nil {
		t.Fatalf("the slot holds %+v, %v; want %+v", record, err, want)
	}
}

// Another worker takes the slot between the read and the write.
func TestRaceForASlot(t *testing.T) {
	for _, test := range []struct {
		name string
		used bool // a worker has held the slot before, so the key exists
	}{{"never used", false}, {"used before", true}} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			if test.used {
				w.envoy.write(slotKey(0), Record{}.Append(nil))
			}
			a, b := w.thread(), w.thread()
			a.port.before = once(func(c call) bool { return c == call{"set", slotKey(0)} }, func() {
				if err := b.Join(w.now); err != nil {
					t.Fatal(err)
				}
			})
			if err := a.Join(w.now); err != nil {
				t.Fatal(err)
			}
			if a.owner.Slot != 1 || b.owner.Slot != 0 || a.queue == b.queue {
				t.Fatalf("slots %d and %d, queues %d and %d", a.owner.Slot, b.owner.Slot, a.queue, b.queue)
			}
			first := a.open("alice")
			b.open("alice")
			w.deliver(t)
			expect(t, endedByMessage, first)
			w.settle(t)
		})
	}
}

// Two workers find no table. Both use the one that was written first.
func TestRaceForTheTable(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	a.port.before = once(func(c call) bool { return c == call{"set", tableKey} }, func() {
		if err := b.Join(w.now); err != nil {
			t.Fatal(err)
		}
	})
	if err := a.Join(w.now); err != nil {
		t.Fatal(err)
	}
	if a.table != b.table || a.table.Bits != bucketBits || a.table.Seed == [16]byte{} {
		t.Fatalf("tables %+v and %+v", a.table, b.table)
	}
	first := a.open("alice")
	b.open("alice")
	w.deliver(t)
	expect(t, endedByMessage, first)
	w.settle(t)
}

// A worker does not replace a malformed table: a second seed would hide the streams of the workers
// that have read the first. It does not join, and tracks nothing.
func TestMalformedTable(t *testing.T) {
	w := newWorld()
	w.envoy.write(tableKey, []byte("junk"))
	a := w.thread()
	if err := a.Join(w.now); !errors.Is(err, ErrMalformed) {
		t.Fatalf("join: %v, want ErrMalformed", err)
	}
	if _, err := a.tick(); err != nil {
		t.Fatalf("tick: %v", err)
	}
	if got := string(w.envoy.data[tableKey].value); got != "junk" || len(w.envoy.data) != 1 {
		t.Fatalf("the store was written to: table %q, %d keys", got, len(w.envoy.data))
	}
}

func TestMalformedSlot(t *testing.T) {
	w := newWorld().small(4)
	a, b := w.thread(), w.thread()
	s := a.open("alice")
	b.open("bob")
	w.envoy.write(slotKey(0), []byte("junk"))
	w.ticks(t, 2)
	expect(t, alive, s)
	if w.meter.counts[Malformed] == 0 {
		t.Error("the malformed slot was not counted")
	}
	if _, err := ParseRecord(w.envoy.data[slotKey(0)].value); err != nil {
		t.Errorf("the slot was not started afresh: %v", err)
	}
	w.settle(t)
	expect(t, alive, s)
}

func TestAllSlotsTaken(t *testing.T) {
	w := newWorld()
	for slot := range uint16(MaxWorkers) {
		w.envoy.write(slotKey(slot), Record{Incarnation: 7}.Append(nil))
	}
	a := w.thread()
	if err := a.Join(w.now); !errors.Is(err, ErrFull) {
		t.Fatalf("join: %v, want ErrFull", err)
	}
	if a.owner.Incarnation != 0 {
		t.Fatalf("joined as %+v", a.owner)
	}
	w.envoy.write(slotKey(MaxWorkers-1), Record{}.Append(nil))
	w.ticks(t, 1) // the tick tries again
	if a.owner.Slot != MaxWorkers-1 || a.owner.Incarnation == 0 {
		t.Fatalf("joined as %+v, want the last slot", a.owner)
	}
	// The worker in the last slot finds the other workers dead, some at each tick. Then there
	// is room.
	for range (missedTicks + 1) * MaxWorkers / watchPerTick {
		if _, err := a.tick(); err != nil {
			t.Fatal(err)
		}
	}
	b := w.thread()
	if err := b.Join(w.now); err != nil || b.owner.Slot != 0 {
		t.Fatalf("joined as %+v, %v; want slot 0", b.owner, err)
	}
}

// All slots are held by dead workers, and the only worker that lives has none. It frees them, and
// joins. A worker that lives keeps its slot.
func TestAllSlotsAreHeldByTheDead(t *testing.T) {
	w := newWorld()
	for slot := range uint16(MaxWorkers) {
		w.envoy.write(slotKey(slot), Record{Incarnation: 7}.Append(nil))
	}
	const lives = 3
	beats := Record{Incarnation: 8}
	a := w.thread()
	if err := a.Join(w.now); !errors.Is(err, ErrFull) {
		t.Fatalf("join: %v, want ErrFull", err)
	}
	for a.owner.Incarnation == 0 && beats.Heartbeat < 10 {
		beats.Heartbeat++
		w.envoy.write(slotKey(lives), beats.Append(nil))
		w.now += 1000
		if _, err := a.tick(); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if a.owner.Incarnation == 0 || beats.Heartbeat != missedTicks+2 {
		t.Errorf("after %d ticks the worker is %+v, want it to have a slot after %d", beats.Heartbeat, a.owner, missedTicks+2)
	}
	if record, err := ParseRecord(w.envoy.data[slotKey(lives)].value); err != nil || record.Incarnation != 8 {
		t.Errorf("the slot of the worker that lives holds %+v, %v", record, err)
	}
	expect(t, alive, a.open("alice"))
}

// Whichever call of a Join fails, the next Join succeeds, and no slot is left taken that nobody
// uses.
func TestJoinThatFailsHalfWay(t *testing.T) {
	for _, firstOfAll := range []bool{true, false} {
		places := 0
		for failJoinAt(t, places, firstOfAll) {
			places++
		}
		if places < 5 {
			t.Errorf("a join has %d calls that can fail, want at least 5: does the test see them?", places)
		}
	}
}

// failJoinAt makes one call of a Join fail. It returns false if the Join makes fewer calls.
func failJoinAt(t *testing.T, place int, firstOfAll bool) bool {
	w := newWorld()
	a, b := w.thread(), w.thread()
	if !firstOfAll {
		if err := b.Join(w.now); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	a.port.before = func(call) error {
		if n++; n == place+1 {
			return errBroken
		}
		return nil
	}
	err := a.Join(w.now)
	if n <= place {
		return false
	}
	if !errors.Is(err, errBroken) {
		t.Fatalf("call %d: join: %v", place, err)
	}
	a.port.before = nil
	for range 3 {
		if err := a.Join(w.now); err != nil {
			t.Fatalf("call %d: join again: %v", place, err)
		}
	}
	first := a.open("alice")
	b.open("alice")
	w.ticks(t, 2) // two, because no message can be sent to a slot that does not name its queue yet
	if first.fate == alive {
		t.Errorf("call %d: the first stream lives", place)
	}
	held := 0
	for slot := range uint16(4) {
		if record, err := ParseRecord(w.envoy.data[slotKey(slot)].value); err == nil && record.Incarnation != 0 {
			held++
		}
	}
	if held != 2 {
		t.Errorf("call %d: %d slots held, want 2", place, held)
	}
	w.settle(t)
	return true
}

// A worker saw another one's slot before that one had registered its queue. It looks again when it
// has a message for it.
func TestQueueIsLearnedLate(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	b.open("bob")
	a.port.before = func(c call) error {
		if c.name == "register" {
			if _, _, err := b.readSlot(1); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	s := a.open("alice")
	if b.peers[1].record.Incarnation != a.owner.Incarnation || b.peers[1].record.Queue != 0 {
		t.Fatalf("the other worker remembers %+v", b.peers[1].record)
	}
	b.open("alice")
	w.deliver(t)
	expect(t, endedByMessage, s)
}

// A slot changes hands, and the new worker's heartbeat shows the number that the old one's showed.
// The new worker has its own three ticks.
func TestNewWorkerIsNotTakenForTheOldOne(t *testing.T) {
	w := newWorld()
	a, b := w.thread(), w.thread()
	a.open("alice")
	b.open("bob")
	a.crash()
	for range missedTicks {
		w.now += 1000
		if _, err := b.tick(); err != nil {
			t.Fatal(err)
		}
	}
	record := b.peers[0].record
	record.Incarnation++
	w.envoy.write(slotKey(0), record.Append(nil))
	for n := range missedTicks + 1 {
		w.now += 1000
		done, err := b.tick()
		if want := n == missedTicks; err != nil || (done.Deaths == 1) != want {
			t.Fatalf("tick %d finds %d deaths, %v", n, done.Deaths, err)
		}
	}
}

// Incarnation 0 means a free slot, whatever the random source returns.
func TestIncarnationIsNeverZero(t *testing.T) {
	w := newWorld()
	a := NewWorker(w.thread().port, w.threads[0].port, w.meter, func() uint64 { return 0 })
	if err := a.Join(w.now); err != nil || a.Owner().Incarnation == 0 {
		t.Errorf("joined as %+v, %v", a.Owner(), err)
	}
}

// What a worker says of itself is read by all, until it has lost its slot. The next owner of the
// slot has said nothing yet.
func TestReport(t *testing.T) {
	w := newWorld()
	a, reader := w.thread(), w.thread()
	if err := reader.Open(); err != nil {
		t.Fatal(err)
	}
	read := func() (reports []string) {
		workers, err := reader.Workers()
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range workers {
			reports = append(reports, string(slot.Report))
		}
		return reports
	}
	if err := a.Report(1, []byte("no slot yet")); err != nil {
		t.Fatal(err)
	}
	a.open("alice")
	for _, want := range []string{"", "one", "two"} {
		if want != "" {
			if err := a.Report(uint32(len(want)), []byte(want)); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(); !slices.Equal(got, []string{want}) {
			t.Errorf("reports %q, want %q", got, want)
		}
	}
	a.fence()
	b := w.thread()
	b.open("bob")
	if got := read(); b.owner.Slot != a.owner.Slot || !slices.Equal(got, []string{""}) {
		t.Errorf("reports %q in slot %d, want none in slot %d", got, b.owner.Slot, a.owner.Slot)
	}
}

// The numbers of all live workers are added up, whoever asks. One of those that have left a report
// is the first.
func TestReported(t *testing.T) {
	w := newWorld()
	other, a, b := w.thread(), w.thread(), w.thread()
	other.open("zoe") // it has the first slot, and leaves no report
	a.open("alice")
	b.open("bob")
	sum := func(th *thread, want int, wantFirst bool) {
		t.Helper()
		got, err := th.Reported()
		first, err2 := th.ReportsFirst()
		if err = errors.Join(err, err2); err != nil || got != want || first != wantFirst {
			t.Errorf("worker %d: %d reported, first: %v (%v), want %d, %v", th.owner.Slot, got, first, err, want, wantFirst)
		}
	}
	for th, n := range map[*thread]uint32{a: 3, b: 4} {
		if err := th.Report(n, []byte("[]")); err != nil {
			t.Fatal(err)
		}
	}
	sum(a, 7, true)
	sum(b, 7, false)
	a.fence()
	sum(b, 4, true)
	if err := b.Report(0, nil); err != nil {
		t.Fatal(err)
	}
	sum(b, 0, true)
}
