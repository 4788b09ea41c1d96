package model

import "fmt"

// A Rule is something that the registry does because the promise breaks without it.
type Rule int8

const (
	// CompareAndSwap: a bucket is written only if nobody has written it since it was read.
	CompareAndSwap Rule = iota + 1
	// ReleaseByName: a stream that ends removes its own name from the bucket, and no other.
	ReleaseByName
	// SelfCheck: on its tick a worker looks for its streams in the registry, and ends those that
	// are missing.
	SelfCheck
	// SweepTheDead: a worker that has stopped ticking loses its slot and its streams.
	SweepTheDead
	// FenceFirst: a sweep takes the slot first, and removes the streams after that.
	FenceFirst
	// SlotLast: the self-check looks at the worker's own slot after it has read the bucket.
	SlotLast
	// PutBack: a worker that has lost its slot takes another, and puts its live streams back.
	PutBack
	// KeepTheNumber: a stream that is put back keeps the number of its claim.
	KeepTheNumber
	// RemoveOrphans: a name whose slot is held by another incarnation, or by nobody, is removed at
	// any time, and not only in a sweep.
	RemoveOrphans
)

// Rules lists them all.
var Rules = [...]Rule{
	CompareAndSwap, ReleaseByName, SelfCheck, SweepTheDead, FenceFirst, SlotLast, PutBack, KeepTheNumber, RemoveOrphans,
}

func (r Rule) String() string {
	switch r {
	case CompareAndSwap:
		return "compare and swap"
	case ReleaseByName:
		return "release by name"
	case SelfCheck:
		return "self-check"
	case SweepTheDead:
		return "sweep the dead"
	case FenceFirst:
		return "fence first"
	case SlotLast:
		return "slot last"
	case PutBack:
		return "put back"
	case KeepTheNumber:
		return "keep the number"
	case RemoveOrphans:
		return "remove orphans"
	}
	return fmt.Sprintf("Rule(%d)", int8(r))
}

// The size of the world.
const (
	workers   = 2
	mostSlots = workers + MostCrashes // a slot that was swept is free again

	// Bounds of a [Config].
	MostAllowed = 3 // MaxStreams
	MostOpened  = 4 // Streams; stream k belongs to worker k % workers
	MostCrashes = 2
)

// A name is what a stream is registered under. The zero name is none.
type name struct{ stream, slot, incarnation, claim int8 }

// A bucket is what the workers share about the client.
type bucket struct {
	cas    int8 // number of writes
	claims int8 // number of the last claim
	n      int8
	names  [MostAllowed + 1]name // the first n, in the order of their claims
}

func (b bucket) has(want name) bool {
	for _, s := range b.names[:b.n] {
		if s == want {
			return true
		}
	}
	return false
}

// without returns the bucket without the names that match.
func (b bucket) without(match func(name) bool) bucket {
	rest := bucket{cas: b.cas, claims: b.claims}
	for _, s := range b.names[:b.n] {
		if !match(s) {
			rest.names[rest.n] = s
			rest.n++
		}
	}
	return rest
}

// insert puts a name where the number of its claim belongs.
func (b *bucket) insert(s name) {
	at := b.n
	for ; at > 0 && b.names[at-1].claim > s.claim; at-- {
		b.names[at] = b.names[at-1]
	}
	b.names[at] = s
	b.n++
}

// removeOldest removes the oldest name.
func (b *bucket) removeOldest() name {
	oldest := b.names[0]
	copy(b.names[:], b.names[1:])
	b.n--
	b.names[b.n] = name{}
	return oldest
}

// condition is what has become of a stream.
type condition int8

const (
	unopened condition = iota
	live
	ended // by the filter
	hung  // its client hung up
	cut   // its worker crashed: nobody is left to end it, and Envoy cuts it
)

// callback is what a worker is in the middle of.
type callback int8

const (
	nothing callback = iota
	claiming
	releasing
	ticking
	sweeping
	cleaning // the end of a tick or a sweep: orphans are removed
)

// A call is one callback of a worker and how far it has come. Between two steps any other worker
// may run.
type call struct {
	callback
	step        int8
	stream      int8
	returns     bool   // the claim puts a live stream back
	victim      int8   // slot of the worker that is declared dead
	incarnation int8   // as read from a slot
	read        bucket // as read
	peeked      bool   // it was read at a peek
	yields      name   // the stream that a claim has superseded
}

