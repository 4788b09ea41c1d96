package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// streams are the open event streams. The demo page watches them.
type streams struct {
	mu        sync.Mutex
	lastEvent int
	lastID    int
	live      map[string][]*stream // by client, oldest first; never empty
	crowds    map[string]crowd     // the clients that have more than one stream
	takeovers []Takeover           // of all clients, newest last; at most maxTakeovers
	changed   chan struct{}        // closed at the next change
}

// stream is an open event stream. The lock of streams guards sent.
type stream struct {
	id          int
	client, tab string
	line        int // see network; 0: none
	opened      time.Time
	sent        int           // events
	wake        chan struct{} // makes it send a comment
}

// crowd is a time during which a client has more than one stream.
type crowd struct {
	since  time.Time
	newest int // the id of the newest stream
}

// maxTakeovers is how many takeovers the page can still see after a moment in which it was not
// connected.
const maxTakeovers = 32

func newStreams() streams {
	return streams{live: make(map[string][]*stream), crowds: make(map[string]crowd), changed: make(chan struct{})}
}

// change wakes those who watch. The lock must be held.
func (all *streams) change() {
	close(all.changed)
	all.changed = make(chan struct{})
}

func (all *streams) open(client, tab string, line int) *stream {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.lastID++
	s := &stream{id: all.lastID, client: client, tab: tab, line: line, opened: time.Now(), wake: make(chan struct{}, 1)}
	all.live[client] = append(all.live[client], s)
	if len(all.live[client]) > 1 {
		c, crowded := all.crowds[client]
		if !crowded {
			c.since = s.opened
		}
		c.newest = s.id
		all.crowds[client] = c
	}
	all.change()
	return s
}

func (all *streams) close(s *stream) {
	all.mu.Lock()
	defer all.mu.Unlock()
	rest := slices.DeleteFunc(all.live[s.client], func(other *stream) bool { return other == s })
	all.live[s.client] = rest
	if len(rest) == 0 {
		delete(all.live, s.client)
	}
	if c, crowded := all.crowds[s.client]; crowded && len(rest) <= 1 {
		delete(all.crowds, s.client)
		if len(rest) == 1 && rest[0].id == c.newest {
			all.took(s, rest[0], time.Since(c.since))
		}
	}
	all.change()
}

// took remembers a takeover. The lock must be held.
func (all *streams) took(from, to *stream, after time.Duration) {
	ms := float64(after.Microseconds()) / 1000
	all.takeovers = append(all.takeovers, Takeover{ID: to.id, From: from.tab, To: to.tab, MS: ms, client: to.client})
	if extra := len(all.takeovers) - maxTakeovers; extra > 0 {
		all.takeovers = slices.Delete(all.takeovers, 0, extra)
	}
}

// wakeOthers makes the client's other streams send a comment. One that was superseded says goodbye
// with the next thing that the backend sends, and need not wait for an event.
func (all *streams) wakeOthers(s *stream) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, other := range all.live[s.client] {
		if other != s {
			select {
			case other.wake <- struct{}{}:
			default: // it has not sent the last one yet
			}
		}
	}
}

// next returns the next event of a stream.
func (all *streams) next(s *stream, request json.RawMessage) Event {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.lastEvent++
	s.sent++
	all.change()
	return Event{Client: s.client, ID: all.lastEvent, Time: time.Now().UTC(), Live: len(all.live[s.client]), Request: request}
}

func (all *streams) count() map[string]int {
	all.mu.Lock()
	defer all.mu.Unlock()
	n := make(map[string]int, len(all.live))
	for client, open := range all.live {
		n[client] = len(open)
	}
	return n
}

// State is what the page is told of a client, at each change.
type State struct {
	Streams   []Stream   `json:"streams"`    // oldest first
	CrowdedMS *float64   `json:"crowded_ms"` // since when the client has more than one stream; null: it has not
	Takeovers []Takeover `json:"takeovers"`  // oldest first
}

// Stream is an open stream at the backend.
type Stream struct {
	ID     int    `json:"id"`
	Tab    string `json:"tab"`    // how the page calls itself, or ""
	Events int    `json:"events"` // that the backend has sent
	Lost   bool   `json:"lost"`   // its client has gone without a word: nobody reads it
}

// Takeover is the end of a time during which a client had more than one stream, if the newest one
// is left.
type Takeover struct {
	ID   int     `json:"id"`   // of the newest stream
	From string  `json:"from"` // the tab of the old stream that ended last
	To   string  `json:"to"`   // the tab of the newest
	MS   float64 `json:"ms"`   // from the opening of the second stream to the end of the last old one

	client string
}

// state returns what is to be told of a client, and what the next change closes.
func (all *streams) state(client string, lost func(line int) bool) (State, <-chan struct{}) {
	all.mu.Lock()
	defer all.mu.Unlock()
	now := State{Streams: []Stream{}, Takeovers: []Takeover{}}
	for _, s := range all.live[client] {
		now.Streams = append(now.Streams, Stream{s.id, s.tab, s.sent, lost(s.line)})
	}
	if c, crowded := all.crowds[client]; crowded {
		ms := float64(time.Since(c.since).Microseconds()) / 1000
		now.CrowdedMS = &ms
	}
	for _, t := range all.takeovers {
		if t.client == client {
			now.Takeovers = append(now.Takeovers, t)
		}
	}
	return now, all.changed
}

// feedPause is the shortest time between two messages of a feed.
const feedPause = 20 * time.Millisecond

// feed tells a page of each change of a client's streams, as an event stream.
func (b *Backend) feed(w http.ResponseWriter, r *http.Request) {
	client := r.URL.Query().Get("client")
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	for {
		now, changed := b.streams.state(client, b.network.lost)
		data, err := json.Marshal(now)
		if err != nil {
			panic(fmt.Sprintf("demo: encode a state: %v", err)) // it has strings and numbers only
		}
		if _, err := fmt.Fprintf(w, "retry: 500\ndata: %s\n\n", data); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
		select {
		case <-r.Context().Done():
			return
		case <-time.After(feedPause):
		}
	}
}
