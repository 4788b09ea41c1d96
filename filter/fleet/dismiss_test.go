package fleet

import (
	"testing"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// asker is a member that only dismisses. It has no streams and no lease.
func asker(w *world) *Member {
	return New(Config{Prefix: "p", Timeout: 250}, &w.envoys[0], func() uint64 { return 1 })
}

// next carries out the only call that a member wants to make, and gives it the answer.
func next(t *testing.T, w *world, m *Member) (done []Dismissal) {
	t.Helper()
	a := m.Take()
	if len(a.Calls) > 1 {
		t.Fatalf("%d calls, want 1 at a time", len(a.Calls))
	}
	for _, c := range a.Calls {
		answer, failed := w.etcd.Do(c.Request)
		if failed != nil {
			m.Failed(w.now, c.ID, failed.Status, failed.Message)
		} else {
			m.Answer(w.now, c.ID, answer)
		}
	}
	return a.Dismissals
}

func dismissAll(t *testing.T, w *world, m *Member) Dismissal {
	t.Helper()
	for range 20 {
		if done := next(t, w, m); len(done) > 0 {
			return done[0]
		}
	}
	t.Fatal("the dismissal does not end")
	return Dismissal{}
}

// openAndClaim opens a stream and lets its claim be carried out.
func (w *world) openAndClaim(i int) {
	w.open(i)
	for len(w.works[i].calls) > 0 {
		if w.works[i].calls[0].done {
			w.answer(i, 0)
		} else {
			w.execute(i, 0)
		}
	}
}

// All streams of a client end, wherever they are, and whoever comes between the look and the Txn.
func TestDismiss(t *testing.T) {
	for _, race := range []bool{false, true} {
		w := newWorld(size{workers: []int{1, 1}, streams: 3, most: []int{3}})
		w.openAndClaim(0)
		w.openAndClaim(1)
		m := asker(w)
		m.Dismiss(w.now, client)
		want := 2
		if race {
			next(t, w, m) // the look
			w.openAndClaim(0)
			want = 3
		}
		if got := dismissAll(t, w, m); got != (Dismissal{Client: client, Streams: want}) {
			t.Errorf("race %t: got %+v, want %d streams and no fault", race, got, want)
		}
		for _, s := range w.opened {
			s.yielded = true
		}
		if !w.rest() {
			t.Fatal("the world does not come to rest")
		}
		for k, s := range w.opened {
			if s.condition != reset {
				t.Errorf("race %t: stream %d: condition %d, want it reset", race, k, s.condition)
			}
		}
		if keys := w.etcd.Within("p/1/c/", "p/1/c0"); len(keys) != 0 {
			t.Errorf("race %t: etcd has %v, want no stream", race, keys)
		}
	}
}

// More streams than one Txn can name.
func TestDismissMany(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	m := asker(w)
	w.etcd.Do(etcd.LeaseGrantRequest{TTL: 10})
	lease := w.etcd.Granted
	const streams = 2*mostYield + 5
	for context := range uint32(streams) {
		n := name{lease, context}
		w.etcd.Do(etcd.PutRequest{Key: m.keys.stream(client, n), Value: Record{Stamp: Stamp(context + 1)}.Append(nil), Lease: lease})
		w.etcd.Do(etcd.PutRequest{Key: m.keys.listed(n), Value: appendID(client), Lease: lease})
	}
	m.Dismiss(w.now, client)
	if got := dismissAll(t, w, m); got.Streams != streams || got.Fault != "" {
		t.Errorf("got %+v, want %d streams", got, streams)
	}
	for _, k := range w.etcd.Within("p/1/m/", "p/1/m0") {
		if k.Value != dismissed || k.Lease != lease {
			t.Fatalf("%s is %q under lease %d, want %q under %d", k.Name, k.Value, k.Lease, dismissed, lease)
		}
	}
}

// A client that comes back at once does not keep the operator waiting for ever: who opened after
// the operator's word stays.
func TestDismissedClientComesBack(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	m := asker(w)
	w.etcd.Do(etcd.LeaseGrantRequest{TTL: 10})
	lease := w.etcd.Granted
	opened := uint32(0)
	open := func() {
		opened++
		n := name{lease, opened}
		w.etcd.Do(etcd.PutRequest{Key: m.keys.stream(client, n), Value: Record{Stamp: Stamp(opened)}.Append(nil), Lease: lease})
		w.etcd.Do(etcd.PutRequest{Key: m.keys.listed(n), Value: appendID(client), Lease: lease})
	}
	open()
	m.Dismiss(w.now, client)
	for range 20 {
		before := w.etcd.Revision
		if done := next(t, w, m); len(done) > 0 {
			if done[0].Streams != 1 || done[0].Fault != "" {
				t.Errorf("got %+v, want one stream", done[0])
			}
			return
		}
		if w.etcd.Revision != before { // dismissed
			open()
		}
	}
	t.Errorf("after %d streams the dismissal does not end", opened)
}

// An operator is told that etcd does not answer. It says nothing about newcomers.
func TestDismissFails(t *testing.T) {
	w := newWorld(size{workers: []int{1}, streams: 1, most: one})
	m := asker(w)
	m.Dismiss(w.now, client)
	m.Failed(w.now, m.Take().Calls[0].ID, 14, "upstream request timeout")
	if got := m.Take().Dismissals; len(got) != 1 || got[0].Fault != "status 14: upstream request timeout" || m.Away() {
		t.Errorf("got %+v, away %t; want one with the fault, and not away", got, m.Away())
	}
	m.away, m.fault = true, "gone"
	m.Dismiss(w.now, client)
	if a := m.Take(); len(a.Calls) != 0 || len(a.Dismissals) != 1 || a.Dismissals[0].Fault != "gone" {
		t.Errorf("while it is away: got %+v, want the fault at once", a)
	}
}
