package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/fleet/etcdtest"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// settle lets all that is on the way arrive, and checks the promise.
func (w *world) settle(t *testing.T) {
	t.Helper()
	if !w.rest() {
		t.Fatal("the world does not come to rest")
	}
	if broken := w.check(); broken != "" {
		t.Fatal(broken)
	}
}

// wantAre checks what has become of the streams.
func (w *world) wantAre(t *testing.T, want ...condition) {
	t.Helper()
	for k, s := range w.opened {
		if s.condition != want[k] {
			t.Errorf("stream %d: got condition %d, want %d", k, s.condition, want[k])
		}
	}
}

// After one call without an answer, newcomers do not wait, until a probe is answered.
func TestAway(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 2, most: one})
	w.down = 1
	w.open(0)
	if got := len(w.works[0].calls); got == 0 {
		t.Fatal("nothing was sent")
	}
	for len(w.works[0].calls) > 0 {
		w.timeOut(0, 0)
	}
	m := w.works[0].member
	if !m.Away() || m.Fault() == "" || w.opened[0].condition != live {
		t.Errorf("away %t, fault %q, condition %d: want the stream let in without etcd", m.Away(), m.Fault(), w.opened[0].condition)
	}
	w.open(0)
	if len(w.works[0].calls) != 0 || w.opened[1].condition != live {
		t.Errorf("the second stream waits for %d calls, want it let in at once", len(w.works[0].calls))
	}
	w.wantAre(t, reset, live) // the Envoy's own registry keeps the promise
	w.settle(t)
	w.wantAre(t, reset, live)
	if n := m.Streams().Unregistered; n != 0 || m.Counts().Returned != 1 {
		t.Errorf("%d unregistered, %d returned, want 0 and 1", n, m.Counts().Returned)
	}
}

// A client that comes with many requests at once waits for itself. That the last ones have no time
// left for etcd says nothing about etcd: nobody else is to go without it.
func TestLittleTimeLeft(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 3, most: one})
	me := &w.works[0]
	w.open(0)
	w.open(0)
	w.now += 200
	for w.opened[0].condition == waiting {
		if me.calls[0].done {
			w.answer(0, 0)
		} else {
			w.execute(0, 0)
		}
	}
	if got := me.calls[0].Timeout; got >= 125 || got <= 0 {
		t.Fatalf("the second stream asks with a time-out of %d ms, want less than half of 250", got)
	}
	w.timeOut(0, 0)
	if me.member.Away() {
		t.Error("etcd is taken for away")
	}
	w.open(0)
	if w.opened[1].condition != live || w.opened[2].condition != waiting {
		t.Errorf("conditions %d and %d, want the second stream in, and the third one waiting", w.opened[1].condition, w.opened[2].condition)
	}
	w.settle(t)
}

// A stream that has stood behind others until its time was over has had no answer of etcd: where
// limits must hold, it is refused.
func TestNoTimeLeft(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		w := newWorld(size{workers: []int{1}, streams: 2, most: one, refuse: refuse})
		w.open(0)
		w.open(0)
		w.opened[1].RefuseContended = false
		w.now += 300
		for len(w.works[0].calls) > 0 {
			if w.works[0].calls[0].done {
				w.answer(0, 0)
			} else {
				w.execute(0, 0)
			}
		}
		want := live
		if refuse {
			want = refused
		}
		if w.opened[1].condition != want {
			t.Errorf("refuse %t: condition %d, want %d", refuse, w.opened[1].condition, want)
		}
	}
}

