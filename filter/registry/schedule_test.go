package registry

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// script is what one worker does, one operation after another:
//
//	open C    a stream of client C arrives and is claimed; C/A: of the client's instance A
//	peek C    a stream of client C arrives, and the worker looks whether it would be refused
//	claim N   the N-th stream of this worker, which has peeked, is claimed
//	close N   the client of the N-th stream that this worker opened (from 0) hangs up
//	wake      the wake-ups that are due are delivered
//	tick      the worker ticks
//	sweep W   the worker looks for the dead, and worker W has missed its heartbeats
//	dismiss C an operator ends all streams of client C through this worker
type script []string

// scenario is a world and what its workers do at the same time. A worker can be interrupted before
// every call to the store or to a queue.
type scenario struct {
	name        string
	limit       int      // max_streams; 0: 1
	reject      bool     // on_duplicate is reject_new
	takeovers   int      // takeover_limit's max_tokens, one more every 10 s; 0: off
	total       int      // max_total_streams; 0: off
	before      []script // what each worker has done before, one worker after the other
	scripts     []script
	crashes     int // how many workers may crash, at any call
	preemptions int // how many pre-emptions are explored; 0: 3
	losses      int // how often a worker's wake-ups may be lost, or its messages with them
}

// choice is something that may happen next.
type choice struct {
	what     string
	do       func()
	preempts bool // it interrupts a worker that has not finished its script
}

// chooser returns the index of the choice that happens. The first choice lets the worker go on that
// ran last.
type chooser func([]choice) int

// execute runs the scenario with the choices of choose. It returns what happened, and what is wrong
// in the end.
func (sc scenario) execute(choose chooser) (trace []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	w := newWorld().small(0)
	w.limits = policy.Limits{MaxStreams: max(1, sc.limit), RejectNew: sc.reject}
	if sc.takeovers > 0 {
		w.limits.TakeoverLimit = policy.TokenBucket{MaxTokens: sc.takeovers, TokensPerFill: 1, FillInterval: 10 * policy.Second}
	}
	w.total = sc.total
	var actors []*actor
	for range sc.scripts {
		actors = append(actors, &actor{thread: w.thread()})
	}
	for i, s := range sc.before {
		for _, op := range s {
			if err := actors[i].perform(op); err != nil {
				return nil, err
			}
		}
	}
	for i, a := range actors {
		a.start(sc.scripts[i])
		defer a.stop()
	}
	run := run{world: w, actors: actors, idle: true, crashes: sc.crashes, losses: sc.losses}
	for {
		choices := run.choices()
		if len(choices) == 0 {
			break
		}
		c := choices[choose(choices)]
		trace = append(trace, c.what)
		c.do()
	}
	for _, a := range actors {
		a.port.before = nil
		if a.err != nil {
			return trace, a.err
		}
	}
	if err := w.drain(); err != nil {
		return trace, err
	}
	return trace, w.checkRoom()
}

// checkRoom opens one more stream on each worker of a settled world: it must be let in exactly if
// there is room under max_total_streams.
func (w *world) checkRoom() error {
	if w.total == 0 {
		return nil
	}
	for n, t := range w.threads {
		if t.crashed {
			continue
		}
		before, err := w.registry()
		if err != nil {
			return err
		}
		s := t.open(fmt.Sprintf("guest-%d", n))
		if room := len(before) < w.total; s.err != nil || room != (s.fate == alive) {
			return fmt.Errorf("with %d streams of max_total_streams %d, one more on worker %d is %s, %v", len(before), w.total, n, s.fate, s.err)
		}
		if s.fate == alive {
			t.close(s)
		}
	}
	return w.broken
}

// drain is settle for code that has no test at hand.
func (w *world) drain() error {
	for range 2*missedTicks + 4 {
		w.now += 1000
		for _, t := range w.threads {
			if t.crashed {
				continue
			}
			if err := t.wake(); err != nil {
				return err
			}
			if _, err := t.tick(); err != nil {
				return err
			}
		}
	}
	return w.check()
}

