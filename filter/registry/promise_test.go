package registry

import (
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// check holds a settled world to the promises of the registry.
func (w *world) check() error {
	if w.broken != nil {
		return w.broken
	}
	entries, err := w.registry()
	if err != nil {
		return err
	}
	if err := w.checkGauge(entries); err != nil {
		return err
	}
	if err := w.checkEntries(entries); err != nil {
		return err
	}
	if err := w.checkMemory(); err != nil {
		return err
	}
	if err := w.checkCounts(entries); err != nil {
		return err
	}
	return w.checkStreams()
}

// checkMemory: an entry holds or remembers each instance once, and never both.
func (w *world) checkMemory() error {
	for key, d := range w.envoy.data {
		b, err := ParseBucket(d.value)
		if !isBucketKey(key) || err != nil {
			continue
		}
		for _, e := range b.Entries {
			if len(e.Superseded) > policy.MaxSuperseded {
				return fmt.Errorf("%s remembers %d instances of %s", key, len(e.Superseded), e.ID.Short())
			}
			instances := e.Superseded
			for _, s := range e.Streams {
				if s.Instance != 0 {
					instances = append(instances, s.Instance)
				}
			}
			for i, instance := range instances {
				if instance == 0 || slices.Contains(instances[:i], instance) {
					return fmt.Errorf("%s: %s holds or remembers instance %x twice: %+v", key, e.ID.Short(), instance, e)
				}
			}
		}
	}
	return nil
}

// checkCounts: each worker's own count of its streams is right, and so is the count in its slot.
func (w *world) checkCounts(entries []registered) error {
	for n, t := range w.threads {
		if t.crashed || t.owner.Incarnation == 0 {
			continue
		}
		stored := 0
		for _, e := range entries {
			if e.Owner == t.owner {
				stored++
			}
		}
		record, err := ParseRecord(w.envoy.data[slotKey(t.owner.Slot)].value)
		if err != nil || record.Incarnation != t.owner.Incarnation {
			return fmt.Errorf("worker %d has the owner %+v, but its slot holds %+v, %v", n, t.owner, record, err)
		}
		if t.registered != stored || int(record.Live) != stored {
			return fmt.Errorf("worker %d has %d streams in the store; it counts %d, and its slot says %d", n, stored, t.registered, record.Live)
		}
	}
	return nil
}

// checkTotal: the store never holds more streams of workers that hold their slots than
// max_total_streams. A worker that was declared dead by mistake is not bound by it: it puts its
// streams back whatever the limit.
func (w *world) checkTotal() {
	if w.total == 0 || w.swept {
		return
	}
	n := 0
	for key, d := range w.envoy.data {
		b, err := ParseBucket(d.value)
		if !isBucketKey(key) || err != nil {
			continue
		}
		for _, e := range b.Entries {
			for _, s := range e.Streams {
				if record, err := ParseRecord(w.envoy.data[slotKey(s.Owner.Slot)].value); err == nil && record.Incarnation == s.Owner.Incarnation {
					n++
				}
			}
		}
	}
	if n > w.total {
		w.breaks("%d streams were in the store, want at most max_total_streams %d", n, w.total)
	}
}

// checkGauge: the changes that the meter was told add up to what the store holds.
func (w *world) checkGauge(entries []registered) error {
	stored := map[RuleID]int{}
	for _, e := range entries {
		stored[e.rule]++
	}
	for rule, n := range w.meter.active {
		if n != stored[rule] {
			return fmt.Errorf("gauge of rule %08x says %d, the store holds %d", uint32(rule), n, stored[rule])
		}
	}
	for rule, n := range stored {
		if n != w.meter.active[rule] {
			return fmt.Errorf("gauge of rule %08x says %d, the store holds %d", uint32(rule), w.meter.active[rule], n)
		}
	}
	return nil
}

// checkEntries: every live stream is in the store once, under the name that its worker knows, and
// every stream in the store lives. If no worker is left, streams may stay in the store.
func (w *world) checkEntries(entries []registered) error {
	anyLeft := false
	for _, t := range w.threads {
		anyLeft = anyLeft || !t.crashed && t.owner.Incarnation != 0
	}
	times := map[uint32]int{}
	for _, e := range entries {
		s := w.opened[e.Context-1]
		times[e.Context]++
		if anyLeft && (s.fate != alive || s.handle.as() != e.Stream || s.handle.Client != e.client) {
			return fmt.Errorf("the store holds %+v, but stream %d of %s is %s, and its worker knows it as %+v", e, e.Context, s.client, s.fate, s.handle.as())
		}
	}
	for _, s := range w.opened {
		if s.fate == alive && s.handle.Enforce && times[s.handle.Context] != 1 {
			return fmt.Errorf("live stream %d of %s is in the store %d times, want once", s.handle.Context, s.client, times[s.handle.Context])
		}
	}
	return nil
}

// checkStreams: no client has more live streams than its limit, and the registry has ended a stream
// only if enough newer claims, or one of its own instance, came after it.
func (w *world) checkStreams() error {
	live := map[ClientID]int{}
	for _, s := range w.opened {
		if s.fate != alive || !s.handle.Enforce {
			continue
		}
		live[s.handle.Client]++
		if n, limit := live[s.handle.Client], s.handle.Limits.MaxStreams; n > limit {
			return fmt.Errorf("%s has %d live streams, want at most %d", s.client, n, limit)
		}
	}
	for _, s := range w.mustEnd {
		if s.fate == alive {
			return fmt.Errorf("stream %d of %s was dismissed, and lives", s.handle.Context, s.client)
		}
	}
	for _, s := range w.opened {
		if err := w.checkRefusal(s); err != nil {
			return err
		}
		if s.fate == dismissed && !w.dismissedClients[s.handle.Client] {
			return fmt.Errorf("stream %d of %s was %s, but no operator dismissed that client", s.handle.Context, s.client, s.fate)
		}
		if s.fate != endedByMessage && s.fate != endedByCheck || s.fate == endedByCheck && w.dismissedClients[s.handle.Client] {
			continue
		}
		newer, limit, again := 0, s.handle.Limits.MaxStreams, false
		for _, other := range w.opened {
			if other.handle.Client == s.handle.Client && w.rank[other.handle.Context] > w.rank[s.handle.Context] {
				newer++
				limit = min(limit, other.handle.Limits.MaxStreams)
				again = again || s.handle.Instance != 0 && other.handle.Instance == s.handle.Instance
			}
		}
		if newer < limit && !again {
			return fmt.Errorf("stream %d of %s was %s, but only %d claims are newer, want at least max_streams %d", s.handle.Context, s.client, s.fate, newer, limit)
		}
	}
	return nil
}

// checkRefusal: a stream is refused only for a reason that its limits have, and leaves nothing
// behind.
func (w *world) checkRefusal(s *stream) error {
	if s.fate != refusedAtClaim && s.fate != refusedByTick {
		return nil
	}
	if w.rank[s.handle.Context] != 0 {
		return fmt.Errorf("stream %d of %s was %s, but it has been in the store", s.handle.Context, s.client, s.fate)
	}
	if slices.Contains(s.on.mine(), &s.handle) {
		return fmt.Errorf("stream %d of %s was %s, but its worker still has it", s.handle.Context, s.client, s.fate)
	}
	limits := s.handle.Limits
	may := limits.RejectNew || limits.TakeoverLimit.MaxTokens > 0 || s.handle.Instance != 0 || w.total > 0
	switch s.verdict.Refusal {
	case policy.Duplicate:
		may = limits.RejectNew
	case policy.Superseded:
		may = s.handle.Instance != 0
	case policy.TakeoverLimit:
		may = !limits.RejectNew && limits.TakeoverLimit.MaxTokens > 0
	case policy.Overloaded:
		may = w.total > 0
	}
	if !may {
		return fmt.Errorf("stream %d of %s was %s for %v, which its limits do not allow: %+v", s.handle.Context, s.client, s.fate, s.verdict.Refusal, limits)
	}
	return nil
}
