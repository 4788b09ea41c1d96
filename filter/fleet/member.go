package fleet

import (
	"maps"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/policy"
)

const (
	// MostStreams is how many streams a member should have. A worker with more joins as another
	// member. When a lease ends, etcd deletes its keys in one step, and all writes wait for it.
	MostStreams = 2000

	mostReturning = 32  // returns under way; half as many ended before more begin
	mostReleasing = 256 // releases under way
	mostTries     = 4   // Txns of one claim or return
	countsEvery   = 10 * policy.Second
	wrongCounts   = 2 // in a row, after which the watch is taken for dead
)

// Config is what all members of a fleet agree on, and what one Envoy says of itself.
type Config struct {
	Prefix   string        // of all keys
	Node     string        // the Envoy's node id, for operators who look into etcd
	LeaseTTL policy.Millis // how long a crashed member's streams keep their place
	Timeout  policy.Millis // how long a newcomer waits for etcd, in all
}

// Local is the Envoy's own registry.
type Local interface {
	// Newest returns the largest stamp among the streams in this Envoy that the client of s has; 0
	// if it has none.
	Newest(s *Stream) Stamp
}

// Call is a message to send to etcd.
type Call struct {
	ID      uint32 // names the call. A later message of the same stream has the same ID.
	Request etcd.Request
	Timeout policy.Millis // 0: none
}

// Actions is what a member wants done. Calls are to be sent in their order.
type Actions struct {
	Calls    []Call
	Cancels  []uint32 // calls whose answers are not wanted any more
	Verdicts []Verdict
	Ends     []End

	Dismissals []Dismissal
}

// Counts is what a member has counted since it was made.
type Counts struct {
	Away        int // times that etcd did not answer
	LeasesLost  int
	Returned    int // streams registered again
	Resyncs     int // watches resumed from a list
	Ghosts      int // keys of streams that had ended, removed
	ClockAhead  int // stamps read that were more than a second ahead of the own clock
	Foreign     int // keys or values read that are not of this format
	Unconfirmed int // streams let in while nobody knew whether their claim was carried out
}

// Member is one plugin context on one worker, with one lease and one watch. Like a plugin context,
// it must not be used from several goroutines. Times are in milliseconds.
type Member struct {
	config Config
	keys   keys
	local  Local
	random func() uint64

	now    int64 // by the clock of the calls
	ahead  int64 // the wall clock is ahead of it
	out    Actions
	given  map[ID]Stamp // the largest stamp of the verdicts in out, by client
	counts Counts
	fault  string // what is wrong; "" if all is well
	last   string // what went wrong last, also if all is well again

	streams map[uint32]*Stream  // by context
	turns   map[ID]*Stream      // whose claim or return is under way; one for each client
	queues  map[ID][]*Stream    // in state Waiting behind it, first come first
	freed   []ID                // clients whose turn has ended, and others wait for it
	number  [Registered + 1]int // of streams in each state

	lease     int64 // 0: none
	joinedAt  int64
	joining   bool
	join      int64   // deadline of joining
	former    []int64 // leases that were given up and may live
	cluster   uint64
	revision  int64 // the largest that an answer had
	era       int   // grows when etcd was restored: no earlier revision means anything then
	away      bool
	watch     watch
	keepAlive uint32 // call; 0: none
	keptAlive int64
	interval  int64 // between two keepalives

	releases map[uint32]release // by context, until they are answered
	unsent   []uint32           // contexts of those that are not under way
	calls    map[uint32]call
	lastCall uint32
}

// call is what a member remembers of a call that is under way.
type call struct {
	kind
	stream    *Stream
	hurried   bool   // its stream stood in a queue, and had little time left: a failure says little of etcd
	context   uint32 // of the stream that is released
	dismissal *dismissal
	lease     int64
	floor     int64 // the revision before it was sent; its answer cannot be from an earlier one
	era       int   // to which the floor belongs
}

type kind uint8

const (
	looking kind = iota + 1
	claiming
	releasing
	granting
	planting // the sentinel
	listing  // the own streams, to resume the watch from
	counting // the own streams, to see whether the watch is alive
	probing
	watching
	keepingAlive
	revoking
	seeking // the streams of a client that is to be dismissed
	dismissing
)

// release is a stream that has ended and whose keys may still be there.
type release struct {
	id    ID
	known bool   // id is
	call  uint32 // 0: failed, to be sent again
}

// New returns a member that has not joined yet. random must not be predictable by clients.
func New(config Config, local Local, random func() uint64) *Member {
	return &Member{
		config: config, keys: newKeys(config.Prefix), local: local, random: random,
		streams: map[uint32]*Stream{}, turns: map[ID]*Stream{}, queues: map[ID][]*Stream{},
		given: map[ID]Stamp{}, releases: map[uint32]release{}, calls: map[uint32]call{},
	}
}

