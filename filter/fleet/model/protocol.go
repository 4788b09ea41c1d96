package model

import "math/bits"

// limit is max_streams as worker w's configuration has it.
func (m *machine) limit(w int8) int {
	if m.SecondMaxStreams > 0 && m.envoy[w] > 0 {
		return m.SecondMaxStreams
	}
	return m.MaxStreams
}

func (m *machine) reach(s *state, w int8) bool { return s.down&(1<<w) == 0 }

// clock is what worker w reads. Opens are far apart, compared with what is added to a stamp.
func (m *machine) clock(s *state, w int8) int8 { return s.opened*10 + int8(m.Skew)*w }

func (m *machine) newer(s *state, a, b int) bool { // is stream a before b in the order: newest first
	x, y := s.s[a].stamp, s.s[b].stamp
	if s.rec[a].inc != 0 {
		x = s.rec[a].stamp
	}
	if s.rec[b].inc != 0 {
		y = s.rec[b].stamp
	}
	return x > y || x == y && a > b
}

func (m *machine) push(s *state, inc int8, e event) {
	for w := range mostWorkers {
		if s.inc[w] == inc && inc != 0 && s.up[w] {
			if s.qn[w] == mostEvents {
				s.q[w], s.qn[w], s.up[w] = [mostEvents]event{}, 0, false
				return
			}
			s.q[w][s.qn[w]] = e
			s.qn[w]++
		}
	}
}

// del removes both keys of stream k.
func (m *machine) del(s *state, k int) {
	inc := s.rec[k].inc
	s.rec[k] = rec{}
	m.push(s, inc, event{kind: wasDeleted, k: int8(k), rev: s.rev})
}

// join: LeaseGrant, the sentinel under the lease, a watch on the prefix.
func (m *machine) join(s *state, w int8) {
	s.next++
	s.inc[w], s.up[w] = s.next, true
	s.leases |= 1 << s.next
	s.q[w], s.qn[w] = [mostEvents]event{}, 0
}

// loseLease: etcd has said that the lease is gone. Streams that are let in go the way of a return,
// under their stamps.
func (m *machine) loseLease(s *state, w int8) {
	old := s.inc[w]
	s.inc[w], s.up[w] = 0, false
	s.q[w], s.qn[w] = [mostEvents]event{}, 0
	for k := range mostStreams {
		t := &s.s[k]
		if t.home != w {
			continue
		}
		if t.rel == old {
			t.rel = 0
		}
		if t.st != live && t.st != waiting {
			continue
		}
		if t.inc == old {
			t.inc, t.reg = 0, 0
			if m.Without == NoReturn {
				t.inc = old
			}
		}
		switch t.op {
		case claiming: // refused by etcd: no such lease
			t.op, t.tx = looking, txn{}
			if t.st == live {
				t.op = idle
			}
		case claimed: // the answer comes all the same: let in, and not registered any more
			if t.st == waiting {
				m.admit(s, k, t.tx.stamp)
			}
			t.op, t.tx, t.ok = idle, txn{}, 0
		}
		t.check = false
	}
}

// end takes stream k, of which the member has not seen that it is out of etcd, from the world.
func (m *machine) end(s *state, k int, how int8, gone bool) {
	t := &s.s[k]
	if t.op == claiming {
		m.abandon(s, k)
	}
	if t.op == claimed && t.st == waiting { // for the properties, as in apply
		t.stamp = t.tx.stamp
	}
	t.st, t.op, t.tx, t.ok, t.check, t.inc, t.reg = how, idle, txn{}, 0, false, 0, 0
	s.loc[k] = 0
	if !gone && t.sent != 0 && t.sent == s.inc[t.home] && !(how == reset && m.Without == NoRelease) {
		t.rel = t.sent
	}
}

// abandon leaves the Txn of stream k to the network.
func (m *machine) abandon(s *state, k int) {
	for i := range s.z {
		if !s.z[i].on {
			s.z[i] = stray{true, int8(k), s.s[k].tx}
			return
		}
	}
}

