// Package demo is the backend of the quick start and of the end-to-end tests: it streams events to whoever asks and
// counts, per client, the streams it has open. That count is the point: a gateway that loses track of a stream, or
// ends it on one side only, shows here as a client with two live streams.
//
//	GET  /                 the demo page
//	GET  /events?client=X  an event stream: one JSON event at once, then one every interval
//	POST /events?client=X  the same in answer to a JSON body, as MCP servers and LLM APIs do
//	GET  /live             how many streams are open, as JSON
//
// Three query parameters of /events make the backend answer as tests need it: status=503 answers with that status,
// type=json with something that is no event stream, events=3 ends the stream in good order after three events.
package demo

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// maxBody bounds what POST /events reads.
const maxBody = 1 << 20

//go:embed page.html
var page []byte

// Backend is the demo's http.Handler.
type Backend struct {
	interval time.Duration
	mux      *http.ServeMux

	mu     sync.Mutex
	lastID int
	live   map[string]int // streams open now, by client; a client without any is not in it
}

// New returns a backend that sends an event every interval.
func New(interval time.Duration) *Backend {
	b := &Backend{interval: interval, mux: http.NewServeMux(), live: make(map[string]int)}
	b.mux.HandleFunc("GET /{$}", servePage)
	b.mux.HandleFunc("GET /events", b.events)
	b.mux.HandleFunc("POST /events", b.events)
	b.mux.HandleFunc("GET /live", b.serveLive)
	return b
}

// NewServer returns a server for h that speaks HTTP/1.1 and, to those who begin with it, HTTP/2 without TLS.
func NewServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
}

func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.mux.ServeHTTP(w, r) }

// Live returns how many streams each client has open now. Clients without any are not in it.
func (b *Backend) Live() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.live)
}

func (b *Backend) open(client string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live[client]++
}

func (b *Backend) close(client string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live[client]--; b.live[client] == 0 {
		delete(b.live, client)
	}
}

// An Event is the data of one event.
type Event struct {
	Client  string          `json:"client"`
	ID      int             `json:"id"`                // also the event's id; no two events of a backend share one
	Time    time.Time       `json:"time"`              // the server's
	Live    int             `json:"live"`              // streams that the client has open at the backend, this one included
	Request json.RawMessage `json:"request,omitempty"` // the body that a POST came with
}

func (b *Backend) next(client string, request json.RawMessage) Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastID++
	return Event{Client: client, ID: b.lastID, Time: time.Now().UTC(), Live: b.live[client], Request: request}
}

func (b *Backend) events(w http.ResponseWriter, r *http.Request) {
	// First of all: once an answer has begun, the server gives up what is unread of an HTTP/1.1 request.
	body, err := readJSON(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	query := r.URL.Query()
	as, err := parseKnobs(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !as.stream() {
		writeJSON(w, as.status, map[string]int{"status": as.status})
		return
	}
	b.stream(w, r, query.Get("client"), body, as.events)
}

// settle is how long a stream waits before its first event.
const settle = 50 * time.Millisecond

// stream sends events until the request is cancelled, or limit events are sent if limit is not 0.
func (b *Backend) stream(w http.ResponseWriter, r *http.Request, client string, request json.RawMessage, limit int) {
	b.open(client)
	defer b.close(client)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	if err := out.Flush(); err != nil {
		return
	}
	// The stream that this one supersedes ends when Envoy has seen these headers: a moment later the count is right.
	select {
	case <-r.Context().Done():
		return
	case <-time.After(settle):
	}
	tick := time.NewTicker(b.interval)
	defer tick.Stop()
	for sent := 1; ; sent++ {
		event := b.next(client, request)
		data, err := json.Marshal(event)
		if err != nil {
			panic(fmt.Sprintf("demo: an event does not encode: %v", err)) // its one free part, the request, has been parsed
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", event.ID, data); err != nil {
			return
		}
		if err := out.Flush(); err != nil || sent == limit {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

func (b *Backend) serveLive(w http.ResponseWriter, _ *http.Request) {
	live := Status{Clients: b.Live()}
	for _, n := range live.Clients {
		live.Total += n
	}
	writeJSON(w, http.StatusOK, live)
}

// Status is what /live answers.
type Status struct {
	Total   int            `json:"total"`
	Clients map[string]int `json:"clients"`
}

func servePage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(page)
}

// readJSON reads a request's body; a GET has none.
func readJSON(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err != nil:
		return nil, fmt.Errorf("request body: %w", err)
	case r.Method == http.MethodGet && len(body) == 0:
		return nil, nil
	case !json.Valid(body):
		return nil, errors.New("request body: want JSON")
	}
	return body, nil
}

// knobs is how a test wants /events to answer.
type knobs struct {
	status int
	json   bool
	events int
}

func (k knobs) stream() bool { return k.status == http.StatusOK && !k.json }

func parseKnobs(query url.Values) (knobs, error) {
	k := knobs{status: http.StatusOK}
	if v := query.Get("status"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 200 || n > 599 {
			return k, fmt.Errorf("status: %q is not one from 200 to 599", v)
		}
		k.status = n
	}
	switch v := query.Get("type"); v {
	case "", "sse":
	case "json":
		k.json = true
	default:
		return k, fmt.Errorf("type: %q is neither sse nor json", v)
	}
	if v := query.Get("events"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return k, fmt.Errorf("events: %q is not a number from 1", v)
		}
		k.events = n
	}
	return k, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
