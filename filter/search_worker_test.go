package main_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/host"
)

// This file lets the workers of a search run: what arrives at them, and where they stop.

// searchWorker is a worker and the callback that it is in.
type searchWorker struct {
	search  *search
	index   int
	life    int // of its VM; a crash ends it
	inbox   []searchCall
	began   int  // the round in which its callback began
	stalled int  // it does not run before this round
	crashIn int  // steps until its VM crashes; 0: it does not
	loses   int  // messages that are to be lost
	awake   bool // a wake-up is in its inbox
	ticking bool // and a tick

	next      func() (string, bool) // nil: in no callback
	stop      func()
	yield     func(string) bool
	uncounted int // by how much it has changed the number of streams since it changed the gauge

	trap  int // at its call: 1: before its effect, 2: after it
	ended bool
}

// searchCall is something that arrives at a worker.
type searchCall struct {
	what string
	do   func()
}

// then is called when something arrives at the worker about a stream. It comes too late if the
// stream has ended.
func (w *searchWorker) then(what string, do func(), st *searchStream) {
	w.inbox = append(w.inbox, searchCall{fmt.Sprintf(what, st.name()), func() {
		if !st.Ended() {
			do()
		}
	}})
}

func (w *searchWorker) tick() {
	if w.ticking {
		return
	}
	w.ticking = true
	w.inbox = append(w.inbox, searchCall{"tick", func() { w.ticking = false; w.search.Worker(w.index).Tick() }})
}

// wake puts a wake-up into the inbox if one is due.
func (w *searchWorker) wake() {
	due := func(u host.Wakeup) bool { return u.Worker == w.index }
	if w.awake || !slices.ContainsFunc(w.search.PendingWakeups(), due) {
		return
	}
	w.awake = true
	w.inbox = append(w.inbox, searchCall{"wake", func() { w.awake = false; w.search.Worker(w.index).Run() }})
}

// step lets the worker go on up to its next call, or begin with what has arrived.
func (w *searchWorker) step() {
	if w.crashIn > 0 {
		if w.crashIn--; w.crashIn == 0 && w.crash() {
			return
		}
	}
	if w.next == nil {
		call := w.inbox[0]
		w.inbox = w.inbox[1:]
		w.began = w.search.rounds
		if !w.search.calm || call.what != "tick" {
			w.search.note("worker %d: %s", w.index, call.what)
		}
		w.next, w.stop = iter.Pull(func(yield func(string) bool) {
			w.yield = yield
			defer func() { w.yield = nil }()
			call.do()
		})
	}
	at, more := w.next()
	if !more {
		w.next = nil
		return
	}
	if !w.search.calm {
		w.search.note("worker %d ... %s", w.index, at)
	}
}

// crash ends the worker's VM, in the middle of its callback if it is in one.
func (w *searchWorker) crash() bool {
	s := w.search
	if s.Worker(w.index).Failed() {
		return false
	}
	s.sights[sawCrash]++
	defer func() { s.uncounted, w.uncounted = s.uncounted+w.uncounted, 0 }()
	if w.next == nil {
		s.note("worker %d crashes", w.index)
		s.Worker(w.index).Crash()
	} else {
		s.sights[sawCrashInCall]++
		w.trap = 1 + s.rnd.IntN(2)
		s.note("worker %d crashes %s this call", w.index, [...]string{1: "before", 2: "after"}[w.trap])
		w.abandon()
	}
	cut := map[string]bool{}
	for _, st := range s.streams {
		if w.has(st) && !st.ended() {
			cut[st.client] = cut[st.client] || st.isOpen()
			st.cut = true
			st.notice()
		}
	}
	w.life++
	if s.reject { // the clients come back, here or elsewhere
		for _, client := range slices.Sorted(maps.Keys(cut)) {
			if cut[client] {
				s.sights[sawComeback]++
				s.anyWorker().open(client)
			}
		}
	}
	return true
}

// abandon lets a callback run to its end without another stop.
func (w *searchWorker) abandon() {
	if w.next != nil {
		w.ended = true
		w.next()
		w.stop()
		w.ended, w.next = false, nil
	}
}

func (w *searchWorker) open(client string) {
	w.openAs(client, w.search.instances[w.search.rnd.IntN(len(w.search.instances))])
}

// openAs lets a request for an event stream arrive.
func (w *searchWorker) openAs(client, instance string) *searchStream {
	s := w.search
	st := &searchStream{search: s, client: client, instance: instance, on: w, number: len(s.streams)}
	s.streams = append(s.streams, st)
	atOnce := s.rnd.IntN(2) == 0
	w.inbox = append(w.inbox, searchCall{"open " + st.name(), func() {
		if s.Worker(w.index).Failed() {
			s.sights[sawReload]++
		}
		st.life = w.life
		headers := []string{"accept", "text/event-stream", "x-client-id", client}
		if instance != "" {
			headers = append(headers, "x-instance", instance)
		}
		st.Stream = s.Worker(w.index).Open(host.Request("GET", "/events", headers...))
		st.RequestHeaders(true)
		if atOnce {
			st.answer()
		}
	}})
	return st
}