// A stream that its Envoy alone decides about is not registered before the Envoy has let it in: if
// it does not, others would have ended for nothing.
func TestAloneWaitsForItsEnvoy(t *testing.T) {
	for _, in := range []bool{false, true} {
		w := newWorld(size{workers: []int{1}, streams: 2, most: one})
		me := &w.works[0]
		m := me.member
		w.open(0)
		for len(me.calls) > 0 {
			if me.calls[0].done {
				w.answer(0, 0)
			} else {
				w.execute(0, 0)
			}
		}
		first := &Stream{Client: ID{9}, Context: 7, Limits: w.opened[0].Limits}
		s := &Stream{Client: ID{9}, Context: 8, Limits: w.opened[0].Limits}
		m.Claim(w.now, first)
		m.Claim(w.now, s)
		w.now += 300
		m.Ended(w.now, first) // the turn comes too late for s
		out := m.Take()
		if len(out.Verdicts) != 1 || out.Verdicts[0].Outcome != Alone {
			t.Fatalf("verdicts %+v, want that the Envoy decides alone", out.Verdicts)
		}
		if !in {
			m.Ended(w.now, s)
			out.Calls = append(out.Calls, m.Take().Calls...)
		}
		txns := func(calls []Call) (n int) {
			for _, c := range calls {
				if c.Request.Method() == etcd.KVTxn {
					n++
				}
			}
			return n
		}
		if n := txns(out.Calls); n > 0 {
			t.Errorf("let in %t: %d Txns before the Envoy's verdict, want none", in, n)
		}
		w.now += 1000
		m.Tick(w.now)
		if n := txns(m.Take().Calls); in != (n == 1) {
			t.Errorf("let in %t: %d Txns in the next tick", in, n)
		}
	}
}

// Whatever status a call fails with, its stream does not wait for ever: also if it says that a
// lease is gone, and the call has none.
func TestLookWithoutALease(t *testing.T) {
	for _, looks := range []bool{false, true} {
		w := newWorld(size{workers: []int{1}, streams: 1, most: one, looks: looks})
		w.open(0)
		call := w.works[0].calls[0]
		if call.Request.Method() != etcd.KVRange {
			t.Fatalf("%T is under way, want the look", call.Request)
		}
		w.works[0].calls = nil
		w.works[0].member.Failed(w.now, call.ID, 5, "etcdserver: requested lease not found")
		w.act(0)
		if w.opened[0].condition != live {
			t.Errorf("looks %t: condition %d, want the stream let in", looks, w.opened[0].condition)
		}
		w.settle(t)
	}
}

// When the stream that keeps the lease alive breaks, the next tick begins another: with three tries
// in the lease's time, each of which may meet a dead node, it would end too often.
func TestKeepAliveIsTriedAgain(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	w.open(0)
	w.settle(t)
	m := w.works[0].member
	m.Failed(w.now, m.keepAlive, 14, "connection termination")
	m.Tick(w.now + 1000)
	for _, c := range m.Take().Calls {
		if c.Request == (etcd.LeaseKeepAliveRequest{ID: m.lease}) {
			return
		}
	}
	t.Error("nothing keeps the lease alive after a tick")
}

// What etcd says goes into the log and the status: not more of it than fits there, and not for
// longer than it is true.
func TestFault(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	w.openAndClaim(0)
	m := w.works[0].member
	long := strings.Repeat("no permission ", 1000)
	m.Answer(w.now, m.watch.call, w.etcd.WatchCancelled(long))
	if got := m.Fault(); !strings.HasPrefix(got, "watch cancelled: no permission") || len(got) > 1000 {
		t.Errorf("after the watch was cancelled: fault %.40q of %d bytes", got, len(got))
	}
	w.act(0)
	w.execute(0, 0) // the list
	w.answer(0, 0)
	m.Answer(w.now, m.watch.call, w.etcd.WatchCreated())
	if got := m.Fault(); got != "" {
		t.Errorf("the watch has begun again, and the fault is still %.40q", got)
	}
	if got := m.LastFault(); !strings.HasPrefix(got, "watch cancelled") { // a tick has still to log it
		t.Errorf("the last fault is %.40q, want that the watch was cancelled", got)
	}
	m.Dismiss(w.now, client)
	w.act(0)
	m.Failed(w.now, w.works[0].calls[0].ID, 14, long)
	if d := m.Take().Dismissals; len(d) != 1 || len(d[0].Fault) > 1000 {
		t.Errorf("a dismissal is answered with %.400v", d)
	}
}