// SetClock says what is to be added to the times of the calls for milliseconds since 1970. Waits go
// by the times alone, and they may be of any clock that nobody sets. Stamps and tokens are compared
// with those of other Envoys. Without SetClock both are the same.
func (m *Member) SetClock(ahead int64) { m.ahead = ahead }

// wall returns the time in milliseconds since 1970.
func (m *Member) wall() int64 { return m.now + m.ahead }

// Take returns what the member wants done since the last Take.
func (m *Member) Take() Actions {
	out := m.out
	m.out = Actions{}
	if len(m.given) > 0 {
		m.given = map[ID]Stamp{}
	}
	return out
}

// Away reports whether etcd does not answer, as far as the member knows.
func (m *Member) Away() bool { return m.away }

// Fault says what is wrong: why etcd is away, the lease was lost, or the watch had broken. It is ""
// if all is well again.
func (m *Member) Fault() string { return m.fault }

// LastFault says what went wrong last, also if all is well again.
func (m *Member) LastFault() string { return m.last }

func (m *Member) wentWrong(fault string) { m.fault, m.last = fault, fault }

// Lease returns the member's lease, which is its name; 0: it has none.
func (m *Member) Lease() int64 { return m.lease }

// JoinedAt returns when it took the lease, by the clock of the calls.
func (m *Member) JoinedAt() int64 { return m.joinedAt }

// Counts returns what was counted.
func (m *Member) Counts() Counts { return m.counts }

// Streams says how many streams a member has.
type Streams struct {
	All          int
	Registered   int
	Unregistered int // they are in, and are to be registered
	Returning    int // of Unregistered: their Txn is under way
}

// Streams returns how many streams the member has.
func (m *Member) Streams() Streams {
	return Streams{
		All: len(m.streams), Registered: m.number[Registered],
		Unregistered: m.number[Unregistered] + m.number[Returning], Returning: m.number[Returning],
	}
}

// set moves s to a state.
func (m *Member) set(s *Stream, next State) {
	m.number[s.state]--
	s.state = next
	m.number[next]++
}

// send sends a request and returns the id of its call.
func (m *Member) send(c call, r etcd.Request, timeout policy.Millis) uint32 {
	m.lastCall++
	c.floor, c.era, c.lease = m.revision, m.era, m.lease
	m.calls[m.lastCall] = c
	m.out.Calls = append(m.out.Calls, Call{ID: m.lastCall, Request: r, Timeout: timeout})
	return m.lastCall
}

// forgetCall makes the answer of a call mean nothing.
func (m *Member) forgetCall(id uint32) {
	if _, found := m.calls[id]; found {
		delete(m.calls, id)
		m.out.Cancels = append(m.out.Cancels, id)
	}
}

// ordered returns the member's streams in the order of their contexts.
func (m *Member) ordered() []*Stream {
	streams := make([]*Stream, 0, len(m.streams))
	for _, context := range slices.Sorted(maps.Keys(m.streams)) {
		streams = append(streams, m.streams[context])
	}
	return streams
}

// Tick is a member's housekeeping. It is to be called once a second.
func (m *Member) Tick(now int64) {
	m.now = now
	m.watch.resumed = false
	if m.number[Unregistered] > 0 {
		for _, s := range m.streams {
			s.tries = 0
		}
	}
	if m.away {
		if !m.underWay(probing) {
			probe := etcd.RangeRequest{Key: m.keys.member(m.lease), CountOnly: true}
			m.send(call{kind: probing}, probe, m.config.Timeout)
		}
	} else {
		m.work()
	}
	if m.lease != 0 && now-m.keptAlive >= m.interval {
		m.stayAlive()
	}
	m.run()
}

func (m *Member) underWay(k kind) bool {
	for _, c := range m.calls {
		if c.kind == k {
			return true
		}
	}
	return false
}

// work begins all that waits for etcd to answer.
func (m *Member) work() {
	m.startJoin()
	if m.lease == 0 {
		return
	}
	m.resume()
	m.count()
}

// run goes on with what waits for its turn. Every call of the caller ends with it.
func (m *Member) run() {
	m.startReleases()
	for {
		m.startReturns()
		if len(m.freed) == 0 {
			return
		}
		id := m.freed[0]
		m.freed = m.freed[1:]
		q := m.queues[id]
		if len(q) == 0 || m.turns[id] != nil {
			continue
		}
		if m.queues[id] = q[1:]; len(q) == 1 {
			delete(m.queues, id)
		}
		m.turns[id] = q[0]
		m.claim(q[0])
	}
}

// startJoin takes a lease if the member has none and needs one.
func (m *Member) startJoin() {
	if m.lease != 0 || m.joining || m.away || len(m.streams) == 0 {
		return
	}
	m.joining, m.join = true, m.now+int64(m.config.Timeout)
	m.send(call{kind: granting}, etcd.LeaseGrantRequest{TTL: int64(m.config.LeaseTTL / policy.Second)}, m.config.Timeout)
}

