package fleet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/fleet/etcdtest"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// A world is one client, some Envoys with their workers, and an etcd. What can happen next is a
// list of events, so a test can try all of them, or some at random.
type world struct {
	config size
	now    int64
	etcd   *etcdtest.Store
	envoys []envoy
	works  []worker
	opened []*opened
	strays []etcd.Txn // Txns that nobody waits for any more, and that may still be carried out
	down   int        // bit w: worker w does not reach etcd
	left   faults
	broken string // a part of the promise that was broken on the way
}

// size is the size of a world.
type size struct {
	workers []int // of each Envoy
	streams int   // that are opened
	most    []int // max_streams in each Envoy; the last holds for the rest
	refuse  bool  // on_unavailable: refuse
	reject  bool  // on_duplicate: reject_new
	looks   bool  // the filter looks at the request
	skew    int64 // worker i's clock is i times this ahead, in milliseconds
	faults  faults

	arrival bool // a fault of the caller: the Envoys' registries order by arrival, and not by stamp
	ties    bool // another: random numbers are all the same
}

// faults is how often each may happen.
type faults struct {
	losses   int // calls given up on while etcd can be reached
	ends     int // streams ended by their own side
	breaks   int // watches that break
	expiries int // leases that end while their member lives
	outages  int // of one Envoy or all
	crashes  int // of a worker
}

// envoy is the registry of one Envoy: the newest streams of those that it knows, by stamp.
type envoy struct{ client policy.Client }

func (e *envoy) Newest(*Stream) Stamp {
	if n := len(e.client.Streams); n > 0 {
		return Stamp(e.client.Streams[n-1].Claim)
	}
	return 0
}

type worker struct {
	envoy  int
	member *Member
	calls  []pending
	watch  uint32 // the call of its watch; 0: it has none
	told   etcdtest.Watch
	life   int    // grows with each crash
	draws  uint64 // of random numbers
}

// pending is a call on its way.
type pending struct {
	Call
	done   bool // it was carried out, and the answer is on its way
	answer []byte
	failed *etcdtest.Failure
}

// condition is what has become of a stream.
type condition uint8

const (
	waiting condition = iota + 1
	live
	hung    // ended by its own side
	reset   // ended by the filter
	refused // never let in
	cut     // its worker crashed
)

type opened struct {
	*Stream
	worker    int
	condition condition
	place     Stamp // in the order, for the promise; 0: none yet
	yielded   bool  // a Txn or an Envoy's registry made it yield
	raced     bool  // another was undecided when it opened
	local     policy.Stream
}

var client = ID{1, 2, 3}

func newWorld(c size) *world {
	w := &world{config: c, now: 1000, etcd: etcdtest.New(), left: c.faults}
	for e, n := range c.workers {
		w.envoys = append(w.envoys, envoy{})
		for range n {
			w.works = append(w.works, worker{envoy: e})
		}
	}
	for i := range w.works {
		w.start(i)
	}
	return w
}

// start gives worker i a member.
func (w *world) start(i int) {
	w.works[i].member = New(Config{Prefix: "p", Node: "n", LeaseTTL: 10_000, Timeout: 250}, w.local(i), w.random(i))
}

// random returns numbers that no worker draws twice: two stamps of one millisecond differ.
func (w *world) random(i int) func() uint64 {
	return func() uint64 {
		if w.config.ties {
			return 0
		}
		w.works[i].draws++
		return uint64(i+1)<<60 | w.works[i].draws<<44
	}
}

func (w *world) local(i int) Local { return &w.envoys[w.works[i].envoy] }

func (w *world) clock(i int) int64 { return w.now + int64(i)*w.config.skew }

func (w *world) limit(i int) int {
	return w.config.most[min(w.works[i].envoy, len(w.config.most)-1)]
}

func (w *world) reaches(i int) bool { return w.down&(1<<i) == 0 }

// open opens a stream on worker i.
func (w *world) open(i int) {
	w.now += 10
	k := len(w.opened)
	s := &opened{worker: i, condition: waiting, Stream: &Stream{
		Client: client, Context: uint32(k), RefuseUnavailable: w.config.refuse, RefuseContended: w.config.refuse,
		Limits: &policy.Limits{MaxStreams: w.limit(i), RejectNew: w.config.reject},
	}}
	for _, other := range w.opened {
		s.raced = s.raced || other.condition == waiting
	}
	w.opened = append(w.opened, s)
	if w.config.looks {
		w.works[i].member.Look(w.clock(i), s.Stream)
	} else {
		w.works[i].member.Claim(w.clock(i), s.Stream)
	}
	w.act(i)
}

