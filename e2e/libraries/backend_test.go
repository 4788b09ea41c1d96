//go:build libraries

package libraries

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A backend answers every request with an event stream that stays open. It sends one event, whose
// id no other stream has, and then comments. So a client's place in the stream is the id of its
// last stream.
type backend struct {
	mu      sync.Mutex
	newest  int
	streams map[string][]stream // by what key returns, in the order in which they opened
}

// A stream is what the backend knows of one.
type stream struct {
	id    string
	after string // the last event id that its client sent
}

// of returns the streams with a key so far.
func (b *backend) of(key string) []stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.streams[key])
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key, err := keyOf(r.RequestURI)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	after := r.Header.Get("Last-Event-Id")
	if after == "" {
		after = r.URL.Query().Get("lastEventId") // event-source-polyfill
	}
	id := b.open(key, after)

	w.Header().Set("Content-Type", "text/event-stream")
	text := fmt.Sprintf("id: %s\ndata: hello\n\n", id)
	comments := time.NewTicker(500 * time.Millisecond) // a goodbye needs something to follow
	defer comments.Stop()
	for {
		if _, err := w.Write([]byte(text)); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-comments.C:
			text = ":\n\n"
		case <-r.Context().Done():
			return
		}
	}
}

func (b *backend) open(key, after string) (id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.newest++
	id = strconv.Itoa(b.newest)
	b.streams[key] = append(b.streams[key], stream{id, after})
	return id
}
