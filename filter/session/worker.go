// Package session is what happens to a stream from its request to its end, and what a worker does
// on its tick.
//
// It is the middle of the filter. Package plugin hands it Envoy's callbacks; the packages match
// (which rule), identity (which client), policy and registry (who comes in, who yields) decide;
// reply and admin know the words of an answer. The code here reads, asks, acts and counts. It calls
// Envoy only through [Host] and holds no clock, no random source and no global state, so a plain Go
// test can run it against a map.
//
// A [Worker] is one configuration in one VM, a plugin context in the words of proxy-wasm. A
// [Stream] is one request that a rule wants tracked; its phase says how far it has come (phase.go).
//
// Envoy starts a plugin more often than it has worker threads: twice on its main thread, and again
// for every configuration. Only a worker thread ever sees a request, and nothing else tells them
// apart. So a Worker takes its slot in the registry, its queue and its timer at the first request
// that needs them.
package session

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/deadline"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// tickPeriodMs is how often a worker does its housekeeping. Other workers treat it as dead when
// it has missed three of their own ticks.
const tickPeriodMs = 1000

// Worker is one configuration in one VM. It is not safe for use from several goroutines.
type Worker struct {
	host    Host
	version string // in the log and the status

	config  *config.Config
	matches *match.Set
	rules   []rule
	ids     map[registry.RuleID]*rule  // known once the worker has joined
	others  map[registry.RuleID]Metric // gauges of rules that only other configurations have
	shown   map[string]*shownRule      // rules that the status has shown
	owed    map[registry.RuleID]int    // changes of gauges of rules whose names could not be read
	events  map[registry.Event]Metric

	registry *registry.Worker
	fleet    *fleetSide // nil: there is no fleet
	ticking  bool
	joined   bool
	due      deadline.Queue[*Stream]
	brake    brake
	watchful int    // ticks that ask for all streams, as one was forgotten
	toAsk    uint32 // buckets whose streams the running tick has still to ask for
	leaving  int    // streams in the phases leaving and parted
	acted    int    // resets and resumptions asked for in the running callback
	key      []byte // scratch for a client's raw key; cleared after use
	reading  reading
	matched  bool // the last request had a rule: probably the filter is on for event streams only

	debug           bool    // the host writes debug lines, as of the last look
	warned, refused limiter // of lines in the log
	asked           limiter // of questions how a stream has ended
}

// rule is a configured rule with what is derived from it.
type rule struct {
	config.Rule
	worker  *Worker
	id      registry.RuleID
	limits  *policy.Limits
	metrics ruleMetrics
	matched int       // requests that the metric does not count yet
	missed  []limiter // of lines in the log: no_key, by the missing source
	cut     limiter   // and cut
}

// New returns a worker that is to be configured first. version is told in the log and the status.
func New(host Host, version string) *Worker {
	w := &Worker{
		host: host, version: version,
		others: map[registry.RuleID]Metric{}, owed: map[registry.RuleID]int{}, shown: map[string]*shownRule{},
	}
	w.registry = registry.NewWorker(host, host, w, host.Random)
	return w
}

// Configure reads the configuration. It logs what is wrong and reports false if the configuration
// is faulty; Envoy then keeps the one that it had.
func (w *Worker) Configure(data []byte) bool {
	w.debug = w.host.LogLevel() <= Debug
	c, err := config.Parse(data)
	if err != nil {
		w.host.Log(Error, "configuration refused: "+err.Error())
		return false
	}
	conditions := make([]match.Conditions, len(c.Rules))
	w.rules = make([]rule, len(c.Rules))
	for i, r := range c.Rules {
		conditions[i] = r.Match
		w.rules[i] = rule{
			Rule:    r,
			worker:  w,
			metrics: w.defineRuleMetrics(r.Name, len(r.Client)),
			missed:  make([]limiter, len(r.Client)),
			limits: &policy.Limits{
				MaxStreams:    r.MaxStreams,
				RejectNew:     r.OnDuplicate == config.RejectNew,
				TakeoverLimit: r.TakeoverLimit,
			},
		}
	}
	if w.matches, err = match.New(conditions); err != nil {
		w.host.Log(Error, "configuration refused: "+err.Error())
		return false
	}
	w.config = c
	w.registry.LimitTotal(c.MaxTotalStreams)
	w.fleet = newFleetSide(w)
	w.showLimit()
	w.defineEventMetrics()
	w.publish()
	w.announce(fmt.Sprintf("started version=%s config=%s", w.version, c))
	return true
}

// join makes this a worker of the registry, unless it is one already. It is called in the callback
// of a request; queue and timer belong to the plugin context all the same. It ticks even if it does
// not get a slot: see [registry.Worker.Tick].
func (w *Worker) join(now int64) error {
	if err := w.startTicks(); err != nil {
		return err
	}
	if err := w.registry.Join(now); err != nil {
		return err
	}
	if w.joined {
		return nil
	}
	w.ids = make(map[registry.RuleID]*rule, len(w.rules))
	for i := range w.rules {
		r := &w.rules[i]
		id, err := w.registry.NameRule(r.Name)
		if err != nil {
			return err
		}
		r.id = id
		w.ids[id] = r
	}
	w.joined = true
	if w.debug {
		owner := w.registry.Owner()
		w.host.Log(Debug, fmt.Sprintf("joined slot=%d incarnation=%x", owner.Slot, owner.Incarnation))
	}
	return nil
}