// dismissal is a DELETE of an operator.
type dismissal struct {
	client string
	before int // claims that were written before it began
	after  int // and when it had returned; -1: it has not
}

func (w *searchWorker) dismiss(client string) {
	s := w.search
	w.inbox = append(w.inbox, searchCall{"dismiss " + client, func() {
		d := &dismissal{client: client, before: s.claims, after: -1}
		s.dismissals = append(s.dismissals, d)
		asked := s.Worker(w.index).Open(host.Request("DELETE", "/admin/streams/events/"+client))
		asked.RequestHeaders(true)
		reply := asked.LocalReply()
		if reply == nil || reply.Status != 200 && reply.Status != 404 {
			return // its VM has crashed, or starts later
		}
		s.sights[sawDismissal]++
		d.after = s.claims
		s.note("worker %d has dismissed %s: %s", w.index, client, strings.TrimSpace(string(reply.Body)))
	}})
}

// shared are the calls that other workers can see, and before which a worker can be interrupted.
var shared = []string{"proxy_get_shared_data", "proxy_set_shared_data", "proxy_register_shared_queue", "proxy_enqueue_shared_queue", "proxy_dequeue_shared_queue"}

// intercept sees every call of every worker.
func (s *search) intercept(c *host.Call) {
	if c.Worker == host.MainThread || s.World == nil {
		return
	}
	w := s.workers[c.Worker]
	if w.yield == nil || !slices.Contains(shared, c.Name) {
		if c.Name == "proxy_send_local_response" {
			s.checkRefusal(w, c.ContextID)
		}
		if c.Key == activeGauge && c.Name == "proxy_increment_metric" {
			before := s.active()
			c.Proceed()
			w.uncounted -= s.active() - before
		}
		return
	}
	if !w.ended {
		w.yield(strings.TrimPrefix(c.Name, "proxy_") + " " + strings.TrimPrefix(c.Key, "streamlatch/3/"))
	}
	if w.trap > 0 {
		if w.trap == 2 {
			s.proceed(w, c)
		}
		w.trap = 0
		c.Trap("by the search")
		return
	}
	if c.Name == "proxy_enqueue_shared_queue" && w.loses > 0 {
		w.loses--
		c.Answer(host.StatusOk)
		return
	}
	s.proceed(w, c)
}

// proceed carries a call out, and notes what it has written.
func (s *search) proceed(w *searchWorker, c *host.Call) {
	before := len(s.stored())
	if c.Proceed() != host.StatusOk || c.Name != "proxy_set_shared_data" {
		return
	}
	if strings.HasPrefix(c.Key, "streamlatch/3/w/") {
		s.noteSlot(w, c.Key)
	}
	if strings.HasPrefix(c.Key, "streamlatch/3/b/") {
		s.noteStreams(w, c.Key)
		w.uncounted += len(s.stored()) - before
	}
}

// noteSlot notes who holds a slot.
func (s *search) noteSlot(w *searchWorker, key string) {
	record, err := registry.ParseRecord(s.SharedData()[key].Bytes)
	if err != nil {
		s.breaks("%s is written malformed: %v", key, err)
		return
	}
	if before := s.slots[key]; record.Incarnation == 0 && before.worker.life == before.life {
		s.sights[sawSweep]++
	} else if record.Incarnation != before.incarnation {
		s.slots[key] = slotHolder{record.Incarnation, w, w.life}
	}
}

// slotHolder is who has taken a slot.
type slotHolder struct {
	incarnation uint64
	worker      *searchWorker
	life        int
}

// noteStreams notes which streams have reached the registry.
func (s *search) noteStreams(w *searchWorker, key string) {
	b, err := registry.ParseBucket(s.SharedData()[key].Bytes)
	if err != nil {
		s.breaks("%s is written malformed: %v", key, err)
		return
	}
	for _, entry := range b.Entries {
		for _, r := range entry.Streams {
			name := streamName{r.Owner, r.Context}
			if s.names[name] != nil {
				continue
			}
			for _, st := range s.streams {
				if w.has(st) && st.ID() == r.Context {
					s.names[name] = st
					if st.rank == 0 {
						s.claims++
						st.rank = s.claims
					} else {
						s.sights[sawReturn]++
					}
				}
			}
			if s.names[name] == nil {
				s.breaks("worker %d writes stream %d of %+v, which it does not have", w.index, r.Context, r.Owner)
			}
		}
	}
}