// act does what the member of worker i wants done.
func (w *world) act(i int) {
	me := &w.works[i]
	for {
		out := me.member.Take()
		if len(out.Calls)+len(out.Cancels)+len(out.Verdicts)+len(out.Ends) == 0 {
			return
		}
		for _, call := range out.Calls {
			w.sent(i, call)
		}
		for _, id := range out.Cancels {
			w.cancel(i, id)
		}
		for _, v := range out.Verdicts {
			w.verdict(i, v)
		}
		for _, e := range out.Ends {
			s := w.opened[e.Stream.Context]
			if e.Why == Superseded && (!s.yielded || w.holds(i, s)) {
				w.broken = "a stream was reset that nobody had made to yield"
			}
			w.over(s, reset)
		}
	}
}

// holds reports whether a stream has its place in etcd, by the registration that its member knows.
func (w *world) holds(i int, s *opened) bool {
	m := w.works[i].member
	at, found := w.etcd.Find(m.keys.stream(client, m.name(s.Stream)))
	return found && s.revision != 0 && w.etcd.Keys[at].Written == s.revision
}

// sent puts a call on its way. What needs no order against other calls is carried out at once.
func (w *world) sent(i int, call Call) {
	me := &w.works[i]
	at := slices.IndexFunc(me.calls, func(p pending) bool { return p.ID == call.ID })
	if at >= 0 {
		return // another keepalive
	}
	switch r := call.Request.(type) {
	case etcd.WatchRequest:
		if w.reaches(i) {
			me.watch, me.told = call.ID, w.etcd.Watch(r)
			return
		}
	case etcd.LeaseKeepAliveRequest:
		return
	case etcd.LeaseRevokeRequest:
		if w.reaches(i) {
			answer, failed := w.etcd.Do(r)
			w.deliver(i, pending{Call: call, answer: answer, failed: failed})
			return
		}
	case etcd.LeaseGrantRequest, etcd.PutRequest:
		if w.reaches(i) {
			answer, failed := w.etcd.Do(r)
			w.deliver(i, pending{Call: call, answer: answer, failed: failed})
			return
		}
	case etcd.RangeRequest:
		if r.CountOnly && w.reaches(i) {
			answer, _ := w.etcd.Do(r)
			w.deliver(i, pending{Call: call, answer: answer})
			return
		}
	}
	me.calls = append(me.calls, pending{Call: call})
}

// deliver gives worker i an answer.
func (w *world) deliver(i int, p pending) {
	m := w.works[i].member
	if p.failed != nil {
		m.Failed(w.clock(i), p.ID, p.failed.Status, p.failed.Message)
	} else {
		m.Answer(w.clock(i), p.ID, p.answer)
	}
}

// cancel drops a call. A Txn that was not carried out yet may still be.
func (w *world) cancel(i int, id uint32) {
	me := &w.works[i]
	if me.watch == id {
		me.watch = 0
	}
	for n, p := range me.calls {
		if p.ID == id {
			if t, ok := p.Request.(etcd.Txn); ok && !p.done {
				w.strays = append(w.strays, t)
			}
			me.calls = slices.Delete(me.calls, n, n+1)
			return
		}
	}
}

func (w *world) verdict(i int, v Verdict) {
	s := w.opened[v.Stream.Context]
	m := w.works[i].member
	switch v.Outcome {
	case Proceed:
		m.Claim(w.clock(i), v.Stream)
	case Admitted, Unconfirmed:
		s.condition, s.place = live, v.Stamp
		w.record(i, s, false)
	case Alone:
		s.place = v.Stamp
		w.record(i, s, true)
	case Refused, Unavailable:
		s.condition = refused
	case Overtaken:
		if !s.yielded {
			w.broken = "a stream was reset that nobody had made to yield"
		}
		w.over(s, reset)
	}
}

