package session

import (
	"encoding/binary"
	"slices"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/fleet"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// A place in the fleet comes first, and then a place in this Envoy's registry, under the stamp that
// the fleet gave (see package fleet). The fleet answers in a later callback: until then the request
// waits, or the response. If etcd does not answer, this Envoy decides alone, at once.

// fleetSide is what a worker has of a fleet.
type fleetSide struct {
	worker  *Worker
	config  *config.Fleet
	members []*member
	calls   map[uint32]sentCall // by the host's number
	metrics fleetMetrics
	message []byte // scratch of send

	dismissals map[fleet.ID]*dismissal // under way

	// What is still to be carried out. Only callbacks that are no stream's do that, as many as each
	// may; see carryOut.
	verdicts []fleet.Verdict
	given    map[fleet.ID]fleet.Stamp // the largest stamp of verdicts, by client; perhaps of earlier ones
	ends     []fleet.End

	running *Stream        // the stream whose callback is running
	verdict *fleet.Verdict // on it
	acting  bool           // carryOut is running
}

// member is one lease and one watch in one of the etcds.
type member struct {
	*fleet.Member
	cluster string
	calls   map[uint32]uint32 // under way: the host's number, by the member's
	counted fleet.Counts      // that the metrics have
	away    bool              // as it was logged last
}

// sentCall is a call whose answer is still to come.
type sentCall struct {
	member  *member
	id      uint32 // the member's number
	streams bool   // it is a stream of messages
}

// newFleetSide makes the worker's side of the fleet; nil without a fleet.
func newFleetSide(w *Worker) *fleetSide {
	if w.config.Fleet == nil {
		return nil
	}
	return &fleetSide{
		worker: w, config: w.config.Fleet, metrics: w.defineFleetMetrics(),
		calls: map[uint32]sentCall{}, dismissals: map[fleet.ID]*dismissal{}, given: map[fleet.ID]fleet.Stamp{},
	}
}

// hash makes ids as all Envoys of the fleet make them.
func (f *fleetSide) hash() registry.Table { return registry.Table{Seed: f.config.Secret} }

// client returns the id of a client under a rule. An Envoy that observes and one that enforces do
// not meet.
func (f *fleetSide) client(mode config.Mode, rule string, key []byte) fleet.ID {
	return fleet.ID(f.hash().Client(mode.String()+":"+rule, key))
}

// cluster returns the etcd that a client belongs to: the one with the highest hash of both. If the
// list of clusters changes, only the clients of those that came or went move.
func (f *fleetSide) cluster(id fleet.ID) string {
	best, most := f.config.Clusters[0], uint64(0)
	for _, name := range f.config.Clusters {
		hash := f.hash().Client(name, id[:])
		if h := binary.LittleEndian.Uint64(hash[:]); h > most {
			best, most = name, h
		}
	}
	return best
}

// memberFor returns a member that has room for one more stream of a client.
func (f *fleetSide) memberFor(id fleet.ID) *member {
	cluster := f.cluster(id)
	for _, m := range f.members {
		if m.cluster == cluster && m.Streams().All < fleet.MostStreams {
			return m
		}
	}
	m := &member{cluster: cluster, calls: map[uint32]uint32{}}
	m.Member = fleet.New(fleet.Config{
		Prefix: f.config.Prefix, Node: f.worker.host.Node(), LeaseTTL: f.config.LeaseTTL, Timeout: f.config.Timeout,
	}, f, f.worker.host.Random)
	f.setClock(m)
	f.members = append(f.members, m)
	return m
}

func (f *fleetSide) setClock(m *member) {
	m.SetClock(f.worker.host.WallClock() - f.worker.host.Now())
}

// Newest implements [fleet.Local].
func (f *fleetSide) Newest(s *fleet.Stream) fleet.Stamp {
	registered, err := f.worker.registry.Newest(s.Of.(*Stream).place.Client)
	f.worker.warn(err)
	return max(fleet.Stamp(registered), f.given[s.Client])
}

// ended tells a stream's member, if it has one, that it has ended.
func (f *fleetSide) ended(place *fleetPlace, now int64) {
	if place.member == nil {
		return
	}
	place.member.Ended(now, &place.Stream)
	f.pump(place.member, now)
	f.remind(now)
}

// remind asks for a callback that carries out what is left, unless the running one does.
func (f *fleetSide) remind(now int64) {
	if len(f.verdicts)+len(f.ends) > 0 && !f.acting {
		f.worker.warn(f.worker.registry.Remind(now)) // if it is lost, the next tick goes on
	}
}

// pump sends what a member wants sent, until it wants nothing. It ends what [Streams.Enter] has
// chosen.
func (f *fleetSide) pump(m *member, now int64) {
	for {
		actions := m.Take()
		for _, v := range actions.Verdicts {
			if v.Stream.Of == f.running {
				f.verdict = &v
			} else {
				f.verdicts = append(f.verdicts, v)
				f.given[v.Stream.Client] = max(f.given[v.Stream.Client], v.Stamp)
			}
		}
		f.ends = append(f.ends, actions.Ends...)
		for _, d := range actions.Dismissals {
			f.dismissed(d)
		}
		if len(actions.Calls)+len(actions.Cancels) == 0 {
			break
		}
		for _, c := range actions.Calls {
			if err := f.send(m, c); err != nil {
				const unavailable = 14
				f.cancel(m, c.ID) // a stream may be open all the same
				m.Failed(now, c.ID, unavailable, err.Error())
			}
		}
		for _, id := range actions.Cancels {
			f.cancel(m, id)
		}
	}
}

func (f *fleetSide) send(m *member, c fleet.Call) (err error) {
	method := c.Request.Method()
	f.message = c.Request.Append(f.message[:0])
	call, opened := m.calls[c.ID]
	if !opened {
		if method.Streams() {
			call, err = f.worker.host.Open(m.cluster, method)
		} else {
			call, err = f.worker.host.Call(m.cluster, method, f.message, c.Timeout)
		}
		if err != nil {
			return err
		}
		m.calls[c.ID] = call
		f.calls[call] = sentCall{m, c.ID, method.Streams()}
	}
	if method.Streams() {
		err = f.worker.host.Send(call, f.message)
	}
	return err
}

// cancel ends a call whose answer is not wanted any more. A Txn is carried out all the same, or
// not.
func (f *fleetSide) cancel(m *member, id uint32) {
	if call, found := m.calls[id]; found {
		f.forget(call)
		f.worker.warn(f.worker.host.Cancel(call))
	}
}

func (f *fleetSide) forget(call uint32) {
	sent := f.calls[call]
	delete(f.calls, call)
	delete(sent.member.calls, sent.id)
}

// Answered is called when etcd has sent a message: the answer to a call, or the next message of a
// stream. The bytes are the worker's.
func (w *Worker) Answered(call uint32, message []byte) {
	sent, known := w.fleet.sent(call)
	if !known {
		return
	}
	w.acted = 0
	now := w.host.Now()
	if !sent.streams {
		w.fleet.forget(call)
	}
	sent.member.Answer(now, sent.id, message)
	w.fleet.pump(sent.member, now)
	w.fleet.carryOut(now)
}

// CallFailed is called when a call has failed, or a stream has ended, with gRPC's status and its
// message. The call may be one that [Calls] has never returned, as it could not be sent.
func (w *Worker) CallFailed(call uint32, status int, message string) {
	sent, known := w.fleet.sent(call)
	if !known {
		return
	}
	w.acted = 0
	now := w.host.Now()
	w.fleet.forget(call)
	sent.member.Failed(now, sent.id, status, message)
	w.fleet.pump(sent.member, now)
	w.fleet.carryOut(now)
}

func (f *fleetSide) sent(call uint32) (sent sentCall, known bool) {
	if f != nil {
		sent, known = f.calls[call]
	}
	return sent, known
}

// tick is the fleet's housekeeping.
func (f *fleetSide) tick(now int64) {
	if f == nil {
		return
	}
	unregistered := 0
	for _, m := range f.members {
		f.setClock(m)
		m.Tick(now)
		f.pump(m, now)
		f.tell(m)
		unregistered += m.Streams().Unregistered
	}
	f.retire(now)
	f.report(now, unregistered)
	f.showUnregistered(unregistered)
	f.carryOut(now)
}

// retire ends the members that a worker has needed for many streams, and needs no more. It keeps
// the first in each cluster, and another one until the first is half empty: it might be needed
// again.
func (f *fleetSide) retire(now int64) {
	first := map[string]*member{}
	f.members = slices.DeleteFunc(f.members, func(m *member) bool {
		if first[m.cluster] == nil {
			first[m.cluster] = m
			return false
		}
		if !m.Idle() || first[m.cluster].Streams().All > fleet.MostStreams/2 {
			return false
		}
		m.Leave(now)
		f.pump(m, now)
		f.count(m)
		return true
	})
}

// Leave gives back what the worker has in the fleet, at its end. Envoy may cancel the calls before
// they are on their way, as it does when it stops: then the leases end by their time.
func (w *Worker) Leave() {
	if w.fleet == nil {
		return
	}
	now := w.host.Now()
	for _, m := range w.fleet.members {
		m.Leave(now)
		w.fleet.pump(m, now)
		w.fleet.count(m)
	}
	w.warn(w.registry.Report(0, nil))
	w.fleet.showUnregistered(0)
}