func (w *Worker) startTicks() error {
	if w.ticking {
		return nil
	}
	if err := w.host.StartTicks(tickPeriodMs); err != nil {
		return err
	}
	w.ticking = true
	return nil
}

// Wake is called when a message is in the worker's queue: of another worker, or a reminder of its
// own.
func (w *Worker) Wake(queue uint32) {
	now := w.host.Now()
	w.acted = 0
	done, err := w.registry.Wake(now, queue)
	w.carryOut(done, now)
	w.fleet.carryOut(now)
	w.runTimers(now)
	w.endForgotten(now)
	w.warn(err)
}

// carryOut does what the registry has found to do.
func (w *Worker) carryOut(done registry.Done, now int64) {
	for _, late := range done.Claimed {
		s := late.Of.(*Stream)
		if late.Refusal != 0 {
			w.countRefusal(s, late.Refusal, 0)
			s.refusal = late.Refusal
		}
		w.countTakeovers(s, late.Superseded, now)
	}
	for _, s := range done.Released {
		s.Of.(*Stream).released()
	}
	for _, s := range done.End {
		s.Of.(*Stream).recalled(now)
	}
	if done.Deaths > 0 && w.debug { // also a plugin context that was drained after an update
		w.host.Log(Debug, fmt.Sprintf("dead workers=%d", done.Deaths))
	}
	if done.Swept > 0 {
		w.host.Log(Info, fmt.Sprintf("swept streams=%d", done.Swept))
	}
}

// timersPerCall bounds the timers that one callback looks at. Most belong to busy streams and are
// only set again; a callback of so many takes about 10 ms.
const timersPerCall = 8192

// runTimers does what the timers that are due are for, until the callback has done enough. Then it
// reminds itself and goes on in another callback, within milliseconds.
func (w *Worker) runTimers(now int64) {
	for range timersPerCall {
		if w.acted >= registry.EndsPerCall {
			break
		}
		timer, due := w.due.Next()
		if !due {
			return
		}
		timer.Value.timeUp(now)
	}
	if w.due.Due() {
		w.warn(w.registry.Remind(now)) // if it is lost, the next tick goes on
	}
}

// Streams returns how many streams the worker has.
func (w *Worker) Streams() int { return w.registry.Streams() }

// Tick does the worker's housekeeping.
func (w *Worker) Tick() {
	now := w.host.Now()
	w.acted = 0
	w.debug = w.host.LogLevel() <= Debug
	done, err := w.registry.Tick(now)
	w.payOwed()
	w.carryOut(done, now)
	w.fleet.tick(now)
	w.due.Advance(now)
	w.runTimers(now)
	w.watchful = max(0, w.watchful-1)
	w.toAsk = (w.registry.Table().Buckets() + forgottenWithin - 1) / forgottenWithin
	w.endForgotten(now)
	for i := range w.rules {
		w.rules[i].countMatched(w)
	}
	w.warn(err)
}

const (
	// forgottenWithin is in how many ticks a stream is ended that Envoy has forgotten.
	forgottenWithin = 3
	// asksPerCall is how many streams one callback asks for. Each costs a microsecond, and the
	// end of one that was forgotten some more.
	asksPerCall = 1024
	// watchfulTicks is in how many ticks after the last one that was forgotten a worker asks for
	// all streams. In others a tick asks in one callback only: most Envoys speak no HTTP/3. With
	// many streams it takes longer then to find the first one.
	watchfulTicks = 600
)

// endForgotten ends the streams that Envoy has forgotten. The SDK tells of a stream's end in
// on_log, which Envoy does not call over HTTP/3 for a stream that ends in good order
// (host/ENVOY.md). So nobody tells of the end of such a stream.
func (w *Worker) endForgotten(now int64) {
	w.toAsk = w.registry.Share(w.toAsk, asksPerCall, func(s *registry.Stream) {
		if !w.host.Enter(s.Context) {
			s.Of.(*Stream).over()
			w.watchful = watchfulTicks
		}
	})
	if w.watchful == 0 {
		w.toAsk = 0
	}
	if w.toAsk > 0 {
		w.warn(w.registry.Remind(now)) // if it is lost, the next tick goes on
	}
}

// Active implements [registry.Meter]. The gauge follows the registry and not this worker's streams,
// so that it stays true when a worker dies and others remove its streams. They may be of a rule
// that only an earlier configuration, or another listener's, has.
func (w *Worker) Active(id registry.RuleID, delta int) {
	if r := w.ids[id]; r != nil {
		w.add(r.metrics.active, delta)
		return
	}
	if gauge, known := w.others[id]; known {
		w.add(gauge, delta)
		return
	}
	_, tried := w.owed[id]
	if w.owed[id] += delta; !tried {
		w.payOwed()
	}
}

// payOwed changes the gauges of rules whose name was not known. The value with the names may have
// been unreadable or damaged; then the next tick tries again.
func (w *Worker) payOwed() {
	if len(w.owed) == 0 {
		return
	}
	rules, err := w.registry.Rules()
	w.warn(err)
	for id, delta := range w.owed {
		if rules[id] != "" {
			w.add(w.otherActive(id, rules[id]), delta)
			delete(w.owed, id)
		}
	}
}

// Count implements [registry.Meter].
func (w *Worker) Count(event registry.Event, n int) { w.add(w.events[event], n) }
