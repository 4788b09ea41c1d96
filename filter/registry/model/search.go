package model

import (
	"fmt"
	"slices"
)

// Config is the size of a search.
type Config struct {
	MaxStreams int // that the client may have, up to [MostAllowed]
	Streams    int // that are opened, up to [MostOpened]

	// How many of each may happen.
	Crashes int // of a worker, up to [MostCrashes]
	Sweeps  int // of a worker that another declares dead, truly or not
	Losses  int // of a message
	Hangups int // of a client
	Peeks   int // at the bucket, which a later claim or release of the worker may begin with

	Without   Rule // that is left out; 0: none
	MaxStates int  // states after which the search stops; 0: it does not
}

// A Result is what a search found.
type Result struct {
	States    int        // that were reached
	Exhausted bool       // they are all there are
	Violation *Violation // nil: there is none
}

// A Violation is a way to break the promise.
type Violation struct {
	Broken string   // the part of the promise
	Path   []string // what happened, before all faults stopped and all calls came to their end
}

// An event takes one state to the next.
type event struct {
	what   occurrence
	worker int8
	number int8     // of a stream or a slot
	call   callback // for step
	step   int8     // for step
}

type occurrence int8

const (
	step occurrence = iota + 1
	open
	hangUp
	peek
	wakeUp
	startTick
	startSweep
	crash
	loss
)

func (e event) String() string {
	switch e.what {
	case step:
		return fmt.Sprintf("worker %d goes on: %s, step %d", e.worker, e.call, e.step)
	case open:
		return fmt.Sprintf("worker %d opens stream %d", e.worker, e.number)
	case hangUp:
		return fmt.Sprintf("worker %d: the client of stream %d hangs up", e.worker, e.number)
	case peek:
		return fmt.Sprintf("worker %d peeks", e.worker)
	case wakeUp:
		return fmt.Sprintf("worker %d wakes up", e.worker)
	case startTick:
		return fmt.Sprintf("worker %d begins to tick", e.worker)
	case startSweep:
		return fmt.Sprintf("worker %d declares the owner of slot %d dead", e.worker, e.number)
	case crash:
		return fmt.Sprintf("worker %d crashes", e.worker)
	}
	return fmt.Sprintf("a message to slot %d is lost", e.number)
}

func (c callback) String() string {
	return [...]string{"nothing", "claim", "release", "tick", "sweep", "clean"}[c]
}

// Search reaches all states that c allows, nearest first, and stops at the first violation. It
// panics if c is beyond its bounds.
func Search(c Config) Result {
	if c.MaxStreams < 1 || c.MaxStreams > MostAllowed || c.Streams > MostOpened || c.Crashes > MostCrashes {
		panic(fmt.Sprintf("model: %+v is beyond the bounds", c))
	}
	type origin struct {
		before int32 // index of the state before
		event
	}
	start := state{faults: faults{int8(c.Crashes), int8(c.Sweeps), int8(c.Losses), int8(c.Hangups), int8(c.Peeks)}}
	seen := map[state]struct{}{start: {}}
	origins := []origin{{before: -1}}
	first, frontier := int32(0), []state{start} // first is the index of frontier[0]
	for len(frontier) > 0 {
		var next []state
		for i, s := range frontier {
			at := first + int32(i)
			if broken := settle(s, &c); broken != "" {
				var path []string
				for ; at > 0; at = origins[at].before {
					path = append(path, origins[at].String())
				}
				slices.Reverse(path)
				return Result{States: len(seen), Violation: &Violation{broken, path}}
			}
			if c.MaxStates > 0 && len(seen) > c.MaxStates {
				return Result{States: len(seen)}
			}
			each(s, &c, func(t state, e event) {
				if _, known := seen[t]; !known {
					seen[t] = struct{}{}
					origins = append(origins, origin{at, e})
					next = append(next, t)
				}
			})
		}
		first += int32(len(frontier))
		frontier = next
	}
	return Result{States: len(seen), Exhausted: true}
}

