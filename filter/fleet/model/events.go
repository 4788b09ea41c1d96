package model

import "fmt"

// next calls f with every state that can come after s, and what has happened.
func (m *machine) next(s *state, f func(t state, act string)) {
	do := func(act string, change func(t *state)) {
		t := *s
		change(&t)
		m.canon(&t)
		f(t, act)
	}
	if int(s.opened) < m.Streams {
		for w := range m.workers {
			do(fmt.Sprintf("worker %d: open %d", w, s.opened), func(t *state) {
				k := t.opened
				t.opened++
				for j := range k {
					t.s[k].race = t.s[k].race || t.s[j].st == waiting
				}
				t.s[k].st, t.s[k].home, t.s[k].op = waiting, w, looking
			})
		}
	}
	for k := range int(s.opened) {
		t0 := &s.s[k]
		if m.reach(s, t0.home) {
			switch {
			case t0.op == looking:
				do(describe("read", k), func(t *state) { m.read(t, k) })
			case t0.op == claiming:
				do(describe("txn", k), func(t *state) { m.process(t, k) })
			case t0.op == claimed:
				do(describe("answer", k), func(t *state) { m.answer(t, k) })
			case t0.st == live && t0.inc == 0:
				do(describe("return", k), func(t *state) { m.read(t, k) })
			}
			if t0.rel != 0 {
				do(describe("release", k), func(t *state) { m.release(t, k) })
			}
		}
		if t0.op != idle && (s.losses > 0 || !m.reach(s, t0.home)) {
			do(describe("timeout", k), func(t *state) {
				if m.reach(t, t0.home) {
					t.losses--
				}
				m.timeout(t, k)
			})
		}
		if s.ends > 0 && (t0.st == live || t0.st == waiting) {
			do(describe("hangs up", k), func(t *state) { t.ends--; m.end(t, k, hung, false) })
		}
	}
	for i := range s.z {
		if s.z[i].on {
			do(describe("late txn of", int(s.z[i].k)), func(t *state) {
				z := t.z[i]
				t.z[i] = stray{}
				m.apply(t, int(z.k), z.tx)
			})
			do(describe("lost txn of", int(s.z[i].k)), func(t *state) { t.z[i] = stray{} })
		}
	}
	for w := range m.workers {
		if s.qn[w] > 0 && m.reach(s, w) {
			do(fmt.Sprintf("worker %d: %s", w, s.q[w][0]), func(t *state) { m.deliver(t, w) })
		}
		if s.inc[w] != 0 {
			if s.up[w] && s.breaks > 0 {
				do(fmt.Sprintf("worker %d: watch breaks", w), func(t *state) {
					t.breaks--
					t.up[w], t.q[w], t.qn[w] = false, [mostEvents]event{}, 0
				})
			}
			if !s.up[w] && m.reach(s, w) {
				do(fmt.Sprintf("worker %d: resync", w), func(t *state) { m.resync(t, w) })
			}
			if s.leases&(1<<s.inc[w]) == 0 && m.reach(s, w) && m.Without != NoSentinel {
				do(fmt.Sprintf("worker %d: keepalive says gone", w), func(t *state) { m.loseLease(t, w) })
			}
		}
		if s.crashes > 0 {
			do(fmt.Sprintf("worker %d: crash", w), func(t *state) { t.crashes--; m.crash(t, w) })
		}
	}
	for inc := int8(1); inc <= s.next; inc++ {
		if s.leases&(1<<inc) == 0 {
			continue
		}
		if m.owned(s, inc) && s.expiries > 0 {
			do(fmt.Sprintf("lease ends of a live member, incarnation %d", inc), func(t *state) { t.expiries--; m.expire(t, inc) })
		}
		if !m.owned(s, inc) {
			do(fmt.Sprintf("lease ends, incarnation %d", inc), func(t *state) { m.expire(t, inc) })
		}
	}
	if s.down == 0 && s.outages > 0 {
		all := uint8(1<<m.workers - 1)
		masks := []uint8{all}
		for e := range m.envoy[m.workers-1] + 1 {
			var mask uint8
			for w := range m.workers {
				if m.envoy[w] == e {
					mask |= 1 << w
				}
			}
			if mask != all {
				masks = append(masks, mask)
			}
		}
		for _, mask := range masks {
			do(fmt.Sprintf("outage of workers %03b", mask), func(t *state) { t.outages--; t.down = mask })
		}
	}
	if s.down != 0 {
		do("outage over", func(t *state) { t.down = 0 })
	}
	for k := range int(s.opened) {
		if s.s[k].st == crashed && s.loc[k] != 0 {
			do(describe("local sweep of", k), func(t *state) { t.loc[k] = 0 })
		}
	}
}

func describe(what string, k int) string { return fmt.Sprintf("stream %d: %s", k, what) }

func (e event) String() string {
	switch e.kind {
	case wasPut:
		return fmt.Sprintf("hears that stream %d was put", e.k)
	case wasDeleted:
		return fmt.Sprintf("hears that stream %d was deleted", e.k)
	case leaseEnded:
		return "hears that its lease has ended"
	}
	return "reads a list of its streams"
}
