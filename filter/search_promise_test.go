package main_test

import (
	"fmt"
	"strings"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/host"
)

// This file is what a search holds the filter to.

// streamName names a stream in the registry.
type streamName struct {
	owner   policy.Owner
	context uint32
}

// searchStream is a stream as its client and Envoy see it.
type searchStream struct {
	*host.Stream // nil before its request has arrived
	search       *search
	number       int
	client       string
	instance     string
	on           *searchWorker
	life         int // of its worker
	answered     bool
	cut          bool // its VM has crashed: Envoy cuts it at its next chunk
	rank         int  // in the order in which the streams reached the registry; 0: it has not
	over         bool
	endedIn      int // the round
}

func (st *searchStream) name() string {
	if st.instance == "" {
		return fmt.Sprintf("%d of %s", st.number, st.client)
	}
	return fmt.Sprintf("%d of %s/%s", st.number, st.client, st.instance)
}

func (st *searchStream) String() string {
	if st.Stream == nil {
		return "stream " + st.name() + " (waits for its worker)"
	}
	return fmt.Sprintf("stream %s on worker %d (claim %d, %v, cut %t, %s)", st.name(), st.on.index, st.rank, st.Ending(), st.cut, st.reason())
}

func (st *searchStream) reason() string { return st.FilterState()["wasm.streamlatch.reason"] }

// Ended reports whether the stream has ended, as far as its client can tell.
func (st *searchStream) ended() bool {
	return st.Stream != nil && (st.cut || st.Ended() || st.LocalReply() != nil)
}

// isOpen reports whether the stream's request has arrived and has not ended.
func (st *searchStream) isOpen() bool { return st.Stream != nil && !st.ended() }

// answer lets the backend answer, if it has the request.
func (st *searchStream) answer() {
	if st.answered || st.ended() || !through(st.Stream) {
		return
	}
	st.answered = true
	st.ResponseHeaders(eventStream, false)
	st.ResponseBody([]byte("data: hello\n\n"), false)
}

// send lets an event pass, if the backend has answered.
func (st *searchStream) send() {
	if st.answered {
		st.ResponseBody([]byte("data: 1\n\n"), false)
	}
}

// end is the client hanging up.
func (st *searchStream) end() { st.End() }

// notice notes when the stream has ended.
func (st *searchStream) notice() {
	if !st.over && st.ended() {
		st.over, st.endedIn = true, st.search.rounds
	}
}

// has reports whether the stream has arrived at the worker's VM that runs now.
func (w *searchWorker) has(st *searchStream) bool {
	return st.Stream != nil && st.on == w && st.life == w.life
}

// memory is how many rounds after a stream's end its client may still be refused for it: while its
// release loses races, or until its crashed worker has been silent for 1.5 seconds.
const memory = 5

// checkRefusal is called when a worker answers a request itself. If the client is refused for its
// other streams, it must have had as many as it may, in the time of the callback or shortly before.
func (s *search) checkRefusal(w *searchWorker, context uint32) {
	var refused *searchStream
	for _, st := range s.streams {
		if w.has(st) && st.ID() == context {
			refused = st
		}
	}
	if refused == nil {
		return // a DELETE
	}
	why := refused.reason()
	if why != "refused_duplicate" && why != "refused_superseded" {
		s.breaks("%v is refused", refused)
		return
	}
	s.sights[sawRefusal]++
	had := 0
	for _, st := range s.streams {
		st.notice()
		if st != refused && st.client == refused.client && st.rank > 0 && (!st.over || st.endedIn >= w.began-memory) {
			had++
		}
	}
	if had < s.limit {
		s.breaks("%v is refused, but its client has had only %d streams in the last seconds, of %d", refused, had, s.limit)
	}
}

// stored returns the streams that are in the registry.
func (s *search) stored() (all []streamName) {
	for key, value := range s.SharedData() {
		if !strings.HasPrefix(key, "streamlatch/3/b/") {
			continue
		}
		b, err := registry.ParseBucket(value.Bytes)
		if err != nil {
			s.breaks("%s: %v", key, err)
		}
		for _, entry := range b.Entries {
			if len(entry.Streams) == 0 && entry.Until == 0 {
				s.breaks("%s has an entry with nothing in it", key)
			}
			for _, r := range entry.Streams {
				all = append(all, streamName{r.Owner, r.Context})
			}
		}
	}
	return all
}

