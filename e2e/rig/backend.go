package rig

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
)

// Answer is how the backend answers a request. The request says it in a header, so tests that run
// at the same time do not affect each other.
type Answer string

const (
	Events       Answer = ""             // an event stream that stays open
	JSON         Answer = "json"         // 200, and a document
	Unauthorized Answer = "unauthorized" // 401
	Unavailable  Answer = "unavailable"  // 503
	Brief        Answer = "brief"        // an event stream of one event
	Flood        Answer = "flood"        // an event stream that never stops sending
	Echo         Answer = "echo"         // 200, and the request as it arrived at the backend
	Compressed   Answer = "compressed"   // an event stream with content-encoding: gzip, whose body is not compressed
	Counted      Answer = "counted"      // an event stream with a content-length that it never reaches
)

// The headers in which the rig's clients talk to the backend. The filter looks at none of them.
const (
	headerClient = "X-Rig-Client"
	headerStream = "X-Rig-Stream"
	headerAnswer = "X-Rig-Answer"
)

// Backend answers the requests of the rig's clients. It counts open streams from what it sees
// itself: a stream is open from its first byte until the backend learns that it has ended.
type Backend struct {
	mu    sync.Mutex
	live  map[int]*upstream
	asked map[string]int // number of requests, by client
}

// upstream is the backend's side of a stream.
type upstream struct {
	client string
	events chan string // text that waits to be sent
	end    chan struct{}
	sent   int // bytes that a flood has sent
}

func newBackend() *Backend {
	return &Backend{live: make(map[int]*upstream), asked: make(map[string]int)}
}

// Asked returns how many requests of the client have arrived at the backend.
func (b *Backend) Asked(client string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.asked[client]
}

// Live returns the ids of the client's open streams, in ascending order.
func (b *Backend) Live(client string) []int { return b.All()[client] }

// All returns the ids of all open streams, by client.
func (b *Backend) All() map[string][]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string][]int)
	for _, id := range slices.Sorted(maps.Keys(b.live)) {
		all[b.live[id].client] = append(all[b.live[id].client], id)
	}
	return all
}

// Send sends an event on a stream. It returns false if the stream is not open, or has too many
// events waiting.
func (b *Backend) Send(id int, data string) bool { return b.Write(id, event(data)) }

// Write is like Send, but sends text unchanged. The text need not be exactly one event.
func (b *Backend) Write(id int, text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.live[id]
	if s == nil {
		return false
	}
	select {
	case s.events <- text:
		return true
	default:
		return false
	}
}

// End ends an open stream as a backend does that has finished its response.
func (b *Backend) End(id int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.live[id]; s != nil {
		close(s.end)
		s.end = nil
	}
}

// Sent returns how many bytes a flood has sent.
func (b *Backend) Sent(id int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.live[id]; s != nil {
		return s.sent
	}
	return 0
}

func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Read the whole body: otherwise an HTTP/1.1 server does not notice that the client has gone.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.countRequest(r.Header.Get(headerClient))
	answer := Answer(r.Header.Get(headerAnswer))
	switch answer {
	case JSON:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"answer":"json"}`)
	case Unauthorized:
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case Unavailable:
		http.Error(w, "not now", http.StatusServiceUnavailable)
	case Echo:
		echo(w, r, body)
	case Events, Brief, Flood, Compressed, Counted:
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Backend", "rig")
		switch answer {
		case Compressed:
			w.Header().Set("Content-Encoding", "gzip")
		case Counted:
			w.Header().Set("Content-Length", "1000000")
		}
		if r.Method == http.MethodHead {
			return
		}
		b.stream(w, r, answer, body)
	default:
		http.Error(w, fmt.Sprintf("unknown answer %q", answer), http.StatusBadRequest)
	}
}

// stream sends an event stream. Its first event is the body of the request.
func (b *Backend) stream(w http.ResponseWriter, r *http.Request, answer Answer, body []byte) {
	id, err := strconv.Atoi(r.Header.Get(headerStream))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s, end := b.open(id, r.Header.Get(headerClient))
	defer b.close(id)
	out := http.NewResponseController(w)
	send := func(text string) error {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := send(event(string(body))); err != nil || answer == Brief {
		return
	}
	for answer == Flood {
		data := string(bytes.Repeat([]byte("x"), 32<<10))
		if send(event(data)) != nil {
			return
		}
		b.countSent(s, len(data))
	}
	for {
		select {
		case text := <-s.events:
			if send(text) != nil {
				return
			}
		case <-end:
			return
		case <-r.Context().Done():
			return
		}
	}
}

func (b *Backend) open(id int, client string) (*upstream, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	const maxWaiting = 16 // events
	s := &upstream{client: client, events: make(chan string, maxWaiting), end: make(chan struct{})}
	b.live[id] = s
	return s, s.end
}

func (b *Backend) close(id int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.live, id)
}

func event(data string) string { return "data: " + data + "\n\n" }

func (b *Backend) countRequest(client string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[client]++
}

func (b *Backend) countSent(s *upstream, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.sent += n
}

// echo answers with the request as it arrived, so a test can see what a filter changed in it. Its
// unusual response headers show what a filter changes in the response.
func echo(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header()["X-Backend-Twice"] = []string{"one", "two"}
	w.Header().Set("Set-Cookie", "a=b; Path=/")
	fmt.Fprintf(w, "%s %s\n", r.Method, r.RequestURI)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(w, "%s: %q\n", name, r.Header[name])
	}
	fmt.Fprintf(w, "\n%s", body)
}