// record puts k into its Envoy's local registry, which keeps the N newest of what it holds.
func (m *machine) record(s *state, k int) {
	s.seq++
	s.loc[k] = s.s[k].stamp
	if m.Without == LocalOrder {
		s.loc[k] = s.seq
	}
	e := m.envoy[s.s[k].home]
	for j := range mostStreams {
		if s.loc[j] == 0 || m.envoy[s.s[j].home] != e {
			continue
		}
		n := 0
		for i := range mostStreams {
			if s.loc[i] != 0 && m.envoy[s.s[i].home] == e && (s.loc[i] > s.loc[j] || s.loc[i] == s.loc[j] && m.beats(s, i, j, k)) {
				n++
			}
		}
		if n >= m.limit(s.s[k].home) {
			s.s[j].yielded = true
			s.loc[j] = 0
			if s.s[j].st == live {
				m.end(s, j, reset, false)
			}
		}
	}
}

// beats says which of two streams with one stamp is the newer for the local registry, to which k
// has come last.
func (m *machine) beats(s *state, i, j, k int) bool {
	if m.Without == Ties && i != j {
		return j == k || i != k && i > j
	}
	return i > j
}

// admit lets a waiting stream in, under a stamp that it keeps.
func (m *machine) admit(s *state, k int, stamp int8) {
	s.s[k].st, s.s[k].stamp = live, stamp
	m.record(s, k)
}

func (m *machine) localMax(s *state, w int8) (newest int8) {
	for j := range mostStreams {
		if s.loc[j] != 0 && m.envoy[s.s[j].home] == m.envoy[w] {
			newest = max(newest, s.s[j].stamp)
		}
	}
	return newest
}

func (m *machine) localCount(s *state, w int8) (n int) {
	for j := range mostStreams {
		if s.loc[j] != 0 && m.envoy[s.s[j].home] == m.envoy[w] {
			n++
		}
	}
	return n
}

// read: a Range of the client's keys, answered, and the Txn that follows from it, sent.
func (m *machine) read(s *state, k int) {
	t := &s.s[k]
	w := t.home
	if s.inc[w] == 0 {
		m.join(s, w)
	}
	if t.st == live && s.rec[k].inc == s.inc[w] { // its own claim had been carried out
		t.inc, t.reg, t.op, t.tx = s.inc[w], s.rec[k].mod, idle, txn{}
		return
	}
	var others []int
	for j := range mostStreams {
		if j != k && s.rec[j].inc != 0 {
			others = append(others, j)
		}
	}
	for i := range others { // newest first
		for j := i + 1; j < len(others); j++ {
			if m.newer(s, others[j], others[i]) {
				others[i], others[j] = others[j], others[i]
			}
		}
	}
	tx := txn{inc: s.inc[w], r: s.rev, stamp: t.stamp}
	place := 0
	switch {
	case t.st == waiting || m.Without == FreshStamp:
		if m.RejectNew && t.st == waiting && len(others) >= m.limit(w) {
			m.end(s, k, refused, false)
			return
		}
		tx.stamp = max(m.clock(s, w), m.localMax(s, w)+1)
		if len(others) > 0 {
			tx.stamp = max(tx.stamp, s.rec[others[0]].stamp+1)
		}
	default: // a return
		for place < len(others) && (m.newer(s, others[place], k) || m.Without == Ties && s.rec[others[place]].stamp == t.stamp) {
			place++
		}
		if place >= m.limit(w) {
			t.yielded = true
			m.end(s, k, reset, true)
			return
		}
	}
	for i, j := range others {
		rank := i
		if i >= place {
			rank++
		}
		switch {
		case rank >= m.limit(w) && !(m.RejectNew && t.st == waiting):
			tx.victims |= 1 << j
		default:
			tx.kept |= 1 << j
		}
	}
	if tx.victims == 0 {
		tx.kept = 0 // nothing rests on them
	}
	t.op, t.tx, t.sent = claiming, tx, tx.inc
}