// A worker is one worker thread.
type worker struct {
	joined            bool
	slot, incarnation int8
	call              call
	peek              bucket // what was read at the last peek; not used yet, if peeked
	peeked            bool
}

// A queue holds the messages to the owner of a slot. Each names a stream to end.
type queue struct {
	n        int8
	messages [4]name
}

func (q *queue) add(s name) {
	if int(q.n) < len(q.messages) {
		q.messages[q.n] = s
		q.n++
	}
}

func (q *queue) take() name {
	first := q.messages[0]
	copy(q.messages[:], q.messages[1:])
	q.n--
	q.messages[q.n] = name{}
	return first
}

// A state is all that there is at one moment. It is comparable: two equal states have the same
// future.
type state struct {
	bucket       bucket
	slots        [mostSlots]int8 // the incarnation that holds the slot; 0: free
	incarnations int8            // given so far
	queues       [mostSlots]queue
	workers      [workers]worker

	streams [MostOpened]condition
	names   [MostOpened]name // what each stream's worker has registered it under
	first   [MostOpened]int8 // the number of each stream's first claim

	faults faults // that may still happen
}

// faults counts them, by kind.
type faults struct{ crashes, sweeps, losses, hangups, peeks int8 }

// write puts a bucket in the place of the one that was read, if nobody else has done so since.
func (s *state) write(next, read bucket, without Rule) bool {
	if s.bucket.cas != read.cas && without != CompareAndSwap {
		return false
	}
	next.cas = s.bucket.cas + 1
	s.bucket = next
	return true
}

// look reads the bucket, or takes what the worker has read at a peek.
func (s *state) look(w int) {
	me := &s.workers[w]
	me.call.read, me.call.peeked = s.bucket, me.peeked
	if me.peeked {
		me.call.read, me.peek, me.peeked = me.peek, bucket{}, false
	}
}

// join gives the worker a free slot and a new incarnation.
func (s *state) join(w int) {
	for slot := range s.slots {
		if s.slots[slot] != 0 {
			continue
		}
		s.incarnations++
		s.slots[slot] = s.incarnations
		s.queues[slot] = queue{} // what was meant for an earlier owner is discarded
		me := &s.workers[w]
		me.joined, me.slot, me.incarnation = true, int8(slot), s.incarnations
		return
	}
	panic("model: no slot is free")
}

// holds reports whether the slot is the worker's own.
func (s *state) holds(w int) bool { return s.slots[s.workers[w].slot] == s.workers[w].incarnation }

// run takes the worker's call one step further: to its next look at what is shared, or to its end.
func (s *state) run(w int, c *Config) {
	me := &s.workers[w]
	more := false
	switch me.call.callback {
	case claiming:
		more = s.claim(w, c)
	case releasing:
		more = s.release(w, c)
	case ticking:
		more = s.tick(w, c)
	case sweeping:
		more = s.sweep(w, c)
	case cleaning:
		more = s.clean(w, c)
	}
	if !more {
		me.call = call{}
	}
}

// claim registers a stream as the client's newest, or puts one back that was registered before.
func (s *state) claim(w int, c *Config) (more bool) {
	me := &s.workers[w]
	o := &me.call
	switch o.step {
	case 0: // read the bucket
		if !me.joined {
			s.join(w)
		}
		s.look(w)
		o.step = 1
		return true
	case 1: // decide, and write it
		mine := name{stream: o.stream, slot: me.slot, incarnation: me.incarnation, claim: s.names[o.stream].claim}
		next := o.read.without(func(n name) bool { return n.stream == o.stream }) // its name from before
		if !o.returns || c.Without == KeepTheNumber {
			next.claims++
			mine.claim = next.claims
		}
		next.insert(mine)
		var yields name
		if int(next.n) > c.MaxStreams {
			yields = next.removeOldest()
		}
		if !s.write(next, o.read, c.Without) {
			o.read, o.step = bucket{}, 0
			return true
		}
		if yields == mine { // the newer ones stay
			s.streams[o.stream] = ended
			return false
		}
		s.streams[o.stream], s.names[o.stream] = live, mine
		if !o.returns {
			s.first[o.stream] = mine.claim
		}
		o.read, o.peeked, o.yields, o.step = bucket{}, false, yields, 2
		return yields != name{}
	case 2: // look the owner of the superseded stream up
		o.incarnation, o.step = s.slots[o.yields.slot], 3
		return o.incarnation == o.yields.incarnation
	default: // tell it
		s.queues[o.yields.slot].add(o.yields)
		return false
	}
}