const activeGauge = "streamlatch.events.active"

func (s *search) active() int { return int(int64(s.Metrics().Gauges[activeGauge])) }

// check holds a quiet Envoy to the registry's promises.
func (s *search) check() {
	s.checkRegistry()
	s.checkSlots()
	s.checkStreams()
	for _, line := range s.Logs() {
		if strings.Contains(line.Message, "panic") || strings.Contains(line.Message, "failed error=") {
			s.breaks("the log says %q", line.Message)
		}
	}
}

// checkRegistry: every live stream is in the registry once, nothing else is, and the gauge says so.
func (s *search) checkRegistry() {
	stored := s.stored()
	times := map[*searchStream]int{}
	for _, name := range stored {
		st := s.names[name]
		if st == nil || !st.isOpen() {
			s.breaks("the registry holds %v, which is %v", name, st)
			return
		}
		times[st]++
	}
	for _, st := range s.streams {
		if st.isOpen() && times[st] != 1 {
			s.breaks("%v lives, and is in the registry %d times", st, times[st])
		}
	}
	if active := s.active(); active != len(stored)-s.uncounted {
		s.breaks("the gauge of active streams is %d, the registry holds %d, and workers have crashed before they counted %d", active, len(stored), s.uncounted)
	}
	if n := s.Metrics().Counters["streamlatch.malformed"]; n > 0 {
		s.breaks("%d stored values were malformed", n)
	}
}

// checkSlots: each worker that lives holds one slot at most, which counts its streams, and nobody
// else holds any.
func (s *search) checkSlots() {
	streams := map[policy.Owner]int{}
	for _, name := range s.stored() {
		streams[name.owner]++
	}
	held, alive := 0, 0
	for _, w := range s.workers {
		if !s.Worker(w.index).Failed() {
			alive++
		}
	}
	for key, value := range s.SharedData() {
		if !strings.HasPrefix(key, "streamlatch/3/w/") {
			continue
		}
		record, err := registry.ParseRecord(value.Bytes)
		if err != nil {
			s.breaks("%s: %v", key, err)
		}
		if record.Incarnation == 0 {
			continue
		}
		held++
		var slot uint16
		fmt.Sscanf(key, "streamlatch/3/w/%d", &slot)
		owner := policy.Owner{Slot: slot, Incarnation: record.Incarnation}
		if int(record.Live) != streams[owner] {
			s.breaks("%s says that its worker has %d streams, the registry holds %d", key, record.Live, streams[owner])
		}
		delete(streams, owner)
	}
	if held > alive {
		s.breaks("%d slots are held, but %d workers live", held, alive)
	}
	for owner, n := range streams {
		s.breaks("the registry holds %d streams of %+v, which has no slot", n, owner)
	}
}

// checkStreams: no client has more streams than it may. A stream has ended for another one only if
// enough newer ones came, and by an operator only if one dismissed its client. A stream that was
// dismissed has ended.
func (s *search) checkStreams() {
	live := map[string]int{}
	for _, st := range s.streams {
		if st.Stream == nil {
			continue
		}
		if st.isOpen() {
			if live[st.client]++; live[st.client] > s.limit {
				s.breaks("%s has %d live streams, want at most %d", st.client, live[st.client], s.limit)
			}
		}
		mayBeDismissed := false
		for _, d := range s.dismissals {
			if d.client != st.client {
				continue
			}
			if d.after >= 0 && st.rank > 0 && st.rank <= d.before && st.isOpen() {
				s.breaks("%v was dismissed, and lives", st)
			}
			if d.after < 0 || st.rank <= d.after {
				mayBeDismissed = true
			}
		}
		reason := st.reason()
		if reason == "dismissed" && !mayBeDismissed {
			s.breaks("%v ended, but nobody has dismissed its client since it came", st)
		}
		if reason != "superseded" && reason != "unregistered" || reason == "unregistered" && mayBeDismissed {
			continue
		}
		newer, again := 0, false
		for _, other := range s.streams {
			if other.client == st.client && other.rank > st.rank {
				newer++
				again = again || st.instance != "" && other.instance == st.instance
			}
		}
		if newer < s.limit && !again {
			s.breaks("%v ended, but only %d claims are newer, want at least %d", st, newer, s.limit)
		}
	}
}