// granted puts the sentinel under the lease that etcd has given.
func (m *Member) granted(l etcd.Lease) {
	id := m.send(call{kind: planting}, etcd.PutRequest{
		Key: m.keys.member(l.ID), Value: []byte(m.config.Node), Lease: l.ID,
	}, policy.Millis(max(1, m.join-m.now)))
	c := m.calls[id]
	c.lease = l.ID
	m.calls[id] = c
	m.interval = max(1000, l.TTL*1000/3)
}

// planted begins to watch and to keep the lease alive. From here on the lease is the member's name.
func (m *Member) planted(lease, revision int64) {
	m.joining, m.lease, m.joinedAt = false, lease, m.now
	m.watchFrom(revision + 1)
	m.stayAlive()
	for _, s := range m.ordered() {
		if s.state == Waiting && m.turns[s.Client] == s {
			m.claim(s)
		}
	}
}

func (m *Member) stayAlive() {
	request := etcd.LeaseKeepAliveRequest{ID: m.lease}
	m.keptAlive = m.now
	if m.keepAlive == 0 {
		m.keepAlive = m.send(call{kind: keepingAlive}, request, 0)
		return
	}
	m.out.Calls = append(m.out.Calls, Call{ID: m.keepAlive, Request: request})
}

// loseLease notes that etcd has said that the lease is gone, with all keys that hung on it. Only
// etcd says so: as long as it is silent, the lease may live. No Txn under the old lease can come
// late, because etcd refuses it.
func (m *Member) loseLease(why string) {
	m.wentWrong(why)
	m.counts.LeasesLost++
	m.lease = 0
	m.watch.end(m)
	m.forgetCall(m.keepAlive)
	m.keepAlive = 0
	for _, r := range m.releases {
		m.forgetCall(r.call)
	}
	clear(m.releases)
	m.unsent = nil
	for _, s := range m.ordered() {
		s.revision, s.doubt, s.sent = 0, 0, 0
		if s.state == Registered {
			m.set(s, Unregistered)
			s.tries = 0
		}
	}
	m.startJoin()
}

const otherEtcd = "another etcd answers, or it was restored from a backup"

// restored notes that etcd was restored from a backup: no revision that the member knows means
// anything any more. The old lease and its keys may be there again; nobody keeps them alive.
func (m *Member) restored() {
	m.era++
	m.revision = 0
	if m.lease != 0 {
		m.leaveLease(otherEtcd)
	}
}

// leaveLease gives up a lease that may live, with keys of streams that are the member's. They must
// not stand in the way of the same streams when they return.
func (m *Member) leaveLease(why string) {
	const mostFormer = 16
	m.former = append(m.former, m.lease)
	m.former = m.former[max(0, len(m.former)-mostFormer):]
	m.send(call{kind: revoking}, etcd.LeaseRevokeRequest{ID: m.lease}, m.config.Timeout)
	m.loseLease(why)
}

// heard reads the header of an answer. It reports whether the answer is from the store that the
// member knows.
func (m *Member) heard(c call, h etcd.Header) bool {
	// A stream's messages may be older than the answers of calls.
	older := c.kind != watching && c.kind != keepingAlive && c.era == m.era && h.Revision < c.floor
	other := m.cluster != 0 && h.Cluster != m.cluster
	m.cluster = h.Cluster
	if older || other {
		m.restored()
		m.revision = h.Revision
		return false
	}
	m.revision = max(m.revision, h.Revision)
	return true
}

// goAway notes that a call has failed. Until a probe is answered, newcomers do not wait.
func (m *Member) goAway(fault string) {
	m.wentWrong(fault)
	m.joining = false
	if m.away {
		return
	}
	m.away = true
	m.counts.Away++
	clear(m.queues)
	for _, s := range m.ordered() {
		switch {
		case s.state == Looking, s.state == Waiting, s.state == Claiming && !s.sending:
			m.unavailable(s)
		}
	}
}

// back notes that etcd answers again.
func (m *Member) back() {
	m.away, m.fault = false, ""
	m.work()
}

// Leave ends the member: etcd deletes all of its keys. Besides answers it must be given nothing any
// more.
func (m *Member) Leave(now int64) {
	m.now = now
	if m.lease != 0 {
		m.send(call{kind: revoking}, etcd.LeaseRevokeRequest{ID: m.lease}, m.config.Timeout)
	}
	m.forgetCall(m.watch.call)
	m.forgetCall(m.keepAlive)
}

// Idle reports whether the member has nothing to do but to stay.
func (m *Member) Idle() bool {
	for _, c := range m.calls {
		if c.kind != watching && c.kind != keepingAlive {
			return false
		}
	}
	return len(m.streams)+len(m.releases) == 0
}