// release removes a stream from the registry whose client has hung up.
func (s *state) release(w int, c *Config) (more bool) {
	o := &s.workers[w].call
	if o.step == 0 {
		s.look(w)
		o.step = 1
		return true
	}
	mine := s.names[o.stream]
	next := o.read.without(func(n name) bool { return n == mine || c.Without == ReleaseByName })
	changed := next.n < o.read.n
	if changed && !s.write(next, o.read, c.Without) || !changed && o.peeked {
		o.read, o.step = bucket{}, 0
		return true
	}
	return false
}

// tick is a worker's housekeeping.
func (s *state) tick(w int, c *Config) (more bool) {
	me := &s.workers[w]
	o := &me.call
	switch o.step {
	case 0: // look at the own slot
		me.peek, me.peeked = bucket{}, false
		if !s.holds(w) {
			s.join(w)
		}
		o.step = 1
		return true
	case 1: // put streams back that are registered under an earlier incarnation, one a tick
		if k, ok := s.find(w, func(n name) bool { return n.incarnation != me.incarnation }); ok && c.Without != PutBack {
			*o = call{callback: claiming, stream: int8(k), returns: true}
			return true
		}
		if c.Without == SelfCheck {
			*o = call{callback: cleaning}
			return c.Without != RemoveOrphans
		}
		o.read, o.step = s.bucket, 2
		return true
	default: // end streams that are missing, if the slot is still the worker's own
		if !s.holds(w) && c.Without != SlotLast {
			return false
		}
		missing := func(n name) bool { return n.incarnation == me.incarnation && !o.read.has(n) }
		for k, ok := s.find(w, missing); ok; k, ok = s.find(w, missing) {
			s.streams[k] = ended
		}
		*o = call{callback: cleaning}
		return c.Without != RemoveOrphans
	}
}

// find returns a live stream of the worker whose name matches.
func (s *state) find(w int, match func(name) bool) (k int, ok bool) {
	for k := w; k < MostOpened; k += workers {
		if s.streams[k] == live && match(s.names[k]) {
			return k, true
		}
	}
	return 0, false
}

// sweep declares the owner of a slot dead, which need not be true.
func (s *state) sweep(w int, c *Config) (more bool) {
	o := &s.workers[w].call
	switch o.step {
	case 0: // look at the slot
		o.incarnation, o.step = s.slots[o.victim], 1
		return o.incarnation != 0
	case 1:
		if c.Without == FenceFirst {
			o.read, o.step = s.bucket, 2
			return true
		}
		s.free(o.victim, o.incarnation)
		*o = call{callback: cleaning}
		return true
	case 2: // without fence first: remove the streams
		next := o.read.without(func(n name) bool { return n.slot == o.victim && n.incarnation == o.incarnation })
		if next.n < o.read.n && !s.write(next, o.read, c.Without) {
			o.read, o.step = bucket{}, 1
			return true
		}
		o.read, o.step = bucket{}, 3
		return true
	default: // and then take the slot
		s.free(o.victim, o.incarnation)
		return false
	}
}

// free takes a slot from an incarnation, if that still holds it.
func (s *state) free(slot, incarnation int8) {
	if s.slots[slot] == incarnation {
		s.slots[slot] = 0
	}
}

// clean removes the names whose slot is not held by their incarnation. It looks at the slots in the
// same step as it writes: an incarnation that does not hold its slot never will again.
func (s *state) clean(w int, c *Config) (more bool) {
	o := &s.workers[w].call
	if o.step == 0 {
		o.read, o.step = s.bucket, 1
		return true
	}
	next := o.read.without(func(n name) bool { return s.slots[n.slot] != n.incarnation })
	if next.n < o.read.n && !s.write(next, o.read, c.Without) {
		o.read, o.step = bucket{}, 0
		return true
	}
	return false
}

// wake has the worker read one message, and reports whether there was one.
func (s *state) wake(w int) bool {
	me := s.workers[w]
	if !me.joined || !s.holds(w) || s.queues[me.slot].n == 0 {
		return false
	}
	m := s.queues[me.slot].take()
	if s.streams[m.stream] == live && s.names[m.stream] == m {
		s.streams[m.stream] = ended
	}
	return true
}

// crash ends the worker's VM. The next one knows nothing of its streams.
func (s *state) crash(w int) {
	for k := w; k < MostOpened; k += workers {
		if s.streams[k] == live {
			s.streams[k] = cut
		}
	}
	s.workers[w] = worker{}
}