// each calls yield with every state that may follow.
func each(s state, c *Config, yield func(state, event)) {
	for w := range workers {
		if now := s.workers[w].call; now.callback != nothing {
			t := s
			t.run(w, c)
			yield(t, event{step, int8(w), 0, now.callback, now.step})
		} else {
			begin(s, w, c, yield)
		}
		if s.faults.crashes > 0 && s.workers[w].joined {
			t := s
			t.faults.crashes--
			t.crash(w)
			yield(t, event{what: crash, worker: int8(w)})
		}
	}
	for slot := range s.queues {
		if s.faults.losses > 0 && s.queues[slot].n > 0 {
			t := s
			t.faults.losses--
			t.queues[slot].take()
			yield(t, event{what: loss, number: int8(slot)})
		}
	}
}

// begin calls yield with every state that follows when an idle worker begins something.
func begin(s state, w int, c *Config, yield func(state, event)) {
	for k := w; k < c.Streams; k += workers {
		t := s
		switch s.streams[k] {
		case unopened:
			t.workers[w].call = call{callback: claiming, stream: int8(k)}
			t.run(w, c)
			yield(t, event{what: open, worker: int8(w), number: int8(k)})
		case live:
			if s.faults.hangups == 0 {
				continue
			}
			t.faults.hangups--
			t.streams[k] = hung
			t.workers[w].call = call{callback: releasing, stream: int8(k)}
			yield(t, event{what: hangUp, worker: int8(w), number: int8(k)})
		}
	}
	t := s
	if t.wake(w) {
		yield(t, event{what: wakeUp, worker: int8(w)})
	}
	if !s.workers[w].joined {
		return
	}
	if s.faults.peeks > 0 {
		t = s
		t.faults.peeks--
		t.workers[w].peek, t.workers[w].peeked = s.bucket, true
		yield(t, event{what: peek, worker: int8(w)})
	}
	t = s
	t.workers[w].call = call{callback: ticking}
	yield(t, event{what: startTick, worker: int8(w)})
	for slot := range s.slots {
		if s.faults.sweeps > 0 && s.slots[slot] != 0 && slot != int(s.workers[w].slot) {
			t = s
			t.faults.sweeps--
			t.workers[w].call = call{callback: sweeping, victim: int8(slot)}
			yield(t, event{what: startSweep, worker: int8(w), number: int8(slot)})
		}
	}
}

// settle lets the workers finish, without any further fault, and returns what is broken then.
func settle(s state, c *Config) string {
	finish := func(w int) {
		for s.workers[w].call.callback != nothing {
			s.run(w, c)
		}
	}
	for range 6 { // a tick puts one stream back, and a worker has two
		for w := range workers {
			finish(w)
			for s.wake(w) {
			}
		}
		for w := range workers {
			if !s.workers[w].joined {
				continue
			}
			s.workers[w].call = call{callback: ticking}
			finish(w)
			for slot := range s.slots {
				if s.dead(slot) && c.Without != SweepTheDead {
					s.workers[w].call = call{callback: sweeping, victim: int8(slot)}
					finish(w)
				}
			}
		}
	}
	return s.broken(c)
}

// dead reports whether the slot is held by a worker that has crashed, or has another slot.
func (s *state) dead(slot int) bool {
	if s.slots[slot] == 0 {
		return false
	}
	for _, w := range s.workers {
		if w.joined && int(w.slot) == slot && w.incarnation == s.slots[slot] {
			return false
		}
	}
	return true
}

// broken returns which part of the promise does not hold, if any.
func (s *state) broken(c *Config) string {
	living, newest := 0, -1
	for k := range s.streams {
		if s.streams[k] == live {
			living++
			if !s.bucket.has(s.names[k]) {
				return fmt.Sprintf("stream %d is live and not in the registry", k)
			}
		}
		if s.first[k] > 0 && (newest < 0 || s.first[k] > s.first[newest]) {
			newest = k
		}
	}
	if living > c.MaxStreams {
		return fmt.Sprintf("%d streams are live, and the client may have %d", living, c.MaxStreams)
	}
	joined := false
	for _, w := range s.workers {
		joined = joined || w.joined
	}
	if !joined { // nobody is left to clean up; the first to join does
		return ""
	}
	for _, n := range s.bucket.names[:s.bucket.n] {
		if s.streams[n.stream] != live || s.names[n.stream] != n {
			return fmt.Sprintf("stream %d is in the registry and not live", n.stream)
		}
	}
	if newest >= 0 && s.streams[newest] == ended {
		return fmt.Sprintf("stream %d is the newest and was ended", newest)
	}
	return ""
}
