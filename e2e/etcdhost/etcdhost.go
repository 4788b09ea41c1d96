// Package etcdhost puts a simulated etcd behind Envoys of the test host: see package
// filter/fleet/etcdtest. The Envoys reach it through the hostcalls of gRPC, under the cluster name
// [Cluster].
//
// Nothing happens until the test asks for it. [Etcd.Run] lets all happen at once, and
// [Etcd.Advance] lets time pass. For an order of its own a test chooses among [Etcd.Steps].
package etcdhost

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/fleet/etcdtest"
	"github.com/streamlatch/streamlatch/host"
)

// Cluster is the name of Envoy's cluster that reaches etcd.
const Cluster = "etcd"

// Etcd is an etcd and the Envoys that use it. All have one clock.
type Etcd struct {
	*etcdtest.Store
	Envoys []*Envoy

	t     testing.TB
	now   time.Duration
	until map[int64]time.Duration // when leases end
}

// Envoy is an Envoy and its connection to etcd.
type Envoy struct {
	*host.World
	Reach   Reach
	Stopped bool // time passes, and nothing happens in it

	calls map[*host.GRPCCall]*call
}

// Reach is what becomes of an Envoy's requests to etcd.
type Reach int

const (
	Answered Reach = iota
	Silent         // nothing comes back
	Failing        // calls fail at once, and streams end
	Nonsense       // answers are no messages of etcd
)

// call is what etcd knows of a call.
type call struct {
	carried int    // messages that it has carried out
	answer  []byte // that is on its way
	failed  *etcdtest.Failure
	watch   etcdtest.Watch
	muted   bool // see [Etcd.Mute]
}

// New returns an etcd without keys.
func New(t testing.TB) *Etcd {
	return &Etcd{Store: etcdtest.New(), t: t, until: map[int64]time.Duration{}}
}

// Start starts an Envoy that reaches etcd. The end of the test ends it.
func (e *Etcd) Start(m *host.Module, config host.Config) *Envoy {
	e.t.Helper()
	config.Clusters = map[string]http.Handler{Cluster: nil}
	config.Seed = uint64(len(e.Envoys) + 1) // two Envoys draw different random numbers
	w, err := host.NewWorld(m, config)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			e.t.Error(err)
		}
		if e.t.Failed() {
			e.t.Logf("the filter's log:\n%v", w.Logs())
		}
	})
	v := &Envoy{World: w, calls: map[*host.GRPCCall]*call{}}
	e.Envoys = append(e.Envoys, v)
	return v
}

// Kind is what happens in a [Step].
type Kind int

const (
	Carry  Kind = iota + 1 // etcd carries out a request
	Answer                 // its answer arrives
	Tell                   // a watch tells of the changes of one revision
)

// Step is something that can happen next between an Envoy and etcd.
type Step struct {
	Kind
	Envoy   *Envoy
	Call    *host.GRPCCall
	Request etcd.Request // nil: Tell
}

func (s Step) String() string {
	return fmt.Sprintf("%s worker %d %T", [...]string{"", "carry out", "answer", "tell"}[s.Kind], s.Call.Worker, s.Request)
}

// Steps returns what can happen next, for each Envoy the oldest calls first. Nothing happens for
// those that do not reach etcd.
func (e *Etcd) Steps() (all []Step) {
	for _, v := range e.Envoys {
		if v.Reach == Answered && !v.Stopped {
			all = append(all, e.steps(v)...)
		}
	}
	return all
}

func (e *Etcd) steps(v *Envoy) (all []Step) {
	for _, c := range v.GRPCCalls() {
		k := v.call(c)
		m, sent := e.method(c), c.Received()
		switch {
		case k.muted:
		case k.carried < len(sent):
			all = append(all, Step{Carry, v, c, e.request(m, sent[k.carried])})
		case !m.Streams():
			all = append(all, Step{Answer, v, c, e.request(m, sent[0])})
		case m == etcd.WatchWatch && len(k.watch.Next(e.Store)) > 0:
			all = append(all, Step{Kind: Tell, Envoy: v, Call: c})
		}
	}
	return all
}

// Waiting returns the step in which etcd carries out the only request of an Envoy that waits for
// it: see [Etcd.Late].
func (e *Etcd) Waiting(v *Envoy) Step {
	e.t.Helper()
	steps := e.Late(v)
	if len(steps) != 1 {
		e.t.Fatalf("%d requests wait for etcd, want 1", len(steps))
	}
	return steps[0]
}

// Late returns the steps in which etcd carries out what an Envoy waits for. The test may let them
// happen when nobody waits any more. See also [Etcd.Pending].
func (e *Etcd) Late(v *Envoy) (all []Step) {
	for _, c := range v.GRPCCalls() {
		if s := (Step{Carry, v, c, nil}); !c.Streaming && e.Pending(s) {
			s.Request = e.request(e.method(c), c.Received()[0])
			all = append(all, s)
		}
	}
	return all
}