// apply is etcd's side of a Txn: it reports whether it was carried out, and whether it was refused
// for its lease.
func (m *machine) apply(s *state, k int, tx txn) (done, noLease bool) {
	if s.leases&(1<<tx.inc) == 0 {
		return false, true
	}
	for j := range mostStreams {
		r := s.rec[j]
		if r.inc != 0 && r.mod > tx.r && m.Without != NoGuard {
			return false, false
		}
		if tx.kept&(1<<j) != 0 && r.inc == 0 && m.Without != NoKept {
			return false, false
		}
	}
	s.rev++
	s.rec[k] = rec{tx.inc, s.rev, tx.stamp}
	if s.s[k].st > live { // it ended while its Txn was on the way: where it stood, for the properties
		s.s[k].stamp = tx.stamp
	}
	m.push(s, tx.inc, event{kind: wasPut, k: int8(k), rev: s.rev})
	for v := range mostStreams {
		if tx.victims&(1<<v) == 0 || s.rec[v].inc == 0 {
			continue
		}
		n := 0
		for j := range mostStreams {
			if s.rec[j].inc != 0 && j != v && s.rec[j].stamp >= s.rec[v].stamp && (s.rec[j].stamp > s.rec[v].stamp || j > v) {
				n++
			}
		}
		if n < m.limit(s.s[k].home) {
			s.bad = inVain
		}
		s.s[v].yielded = true
	}
	for v := range mostStreams {
		if tx.victims&(1<<v) != 0 && s.rec[v].inc != 0 {
			m.del(s, v)
		}
	}
	return true, false
}

// process carries out the Txn of stream k. If its compares fail, the Else branch has the range:
// decide and send again.
func (m *machine) process(s *state, k int) {
	t := &s.s[k]
	done, noLease := m.apply(s, k, t.tx)
	switch {
	case noLease:
		m.loseLease(s, t.home)
	case done:
		t.op, t.ok = claimed, s.rev
	default:
		t.op, t.tx = looking, txn{}
		m.read(s, k)
	}
}

// answer: the member learns that the Txn of stream k was carried out.
func (m *machine) answer(s *state, k int) {
	t := &s.s[k]
	tx, rev, check := t.tx, t.ok, t.check && m.Without != AnswerAfterSnap
	t.op, t.tx, t.ok, t.check = idle, txn{}, 0, false
	if !check {
		t.inc, t.reg = tx.inc, max(t.reg, rev)
	}
	if t.st == waiting {
		m.admit(s, k, tx.stamp)
	} else if m.Without == FreshStamp {
		t.stamp = tx.stamp
		if s.loc[k] != 0 {
			s.loc[k] = tx.stamp
		}
	}
}

// timeout: the member waits no longer.
func (m *machine) timeout(s *state, k int) {
	t := &s.s[k]
	had, tx := t.op == claiming || t.op == claimed, t.tx
	if t.op == claiming {
		m.abandon(s, k)
	}
	t.op, t.tx, t.ok, t.check = idle, txn{}, 0, false
	if t.st != waiting {
		return
	}
	// Once a Txn has been sent, the stream is in: who knows what the Txn has done.
	if m.RefuseUnavailable && (!had || m.Without == RefuseLate) {
		m.end(s, k, refused, !had)
		return
	}
	stamp := max(m.clock(s, t.home), m.localMax(s, t.home)+1)
	if had {
		stamp = tx.stamp
	} else if m.RejectNew && m.localCount(s, t.home) >= m.limit(t.home) {
		m.end(s, k, refused, true)
		return
	}
	m.admit(s, k, stamp)
}

// superseded: the watch has said so, as of a revision.
func (m *machine) superseded(s *state, k int, rev int8) {
	t := &s.s[k]
	if !t.yielded || t.inc != 0 && t.inc == s.rec[k].inc && t.reg == s.rec[k].mod && rev < t.reg {
		s.bad = noReason
	}
	m.end(s, k, reset, true)
}

// deliver hands the member on worker w its next event.
func (m *machine) deliver(s *state, w int8) {
	e := s.q[w][0]
	copy(s.q[w][:], s.q[w][1:])
	s.qn[w]--
	s.q[w][s.qn[w]] = event{}
	t := &s.s[e.k]
	ended := t.st != live && t.st != waiting
	switch e.kind {
	case wasPut:
		switch {
		case ended && m.Without != NoGhost:
			t.rel = s.inc[w]
		case t.st == live && t.inc == 0:
			t.inc, t.reg = s.inc[w], e.rev
		case t.st == live:
			t.reg = max(t.reg, e.rev)
		}
	case wasDeleted:
		switch {
		case t.st == waiting && t.op == claimed && m.Without != DelBeforeAnswer, t.st == live && (e.rev > t.reg || m.Without == StaleEvent):
			m.superseded(s, int(e.k), e.rev)
		}
	case leaseEnded:
		m.loseLease(s, w)
	case list:
		if !e.there && m.Without != NoSentinel {
			m.loseLease(s, w)
			return
		}
		for k := range mostStreams {
			t := &s.s[k]
			if t.home != w || t.st == unopened {
				continue
			}
			in := e.mask&(1<<k) != 0
			switch {
			case t.st == live && in && t.inc == 0:
				t.inc, t.reg = s.inc[w], e.rev
			case t.st == live && !in && t.inc == s.inc[w] && (t.reg <= e.rev || m.Without == SnapRev):
				m.superseded(s, k, e.rev)
			case (t.st == waiting || t.st == live) && (t.op == claiming || t.op == claimed) && !in:
				t.check = true
			case t.st > live && in && m.Without != NoGhost:
				t.rel = s.inc[w]
			}
		}
	}
}

