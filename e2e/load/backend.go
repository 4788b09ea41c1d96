package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A backend streams events, and knows which streams are open on its side.
type backend struct {
	mu     sync.Mutex
	server *http.Server
	port   int
	live   []*upstream
	turn   int           // the place in live that had the last event
	at     map[int64]int // the place in live of each stream
}

// An upstream is the backend's side of a stream.
type upstream struct {
	id    int64
	event chan struct{}
}

func startBackend() (*backend, error) {
	b := &backend{at: make(map[int64]int)}
	return b, b.serve()
}

// serve listens: first on a port that the system chooses, and later on the same one.
func (b *backend) serve() error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(b.port)))
	if err != nil {
		return err
	}
	b.port = listener.Addr().(*net.TCPAddr).Port
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	// More than Envoy's own limit, 1024. Until the settings have arrived, Envoy goes up to that,
	// and streams beyond the server's limit would be refused.
	settings := &http.HTTP2Config{MaxConcurrentStreams: 2000}
	b.server = &http.Server{Handler: b, Protocols: &protocols, HTTP2: settings}
	go b.server.Serve(listener)
	return nil
}

// restart cuts all connections, as the end of a process does, and listens again after a pause.
func (b *backend) restart(pause time.Duration) error {
	if err := b.stop(); err != nil {
		return err
	}
	time.Sleep(pause)
	return b.serve()
}

func (b *backend) stop() error { return b.server.Close() }

// ids returns the streams that are open.
func (b *backend) ids() map[int64]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := make(map[int64]bool, len(b.live))
	for _, u := range b.live {
		ids[u.id] = true
	}
	return ids
}

// send sends an event on n streams, on one after the other in turn. A stream whose last event is
// still to be written gets none.
func (b *backend) send(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range n {
		if len(b.live) == 0 {
			return
		}
		// Downwards: a stream that takes the place of a closed one comes from above, and has had
		// its turn.
		if b.turn--; b.turn < 0 || b.turn >= len(b.live) {
			b.turn = len(b.live) - 1
		}
		select {
		case b.live[b.turn].event <- struct{}{}:
		default:
		}
	}
}

func (b *backend) open(id int64) (*upstream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.at[id]; ok {
		return nil, errors.New("two requests for one stream")
	}
	u := &upstream{id: id, event: make(chan struct{}, 1)}
	b.at[id] = len(b.live)
	b.live = append(b.live, u)
	return u, nil
}

func (b *backend) close(u *upstream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, last := b.at[u.id], len(b.live)-1
	b.live[at] = b.live[last]
	b.at[b.live[at].id] = at
	b.live[last] = nil
	b.live = b.live[:last]
	delete(b.at, u.id)
}

// filler is what a flood consists of.
var filler = append(bytes.Repeat([]byte("data: x\n"), 2<<10), '\n')

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.Header.Get(headerID), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	u, err := b.open(id)
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer b.close(u)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	if out.Flush() != nil {
		return
	}
	for r.Header.Get(headerFlood) == "true" {
		if _, err := w.Write(filler); err != nil {
			return
		}
	}
	for {
		select {
		case <-u.event:
			if _, err := io.WriteString(w, fmt.Sprintf("data: %d\n\n", time.Now().UnixMilli())); err != nil || out.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}