// Somebody deletes the key that stands for a member's lease, and nothing else. The member takes
// another lease. Its own keys under the first one do not count against its streams.
func TestSentinelDeletedByHand(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	w.open(0)
	w.settle(t)
	m := w.works[0].member
	w.etcd.Do(etcd.Txn{Success: []etcd.Op{etcd.DeleteRequest{Key: m.keys.member(m.lease)}}})
	for len(w.changes(0)) > 0 {
		w.tell(0)
	}
	for len(w.works[0].calls) > 0 {
		if w.works[0].calls[0].done {
			w.answer(0, 0)
		} else {
			w.execute(0, 0)
		}
	}
	w.wantAre(t, live)
	w.settle(t)
	w.wantAre(t, live)
}

// A stream is not refused for a restored etcd: members join anew, and all streams return.
func TestRestoredFromABackup(t *testing.T) {
	w := newWorld(size{workers: []int{1, 1}, streams: 3, most: []int{2}})
	w.open(0)
	for len(w.works[0].calls) > 0 {
		if w.works[0].calls[0].done {
			w.answer(0, 0)
		} else {
			w.execute(0, 0)
		}
	}
	backup := w.etcd.Clone()
	backup.Cluster++
	backup.Granted += 100 // etcd does not give an id twice, not even then
	w.open(1)
	w.clone().settle(t)
	for len(w.works[1].calls) > 0 {
		if w.works[1].calls[0].done {
			w.answer(1, 0)
		} else {
			w.execute(1, 0)
		}
	}
	w.etcd = backup
	for i := range w.works {
		w.do(event{"break", i, 0})
	}
	w.settle(t)
	w.wantAre(t, live, live)
	for i := range w.works {
		if got := w.works[i].member.Counts().LeasesLost; got != 1 {
			t.Errorf("worker %d has lost %d leases, want 1", i, got)
		}
	}
}

// An operator's word reaches a stream by its member's watch, and by a list after the watch was
// broken.
func TestDismissed(t *testing.T) {
	for _, broken := range []bool{false, true} {
		w := newWorld(size{workers: []int{1}, streams: 1, most: one, faults: faults{breaks: 1}})
		w.open(0)
		w.clone().settle(t)
		w.execute(0, 0)
		w.execute(0, 0)
		w.answer(0, 0)
		for len(w.changes(0)) > 0 {
			w.tell(0)
		}
		m := w.works[0].member
		s := w.opened[0]
		if broken {
			w.do(event{"break", 0, 0})
		}
		_, failed := w.etcd.Do(etcd.Txn{Success: []etcd.Op{
			etcd.DeleteRequest{Key: m.keys.stream(client, m.name(s.Stream))},
			etcd.PutRequest{Key: m.keys.listed(m.name(s.Stream)), Value: []byte(dismissed), IgnoreLease: true},
		}})
		if failed != nil {
			t.Fatal(failed)
		}
		s.yielded = true
		if !w.rest() {
			t.Fatal("the world does not come to rest")
		}
		w.wantAre(t, reset)
		if len(w.etcd.Keys) != 1 {
			t.Errorf("etcd has %v, want only the sentinel", w.etcd.Keys)
		}
	}
}

// A stream that has ended is gone when etcd has removed it.
func TestGone(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	w.openAndClaim(0)
	m, s := w.works[0].member, w.opened[0].Stream
	if m.Gone(s) {
		t.Error("a live stream is gone")
	}
	m.Ended(w.now, s)
	w.act(0)
	if m.Gone(s) {
		t.Error("a stream is gone whose keys are there")
	}
	w.execute(0, 0)
	if len(w.works[0].calls) > 0 {
		w.answer(0, 0)
	}
	if !m.Gone(s) {
		t.Error("etcd has removed the stream, and it is not gone")
	}
}