// record puts a stream into its Envoy's registry.
func (w *world) record(i int, s *opened, decide bool) {
	e := &w.envoys[w.works[i].envoy]
	s.local = policy.Stream{Claim: uint64(s.place), Owner: policy.Owner{Slot: uint16(i), Incarnation: uint64(w.works[i].life) + 1}, Context: s.Context}
	if w.config.arrival {
		s.local.Claim = uint64(e.Newest(nil)) + 1
	}
	var verdict policy.Verdict
	if decide {
		verdict = policy.Decide(e.client, s.local, *s.Limits, false, w.now)
	} else {
		verdict = policy.Return(e.client, s.local, s.Limits.MaxStreams, w.now)
	}
	if verdict.Refusal != 0 {
		s.condition = refused
		w.works[i].member.Ended(w.clock(i), s.Stream)
		return
	}
	s.condition = live
	e.client = verdict.Next
	e.client.MaxStreams = 0 // mixed limits: each stream keeps its own
	for _, y := range verdict.Superseded {
		loser := w.opened[y.Context]
		loser.yielded = true
		if loser.condition == live {
			w.over(loser, reset)
			w.works[loser.worker].member.Ended(w.clock(loser.worker), loser.Stream)
			w.act(loser.worker)
		}
	}
}

// over ends a stream for its client and its Envoy's registry.
func (w *world) over(s *opened, how condition) {
	s.condition = how
	w.forget(s)
}

func (w *world) forget(s *opened) {
	e := &w.envoys[w.works[s.worker].envoy]
	e.client = e.client.Without(func(l policy.Stream) bool { return l.Context == s.Context }, w.now)
}

// carry carries a Txn out, and notes for the promise what it does.
func (w *world) carry(t etcd.Txn) (answer []byte, failed *etcdtest.Failure) {
	before := w.etcd.Clone()
	answer, failed = w.etcd.Do(t)
	var claimant *opened
	var record Record
	for _, op := range t.Success {
		if p, ok := op.(etcd.PutRequest); ok && strings.Contains(p.Key, "/c/") {
			claimant = w.byKey(p.Key)
			record, _ = ParseRecord(p.Value)
		}
	}
	switch {
	case claimant == nil:
		return answer, failed
	case w.etcd.Revision == before.Revision:
		// A return that sees now that its place is taken may end its stream.
		if claimant.condition == live && w.newerThan(record.Stamp) >= claimant.Limits.MaxStreams {
			claimant.yielded = true
		}
		return answer, failed
	case claimant.condition != live:
		claimant.place = record.Stamp // where it stood, even if it has ended meanwhile
	}
	for _, k := range before.Keys {
		if !strings.Contains(k.Name, "/c/") {
			continue
		}
		if _, stays := w.etcd.Find(k.Name); stays {
			continue
		}
		loser := w.byKey(k.Name)
		if newer := w.newerThan(stampOf(k)); newer < claimant.Limits.MaxStreams {
			w.broken = fmt.Sprintf("stream %d was made to yield while %d newer ones were there", loser.Context, newer)
		}
		loser.yielded = true
	}
	return answer, failed
}

// newerThan counts the streams in etcd with larger stamps.
func (w *world) newerThan(stamp Stamp) (n int) {
	for _, k := range w.etcd.Keys {
		if strings.Contains(k.Name, "/c/") && stampOf(k) > stamp {
			n++
		}
	}
	return n
}

func stampOf(k etcdtest.Key) Stamp {
	r, err := ParseRecord([]byte(k.Value))
	if err != nil {
		panic(err)
	}
	return r.Stamp
}

func (w *world) byKey(key string) *opened {
	n, ok := parseName(key[len(key)-nameSize:])
	if !ok {
		panic(key)
	}
	return w.opened[n.context]
}

// live reports whether a lease is one of a member's.
func (w *world) owned(lease int64) bool {
	return slices.ContainsFunc(w.works, func(o worker) bool { return o.member.lease == lease })
}

// crash ends the VM of worker i. Another one begins with nothing.
func (w *world) crash(i int) {
	me := &w.works[i]
	for _, s := range w.opened {
		if s.worker == i && (s.condition == live || s.condition == waiting) {
			s.condition = cut // its Envoy's registry has it until it is swept
		}
	}
	for _, p := range me.calls {
		if t, ok := p.Request.(etcd.Txn); ok && !p.done {
			w.strays = append(w.strays, t)
		}
	}
	me.calls, me.watch, me.life = nil, 0, me.life+1
	w.start(i)
}

// changes returns what the watch of worker i is to tell next: all changes of one revision.
func (w *world) changes(i int) []etcdtest.Change {
	me := &w.works[i]
	if me.watch == 0 {
		return nil
	}
	return me.told.Next(w.etcd)
}

func (w *world) tell(i int) {
	me := &w.works[i]
	me.member.Answer(w.clock(i), me.watch, me.told.Tell(w.etcd))
	w.act(i)
}
