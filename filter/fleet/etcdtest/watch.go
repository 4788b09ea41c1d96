package etcdtest

import (
	"cmp"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// Watch is a watch of a range of keys. A copy goes on for itself.
type Watch struct {
	key, end string
	told     int // changes of the history that it has passed
}

// Watch begins a watch.
func (s *Store) Watch(r etcd.WatchRequest) Watch {
	at, _ := slices.BinarySearchFunc(s.History, r.StartRevision, func(c Change, r int64) int { return cmp.Compare(c.Revision, r) })
	return Watch{r.Key, r.End, at}
}

// has reports whether a change is one that the watch tells of.
func (w *Watch) has(c Change) bool {
	return c.Key == w.key || w.key < c.Key && c.Key < w.end
}

// Next returns what the watch has to tell next: all changes of one revision.
func (w *Watch) Next(s *Store) (next []Change) {
	for w.told < len(s.History) && !w.has(s.History[w.told]) {
		w.told++
	}
	for _, c := range s.History[w.told:] {
		if c.Revision != s.History[w.told].Revision {
			break
		}
		if w.has(c) {
			next = append(next, c)
		}
	}
	return next
}

// Tell returns the message that tells what is next, and passes it.
func (w *Watch) Tell(s *Store) (message []byte) {
	next := w.Next(s)
	w.told++
	for w.told < len(s.History) && s.History[w.told].Revision == next[0].Revision {
		w.told++
	}
	return s.WatchAnswer(next...)
}