// A watch that is dead and says nothing is found by counting, also if there is always a claim or a
// release under way.
func TestDeadWatch(t *testing.T) {
	for name, busy := range map[string]func(*world, *Member){
		"idle":     func(*world, *Member) {},
		"claims":   func(w *world, m *Member) { m.Claim(w.now, &Stream{Client: ID{9}, Context: 77}) },
		"releases": func(w *world, m *Member) { m.release(77, client, true); m.run() },
	} {
		t.Run(name, func(t *testing.T) { deadWatch(t, busy) })
	}
}

func deadWatch(t *testing.T, busy func(*world, *Member)) {
	w := newWorld(size{workers: []int{1, 1}, streams: 2, most: one})
	w.open(0)
	w.execute(0, 0)
	w.execute(0, 0)
	w.answer(0, 0)
	dead := w.works[0].watch
	w.works[0].watch = 0
	w.open(1)
	for len(w.works[1].calls) > 0 {
		if w.works[1].calls[0].done {
			w.answer(1, 0)
		} else {
			w.execute(1, 0)
		}
	}
	w.wantAre(t, live, live)
	busy(w, w.works[0].member)
	w.works[0].member.Take() // and no answer comes
	for range 40 {
		w.now += 1000
		w.tick(0)
		for len(w.works[0].calls) > 0 {
			if w.works[0].calls[0].done {
				w.answer(0, 0)
			} else {
				w.execute(0, 0)
			}
		}
	}
	w.wantAre(t, reset, live)
	if w.works[0].watch == dead || w.works[0].member.Counts().Resyncs != 1 {
		t.Errorf("%d resyncs, want 1", w.works[0].member.Counts().Resyncs)
	}
	w.settle(t)
}

// Any bytes may come as any answer. Nothing panics, and once etcd answers in its own words again,
// the promise holds.
//
//	go test ./filter/fleet -fuzz FuzzAnswers -fuzztime 30s
func FuzzAnswers(f *testing.F) {
	s := etcdtest.New()
	for n, r := range []etcd.Request{
		etcd.PutRequest{Key: "p", Value: []byte("x")},
		etcd.LeaseGrantRequest{TTL: 10},
		etcd.Txn{Compare: []etcd.Compare{{Key: "p", Target: etcd.ModLess}}, Failure: []etcd.Op{etcd.RangeRequest{Key: "p"}}},
	} {
		answer, _ := s.Do(r)
		f.Add(answer, uint8(n/2))
	}
	f.Add(s.WatchAnswer(etcdtest.Change{Key: "p/1/m/0000000000000001/00000000", Value: "x", Revision: 9}), uint8(3))
	f.Add([]byte{0xff}, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, at uint8) {
		w := newWorld(size{workers: []int{1}, streams: 2, most: one})
		m := w.works[0].member
		w.open(0)
		for n := range 12 {
			if n == int(at%12) {
				for id := range m.lastCall + 1 {
					m.Answer(w.now, id, b)
					w.act(0)
				}
			}
			if len(w.works[0].calls) > 0 {
				if w.works[0].calls[0].done {
					w.answer(0, 0)
				} else {
					w.execute(0, 0)
				}
			}
		}
		w.now += 1000
		w.tick(0)
	})
}

// After an outage the keys of many streams are to be removed. Not all releases are sent at once,
// and those that fail are sent again.
func TestManyReleases(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	me := &w.works[0]
	m := me.member
	w.open(0)
	settle := func() {
		if me.calls[0].done {
			w.answer(0, 0)
		} else {
			w.execute(0, 0)
		}
	}
	for len(me.calls) > 0 {
		settle()
	}
	m.away = true
	for context := range uint32(3 * mostReleasing) {
		m.release(1000+context, client, true)
	}
	calls := 0
	for range 10 {
		w.now += 1000
		w.tick(0)
		for len(me.calls) > 0 {
			if len(me.calls) > mostReleasing+3 { // and a count, a list, a probe
				t.Fatalf("%d calls are under way, want %d releases at most", len(me.calls), mostReleasing)
			}
			calls++
			if first := me.calls[0]; calls%100 == 0 && m.calls[first.ID].kind == releasing {
				me.calls = me.calls[1:]
				m.Failed(w.now, first.ID, 14, "lost")
				w.act(0)
				continue
			}
			settle()
		}
		if len(m.releases) == 0 {
			return
		}
	}
	t.Errorf("%d streams are not released", len(m.releases))
}