// resync: the Range that a broken watch is resumed from; later events follow it.
func (m *machine) resync(s *state, w int8) {
	s.up[w] = true
	s.q[w], s.qn[w] = [mostEvents]event{}, 0
	if m.Without == NoResync {
		return
	}
	var mask uint8
	for k := range mostStreams {
		if s.rec[k].inc == s.inc[w] {
			mask |= 1 << k
		}
	}
	s.q[w][0] = event{kind: list, rev: s.rev, mask: mask, there: s.leases&(1<<s.inc[w]) != 0}
	s.qn[w] = 1
}

// release deletes both keys of a stream that has ended, under its own name only.
func (m *machine) release(s *state, k int) {
	t := &s.s[k]
	if s.rec[k].inc == t.rel {
		s.rev++
		m.del(s, k)
	}
	t.rel = 0
}

// expire: etcd takes a lease and all that hangs on it away, in one revision.
func (m *machine) expire(s *state, inc int8) {
	s.leases &^= 1 << inc
	s.rev++
	for k := range mostStreams {
		if s.rec[k].inc == inc {
			if m.Without == NoSentinel {
				m.del(s, k)
			}
			s.rec[k] = rec{}
		}
	}
	if m.Without != NoSentinel {
		m.push(s, inc, event{kind: leaseEnded, rev: s.rev})
	}
}

func (m *machine) crash(s *state, w int8) {
	for k := range mostStreams {
		t := &s.s[k]
		if t.home == w && (t.st == live || t.st == waiting) {
			loc := s.loc[k]
			m.end(s, k, crashed, true)
			s.loc[k] = loc // until the local registry sweeps it
		}
		if t.home == w {
			t.rel = 0
		}
	}
	s.inc[w], s.up[w] = 0, false
	s.q[w], s.qn[w] = [mostEvents]event{}, 0
}

// canon renames revisions by rank: only their order matters.
func (m *machine) canon(s *state) {
	seen := uint64(1)<<s.rev | 1
	for k := range mostStreams {
		seen |= 1<<s.rec[k].mod | 1<<s.s[k].reg | 1<<s.s[k].ok | 1<<s.s[k].tx.r
	}
	for i := range s.z {
		seen |= 1 << s.z[i].tx.r
	}
	for w := range mostWorkers {
		for i := range s.qn[w] {
			seen |= 1 << s.q[w][i].rev
		}
	}
	if seen&(seen+1) != 0 { // there are gaps
		rank := func(v int8) int8 { return int8(bits.OnesCount64(seen & (1<<v - 1))) }
		s.rev = rank(s.rev)
		for k := range mostStreams {
			s.rec[k].mod, s.s[k].reg, s.s[k].ok, s.s[k].tx.r = rank(s.rec[k].mod), rank(s.s[k].reg), rank(s.s[k].ok), rank(s.s[k].tx.r)
		}
		for i := range s.z {
			s.z[i].tx.r = rank(s.z[i].tx.r)
		}
		for w := range mostWorkers {
			for i := range s.qn[w] {
				s.q[w][i].rev = rank(s.q[w][i].rev)
			}
		}
	}
	if s.z[1].on && (!s.z[0].on || less(s.z[1], s.z[0])) {
		s.z[0], s.z[1] = s.z[1], s.z[0]
	}
	if m.Without != LocalOrder {
		s.seq = 0
	}
}

func less(a, b stray) bool {
	if a.k != b.k {
		return a.k < b.k
	}
	return a.tx.r < b.tx.r
}
