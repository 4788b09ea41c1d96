package registry

import (
	"cmp"
	"errors"
	"slices"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// This file mends buckets. Whatever goes wrong, a visit of the bucket repairs it: the streams of
// dead workers are removed, streams that were removed while their worker stalled are put back, and
// streams that have lost their place without a message are found. In every tick a worker visits
// some buckets with streams of its own, and a few of all, in circles. If it knows that something is
// wrong, it visits all of them at once, a part in each call.

// visitAll makes the worker visit every bucket, beginning in the running call.
func (w *Worker) visitAll() { w.toVisit = w.table.Buckets() }

// visitNext visits the next buckets.
func (w *Worker) visitNext(d *Done) (first error) {
	for range min(w.toVisit, visitsPerCall) {
		next := (w.visited + 1) % w.table.Buckets()
		if !w.fits(d, next) {
			return first
		}
		w.visited = next
		w.toVisit--
		first = cmp.Or(first, w.suspect(next, d))
	}
	return first
}

// check visits the next buckets that have streams of this worker.
func (w *Worker) check(d *Done) (first error) {
	next := w.checked
	for range len(w.own) {
		if w.toCheck == 0 {
			return first
		}
		next = (next + 1) % uint32(len(w.own))
		if w.own[next] == nil {
			continue
		}
		if !w.fits(d, next) {
			return first
		}
		w.checked = next
		w.toCheck--
		first = cmp.Or(first, w.suspect(next, d))
	}
	w.toCheck = 0 // it has seen all
	return first
}

// suspect visits bucket n and notes which streams are missing for the first time.
func (w *Worker) suspect(n uint32, d *Done) error {
	absent, err := w.visit(n, d)
	for _, s := range absent {
		if s.state == Registered {
			s.state = Missing
			w.suspects = append(w.suspects, n)
		}
	}
	return err
}

// fits reports whether a visit of bucket n can name all of the worker's streams in it.
func (w *Worker) fits(d *Done, n uint32) bool {
	if len(d.End) == 0 {
		return true
	}
	streams := 0
	for s := w.first(n); s != nil; s = s.next {
		streams++
	}
	return streams <= d.room()
}

// confirm visits again the buckets in which streams were missing, and ends those that still are.
// Between the two looks another worker may have been between its write and its message, which knows
// the reason. It reads its own slot after the buckets (slot last): if the slot was taken meanwhile,
// the streams may be missing for that reason alone, and the next tick puts them back.
func (w *Worker) confirm(d *Done) (first error) {
	if w.toConfirm == 0 {
		return nil
	}
	var lost []*Stream
	n := 0
	for ; n < min(w.toConfirm, visitsPerCall) && len(lost) < d.room() && w.fits(d, w.suspects[n]); n++ {
		absent, err := w.visit(w.suspects[n], d)
		first = cmp.Or(first, err)
		for _, s := range absent {
			if s.state == Missing && !slices.Contains(lost, s) {
				lost = append(lost, s)
			}
		}
	}
	w.toConfirm -= n
	w.suspects = slices.Delete(w.suspects, 0, n)
	if len(lost) == 0 {
		return first
	}
	record, _, err := w.readSlot(w.owner.Slot)
	if err != nil || record.Incarnation != w.owner.Incarnation {
		for _, s := range lost {
			w.suspects = append(w.suspects, w.table.bucket(s.Client))
		}
		return errors.Join(first, err)
	}
	for _, s := range lost {
		w.drop(s, ByLoss)
		w.count(LostWakeup, 1)
		if s.Enforce {
			d.end(s)
		}
	}
	return first
}

// visit mends bucket n, and returns those of the worker's streams that should be there and are not.
// A stream that is there again is not missing any more. If nothing is wrong, it only reads.
func (w *Worker) visit(n uint32, d *Done) (absent []*Stream, err error) {
	type putBack struct {
		*Stream
		as      policy.Stream
		verdict policy.Verdict
		delta   int
	}
	type swept struct {
		rule    RuleID
		orphans int
	}
	var back []putBack
	var sweeps []swept
	defer w.retractRest()
	err = w.update(n, func(b *Bucket) bool {
		back, sweeps = back[:0], sweeps[:0]
		for s := w.first(n); s != nil; s = s.next {
			if s.state != Returning {
				continue
			}
			as := s.as()
			as.Owner = w.owner
			client := b.client(s.Client)
			had := len(client.Streams)
			// Its old name may be there still.
			client.Streams = slices.DeleteFunc(slices.Clone(client.Streams), s.is)
			b.Claims = max(b.Claims, as.Claim)
			verdict := policy.Return(client, as, s.Limits.MaxStreams, w.now)
			if streams := verdict.Next.Streams; s == w.placed && len(streams) > 0 && streams[len(streams)-1].Is(as) {
				verdict.Next = verdict.Next.Remember(w.memory, *s.Limits, w.now)
			}
			w.announce(slices.DeleteFunc(slices.Clone(verdict.Superseded), as.Is))
			b.put(s.Client, s.Rule, verdict.Next)
			back = append(back, putBack{s, as, verdict, len(verdict.Next.Streams) - had})
		}
		over := false
		for i := range b.Entries {
			e := &b.Entries[i]
			if !slices.ContainsFunc(e.Streams, w.orphaned) && (e.Until == 0 || e.Until > w.now) {
				continue
			}
			had := len(e.Streams)
			e.Client = e.Client.Without(w.orphaned, w.now)
			over = true
			if orphans := had - len(e.Streams); orphans > 0 {
				sweeps = append(sweeps, swept{e.Rule, orphans})
			}
		}
		b.Entries = slices.DeleteFunc(b.Entries, func(e Entry) bool { return len(e.Streams) == 0 && e.Until == 0 })
		return over || len(back) > 0
	})
	if err != nil {
		return nil, err
	}
	for s := w.first(n); s != nil; s = s.next {
		switch found := slices.ContainsFunc(w.bucket.client(s.Client).Streams, s.is); {
		case s.state != Registered && s.state != Missing:
		case !found:
			absent = append(absent, s)
		case s.state == Missing:
			s.state = Registered
		}
	}
	for _, p := range sweeps {
		w.countChange(p.rule, -p.orphans, p.orphans)
		d.Swept += p.orphans
	}
	for _, p := range back {
		w.countChange(p.Rule, p.delta, 0)
		switch {
		case p.verdict.Dismissed:
			w.drop(p.Stream, ByOperator)
		case slices.ContainsFunc(p.verdict.Superseded, p.as.Is):
			w.drop(p.Stream, BySuccessor)
		default:
			p.registerAs(p.as)
		}
		w.supersede(p.Stream, slices.DeleteFunc(slices.Clone(p.verdict.Superseded), p.as.Is))
		d.settled(p.Stream, p.verdict)
	}
	return absent, nil
}