// However many streams of a client are registered, one more is let in, and the others yield: as
// many at a time as etcd allows operations in a Txn. So it is after max_streams was lowered.
func TestManyYield(t *testing.T) {
	for _, streams := range []uint32{policy.MaxStreams, 5 * mostYield} {
		for lost := range 4 {
			t.Run(fmt.Sprintf("%d, answer %d is lost", streams, lost), func(t *testing.T) { manyYield(t, streams, lost) })
		}
	}
}

// manyYield loses the answer to one of the Txns: the first, the second, ...; 0: none. But the watch
// tells that the stream is registered.
func manyYield(t *testing.T, streams uint32, lost int) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	m := w.works[0].member
	const lease = 100
	w.etcd.Granted, w.etcd.Leases = lease, []etcdtest.Lease{{ID: lease, TTL: 10}}
	for context := range streams {
		key := m.keys.stream(client, name{lease, context})
		w.etcd.Do(etcd.PutRequest{Key: key, Value: Record{Stamp: Stamp(context + 1)}.Append(nil), Lease: lease})
	}
	s := &Stream{Client: client, Context: 7, Limits: &policy.Limits{MaxStreams: 1}}
	m.Claim(w.now, s)
	for range 20 {
		for _, c := range m.Take().Calls {
			if c.Request.Method().Streams() {
				continue
			}
			answer, failed := w.etcd.Do(c.Request)
			if c.Request.Method() == etcd.KVTxn {
				lost--
			}
			switch {
			case c.Request.Method() == etcd.KVTxn && lost == 0:
				m.Failed(w.now, c.ID, etcdtest.NoAnswer.Status, etcdtest.NoAnswer.Message)
				put := etcdtest.Change{Key: m.keys.listed(m.name(s)), Value: string(appendID(client)), Revision: w.etcd.Revision}
				m.Answer(w.now, m.watch.call, w.etcd.WatchAnswer(put))
			case failed != nil:
				m.Failed(w.now, c.ID, failed.Status, failed.Message)
			default:
				m.Answer(w.now, c.ID, answer)
			}
		}
		if m.Away() {
			w.now += 1000
			m.Tick(w.now)
		}
	}
	prefix := m.keys.client(client)
	if n := len(w.etcd.Within(prefix, etcd.PrefixEnd(prefix))); s.State() != Registered || n != 1 {
		t.Errorf("away %t (%s), the stream is %v, etcd has %d; want it registered, and no other", m.Away(), m.Fault(), s.State(), n)
	}
	if n := m.Counts().Away; n > 1 {
		t.Errorf("etcd was taken for away %d times", n)
	}
}

// A member that has nothing to do may leave: its lease ends, and its watch and its keepalives,
// which would go on for ever.
func TestLeave(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	me := &w.works[0]
	m := me.member
	settle := func() {
		for len(me.calls) > 0 {
			if me.calls[0].done {
				w.answer(0, 0)
			} else {
				w.execute(0, 0)
			}
		}
	}
	w.open(0)
	settle()
	if m.Idle() {
		t.Error("a member with a stream is idle")
	}
	m.Ended(w.now, w.opened[0].Stream)
	if m.Idle() {
		t.Error("a member with keys to remove is idle")
	}
	w.act(0)
	settle()
	if !m.Idle() {
		t.Errorf("a member without streams is not idle: %v", m.calls)
	}
	m.Leave(w.now)
	out := m.Take()
	if len(out.Calls) != 1 || out.Calls[0].Request.Method() != etcd.LeaseRevoke || len(out.Cancels) != 2 {
		t.Errorf("it leaves with %+v, want its lease revoked, and two calls cancelled", out)
	}
}