// run is one execution of a scenario.
type run struct {
	world   *world
	actors  []*actor
	turn    int  // index of the worker that ran last
	idle    bool // no worker has run yet
	crashes int
	losses  int
}

// choices returns what may happen next. It returns none when all scripts are done.
func (r *run) choices() (choices []choice) {
	running := r.actors[r.turn].running() && !r.idle
	for i := range r.actors {
		n := (r.turn + i) % len(r.actors) // the worker that ran last comes first
		if a := r.actors[n]; a.running() {
			choices = append(choices, choice{
				what:     fmt.Sprintf("w%d %s", n, a.at),
				do:       func() { r.turn, r.idle = n, false; a.step() },
				preempts: running && n != r.turn,
			})
		}
	}
	if len(choices) == 0 {
		return nil
	}
	for n, a := range r.actors {
		if r.crashes > 0 && a.running() {
			choices = append(choices, choice{fmt.Sprintf("w%d crashes", n), func() { r.crashes--; a.crash(); a.stop() }, false})
		}
		if r.losses > 0 && len(r.world.envoy.wakeups[n]) > 0 {
			choices = append(choices,
				choice{fmt.Sprintf("w%d is not woken", n), func() { r.losses--; r.world.loseWakeups(a.thread) }, false},
				choice{fmt.Sprintf("w%d loses its messages", n), func() { r.losses--; r.world.loseMessages(a.thread) }, false})
		}
	}
	return choices
}

// actor is a worker whose script is a coroutine. It stops before every operation and every call.
type actor struct {
	*thread
	streams []*stream // its own, in the order in which it opened them
	at      string    // what it does next; "" if it is done
	next    func() (string, bool)
	stop    func()
	err     error
}

// unwound is the panic that ends a coroutine in the middle of a call, because its worker has
// crashed.
type unwound struct{}

func (a *actor) start(s script) {
	a.next, a.stop = iter.Pull(func(yield func(string) bool) {
		defer func() {
			if p := recover(); p != nil && p != any(unwound{}) {
				a.err = fmt.Errorf("panic: %v", p)
			}
		}()
		a.port.before = func(c call) error {
			if !yield(strings.ReplaceAll(c.String(), keyPrefix, "")) {
				panic(unwound{})
			}
			return nil
		}
		for _, op := range s {
			if !yield(op) {
				return
			}
			if a.err = a.perform(op); a.err != nil {
				return
			}
		}
	})
	a.step()
}

func (a *actor) running() bool { return !a.crashed && a.at != "" }

func (a *actor) step() { a.at, _ = a.next() }

// perform carries out one operation of a script. A worker may be swept while it joins. Then the
// operation does nothing, and the worker's next Join or tick tries again.
func (a *actor) perform(op string) error {
	err := a.try(op)
	if errors.Is(err, errSwept) {
		return nil
	}
	return err
}

func (a *actor) try(op string) error {
	word, arg, _ := strings.Cut(op, " ")
	n, _ := strconv.Atoi(arg)
	switch word {
	case "open":
		if err := a.Join(a.world.now); err != nil {
			return err
		}
		s := a.newStream(arg)
		a.streams = append(a.streams, s)
		return a.claim(s)
	case "peek":
		if err := a.Join(a.world.now); err != nil {
			return err
		}
		s := a.newStream(arg)
		a.streams = append(a.streams, s)
		_, err := a.Peek(a.world.now, &s.handle)
		return err
	case "claim":
		if n >= len(a.streams) {
			return nil // the worker was swept while it joined
		}
		return a.claim(a.streams[n])
	case "close":
		if n >= len(a.streams) || a.streams[n].fate != alive {
			return nil // it was ended before
		}
		a.close(a.streams[n])
		return a.streams[n].err
	case "dismiss":
		_, err := a.dismiss(arg)
		return err
	case "wake":
		return a.wake()
	case "tick":
		_, err := a.tick()
		return err
	case "sweep":
		if err := a.declareDead(a.world.threads[n]); err != nil {
			return err
		}
		_, err := a.tick()
		return err
	}
	return fmt.Errorf("no operation %q", op)
}
