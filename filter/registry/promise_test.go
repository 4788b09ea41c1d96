package registry

import "fmt"

// check holds a settled world to what the registry promises.
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
	return w.checkStreams()
}

// checkGauge: what the meter was told adds up to what the store holds.
func (w *world) checkGauge(entries []registered) error {
	really := map[RuleID]int{}
	for _, e := range entries {
		really[e.rule]++
	}
	for rule, n := range w.meter.active {
		if n != really[rule] {
			return fmt.Errorf("gauge of rule %08x says %d, the store holds %d", uint32(rule), n, really[rule])
		}
	}
	for rule, n := range really {
		if n != w.meter.active[rule] {
			return fmt.Errorf("gauge of rule %08x says %d, the store holds %d", uint32(rule), w.meter.active[rule], n)
		}
	}
	return nil
}

// checkEntries: every live stream is in the store once, under the name that its worker knows it by, and every stream
// in the store lives. A store without any worker left keeps what it had.
func (w *world) checkEntries(entries []registered) error {
	tended := false
	for _, t := range w.threads {
		tended = tended || !t.crashed && t.owner.Incarnation != 0
	}
	times := map[uint32]int{}
	for _, e := range entries {
		s := w.opened[e.Context-1]
		times[e.Context]++
		if tended && (s.fate != alive || s.handle.as != e.Stream || s.handle.Client != e.client) {
			return fmt.Errorf("the store holds %+v; stream %d of %s is %s, registered as %+v", e, e.Context, s.client, s.fate, s.handle.as)
		}
	}
	for _, s := range w.opened {
		if s.fate == alive && s.handle.Enforce && times[s.handle.Context] != 1 {
			return fmt.Errorf("stream %d of %s lives and is %d times in the store", s.handle.Context, s.client, times[s.handle.Context])
		}
	}
	return nil
}

// checkStreams: no client has more live streams than its limit, and none was ended by the registry that did not have
// that many newer claims against it.
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
	for _, s := range w.opened {
		if s.fate != told && s.fate != foundBy {
			continue
		}
		newer, limit := 0, s.handle.Limits.MaxStreams
		for _, other := range w.opened {
			if other.handle.Client == s.handle.Client && w.rank[other.handle.Context] > w.rank[s.handle.Context] {
				newer++
				limit = min(limit, other.handle.Limits.MaxStreams)
			}
		}
		if newer < limit {
			return fmt.Errorf("stream %d of %s was %s, and only %d claims are newer; the limit is %d", s.handle.Context, s.client, s.fate, newer, limit)
		}
	}
	return nil
}