// Pending reports whether etcd has not carried out the request of a step of [Etcd.Late].
func (e *Etcd) Pending(s Step) bool { return s.Envoy.call(s.Call).carried == 0 }

// Watches returns the watches of an Envoy.
func (e *Etcd) Watches(v *Envoy) (all []*host.GRPCCall) {
	for _, c := range v.GRPCCalls() {
		if e.method(c) == etcd.WatchWatch {
			all = append(all, c)
		}
	}
	return all
}

// Mute makes etcd say nothing more on a stream, without its end.
func (e *Etcd) Mute(v *Envoy, c *host.GRPCCall) { v.call(c).muted = true }

// Restore puts a backup in place of what etcd has. All streams end.
func (e *Etcd) Restore(backup *etcdtest.Store) {
	e.Store = backup
	for _, l := range e.Leases {
		e.prolong(l.ID)
	}
	for _, v := range e.Envoys {
		for _, c := range v.GRPCCalls() {
			c.Reset(host.ConnectionTermination)
		}
	}
}

func (e *Etcd) request(m etcd.Method, message []byte) etcd.Request {
	r, err := etcdtest.ParseRequest(m, message)
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

func (v *Envoy) call(c *host.GRPCCall) *call {
	if v.calls[c] == nil {
		v.calls[c] = &call{}
	}
	return v.calls[c]
}

func (e *Etcd) method(c *host.GRPCCall) etcd.Method {
	m, found := etcdtest.MethodOf(c.Service, c.Method)
	if !found {
		e.t.Fatalf("a call of %s/%s, want a method of etcd", c.Service, c.Method)
	}
	// Without this metadata etcd keeps a stream open, and says nothing on it, when it has lost
	// its quorum.
	if leader, _ := c.Headers.Get("hasleader"); m.Streams() && leader != "true" {
		e.t.Errorf("hasleader is %q in the metadata of %s, want true", leader, m)
	}
	return m
}

// Do lets a step happen. A request may also be carried out after its caller has given up.
func (e *Etcd) Do(s Step) {
	k := s.Envoy.call(s.Call)
	switch {
	case s.Kind == Tell:
		s.Call.Send(k.watch.Tell(e.Store))
	case s.Kind == Carry:
		k.carried++
		e.carry(s, k)
	case s.Call.Done():
	case k.failed != nil:
		s.Call.Close(uint32(k.failed.Status), k.failed.Message, nil)
	default:
		s.Call.Respond(k.answer)
	}
}

func (e *Etcd) carry(s Step, k *call) {
	if r, ok := s.Request.(etcd.WatchRequest); ok {
		k.watch = e.Watch(r)
		s.Call.Send(e.WatchCreated())
		return
	}
	k.answer, k.failed = e.Store.Do(s.Request)
	switch r := s.Request.(type) {
	case etcd.LeaseGrantRequest:
		e.prolong(e.Granted)
	case etcd.LeaseKeepAliveRequest:
		e.prolong(r.ID)
		s.Call.Send(k.answer)
	}
}

// prolong gives a lease its whole time again.
func (e *Etcd) prolong(lease int64) {
	for _, l := range e.Leases {
		if l.ID == lease {
			e.until[lease] = e.now + time.Duration(l.TTL)*time.Second
		}
	}
}

// Run lets all happen until nothing is left to do.
func (e *Etcd) Run() {
	e.t.Helper()
	for range 10_000 {
		quiet := true
		for _, v := range e.Envoys {
			quiet = !e.run(v) && quiet
		}
		if quiet {
			return
		}
	}
	e.t.Fatal("the Envoys and etcd do not come to rest")
}

// run does what is to be done for an Envoy now, and reports whether there was anything.
func (e *Etcd) run(v *Envoy) (did bool) {
	if v.Stopped {
		return false
	}
	did = v.World.Run() > 0
	switch v.Reach {
	case Answered:
		for _, s := range e.steps(v) {
			if !s.Call.Done() { // an earlier step may have ended it
				e.Do(s)
				did = true
			}
		}
	case Failing:
		for _, c := range v.GRPCCalls() {
			c.Reset(host.ConnectionFailure)
			did = true
		}
	case Nonsense:
		for _, c := range v.GRPCCalls() {
			c.Respond([]byte("nonsense"))
			did = true
		}
	}
	return did
}

// Advance lets time pass, and all happen that happens meanwhile: timers, time-outs, and ends of
// leases.
func (e *Etcd) Advance(d time.Duration) {
	e.t.Helper()
	e.Run()
	for d > 0 {
		step := min(d, 100*time.Millisecond)
		d -= step
		e.now += step
		for _, v := range e.Envoys {
			if v.Stopped {
				v.SkipTime(step)
			} else {
				v.World.Advance(step)
			}
		}
		for _, l := range slices.Clone(e.Leases) {
			if e.now > e.until[l.ID] {
				e.Expire(l.ID)
			}
		}
		e.Run()
	}
}
