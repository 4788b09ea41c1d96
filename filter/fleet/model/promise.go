package model

import "fmt"

// owned reports whether an incarnation is that of a member that lives.
func (m *machine) owned(s *state, inc int8) bool {
	for w := range m.workers {
		if s.inc[w] == inc {
			return true
		}
	}
	return false
}

// drain lets the world come to rest: no more faults, and what is on the way arrives.
func (m *machine) drain(from state) (rest state, ok bool) {
	s := &from
	s.down = 0
	for range 40 {
		before := *s
		for i := range s.z {
			if z := s.z[i]; z.on {
				s.z[i] = stray{}
				m.apply(s, int(z.k), z.tx)
			}
		}
		for w := range m.workers {
			if s.inc[w] != 0 && !s.up[w] {
				m.resync(s, w)
			}
			for s.qn[w] > 0 {
				m.deliver(s, w)
			}
			if s.inc[w] != 0 && s.leases&(1<<s.inc[w]) == 0 && m.Without != NoSentinel {
				m.loseLease(s, w)
			}
		}
		for k := range int(s.opened) {
			t := &s.s[k]
			switch {
			case t.op == looking:
				m.read(s, k)
			case t.op == claiming:
				m.process(s, k)
			case t.op == claimed:
				m.answer(s, k)
			case t.st == live && t.inc == 0:
				m.read(s, k)
			}
			if t.rel != 0 {
				m.release(s, k)
			}
			if t.st == crashed {
				s.loc[k] = 0
			}
		}
		for inc := int8(1); inc <= s.next; inc++ {
			if s.leases&(1<<inc) != 0 && !m.owned(s, inc) {
				m.expire(s, inc)
			}
		}
		m.canon(s)
		m.canon(&before)
		if *s == before {
			return *s, true
		}
	}
	return *s, false
}

// check returns what part of the promise does not hold in a world at rest; "" if all holds.
func (m *machine) check(s *state) string {
	lives, newest, ownEnd := 0, -1, false
	for k := range int(s.opened) {
		t := &s.s[k]
		switch t.st {
		case live:
			lives++
			if s.rec[k].inc == 0 || s.rec[k].inc != s.inc[t.home] {
				return fmt.Sprintf("live s%d is not registered", k)
			}
			if s.rec[k].stamp != t.stamp {
				return fmt.Sprintf("live s%d is registered under another stamp", k)
			}
			if s.loc[k] == 0 {
				return fmt.Sprintf("live s%d is not in the local registry", k)
			}
		default:
			if s.rec[k].inc != 0 {
				return fmt.Sprintf("s%d is registered and has ended", k)
			}
			if s.loc[k] != 0 {
				return fmt.Sprintf("s%d is in the local registry and has ended", k)
			}
		}
		if s.rec[k].inc != 0 && s.leases&(1<<s.rec[k].inc) == 0 {
			return fmt.Sprintf("the keys of s%d have outlived their lease", k)
		}
		if t.st == hung || t.st == crashed {
			ownEnd = true
		}
		if t.st == reset && !t.yielded {
			return badText[noReason]
		}
		if t.st != refused && (newest < 0 || s.s[k].stamp >= s.s[newest].stamp) { // of two with one stamp the later name
			newest = k
		}
	}
	if most := max(m.MaxStreams, m.SecondMaxStreams); lives > most {
		return fmt.Sprintf("%d live, want at most %d", lives, most)
	}
	if s.bad != fine {
		return badText[s.bad]
	}
	for j := range int(s.opened) { // with -bug ties either of two may be it
		if m.Without == Ties && s.s[j].stamp == s.s[newest].stamp && s.s[j].st != reset && s.s[j].st != refused {
			newest = j
		}
	}
	if newest >= 0 && s.s[newest].st == reset {
		return fmt.Sprintf("the newest by stamp, s%d, was reset", newest)
	}
	if lives == 0 { // never none
		for k := range int(s.opened) {
			if s.s[k].st == reset && !ownEnd {
				return "none is left, and none ended by itself"
			}
		}
	}
	if !ownEnd && m.SecondMaxStreams == 0 {
		for k := range int(s.opened) { // the survivors are the newest by stamp
			n := 0
			for j := range int(s.opened) {
				if s.s[j].st != refused && (s.s[j].stamp > s.s[k].stamp || s.s[j].stamp == s.s[k].stamp && (j > k || m.Without == Ties && j != k)) {
					n++
				}
			}
			if s.s[k].st == reset && n < m.MaxStreams {
				return fmt.Sprintf("s%d was reset, and only %d are newer", k, n)
			}
		}
	}
	if last := int(s.opened) - 1; last >= 0 && m.Skew == 0 && !m.RejectNew { // the newest by the clock
		if t := &s.s[last]; !t.race && t.st == reset {
			return fmt.Sprintf("s%d, opened after all others had been let in, was reset", last)
		}
	}
	return ""
}
