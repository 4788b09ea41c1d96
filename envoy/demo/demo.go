// Package demo is the backend of the quick start and of the end-to-end tests, with a page that
// shows what the filter does. It streams events to every client and counts the open streams of each
// client. The count shows whether the gateway works: if the gateway forgets a stream, or ends it
// only on the client's side, the backend has two streams of one client.
//
//	GET  /                 the demo page
//	GET  /streamlatch.js   the module with which pages open event streams through Streamlatch
//	GET  /events?client=X  an event stream: one JSON event at once, then one per interval
//	POST /events?client=X  the same; the request has a JSON body, as for MCP servers and LLM APIs
//	GET  /live             the number of open streams, as JSON
//	     /demo/            what only the page needs: see [Backend.Behind] and network.go
//
// Tests choose another response with a query parameter of /events: with status=503 the response has
// that status and no stream; with type=json it is JSON, not an event stream; with events=3 the
// stream ends normally after three events.
package demo

import (
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// maxBody is the largest body that POST /events accepts, in bytes.
const maxBody = 1 << 20

//go:embed page.html page.css page.js streamlatch.js
var files embed.FS

// Backend is the http.Handler of the demo.
type Backend struct {
	interval time.Duration
	mux      *http.ServeMux
	gateways gateways
	network  network
	streams  streams
}

// New returns a backend that sends one event per interval on each stream.
func New(interval time.Duration) *Backend {
	b := &Backend{interval: interval, mux: http.NewServeMux(), streams: newStreams(), network: network{lines: make(map[int]*line)}}
	b.mux.HandleFunc("GET /{$}", serveFile("page.html"))
	for _, name := range []string{"page.css", "page.js", "streamlatch.js"} {
		b.mux.HandleFunc("GET /"+name, serveFile(name))
	}
	b.mux.HandleFunc("GET /events", b.events)
	b.mux.HandleFunc("POST /events", b.events)
	b.mux.HandleFunc("GET /live", b.serveLive)
	b.mux.HandleFunc("GET /demo/envoys", b.envoys)
	b.mux.HandleFunc("GET /demo/feed", b.feed)
	b.mux.HandleFunc("GET /demo/line/{path...}", b.line)
	// These change something, so no page of another origin may call them.
	own := http.NewCrossOriginProtection()
	b.mux.Handle("POST /demo/cut", own.Handler(http.HandlerFunc(b.cut)))
	b.mux.Handle("POST /demo/over", own.Handler(http.HandlerFunc(b.over)))
	b.mux.Handle("POST /demo/kick", own.Handler(http.HandlerFunc(b.kick)))
	return b
}

// NewServer returns a server for h that accepts HTTP/1.1 and HTTP/2 without TLS (h2c, with prior
// knowledge).
func NewServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: h, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
}

func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.mux.ServeHTTP(w, r) }

// Live returns the number of open streams by client. A client without a stream has no entry.
func (b *Backend) Live() map[string]int { return b.streams.count() }

// An Event is the data of one event.
type Event struct {
	Client  string          `json:"client"`
	ID      int             `json:"id"` // also the id field of the event; unique in a backend
	Time    time.Time       `json:"time"`
	Live    int             `json:"live"`              // number of open streams of the client, with this one
	Request json.RawMessage `json:"request,omitempty"` // the body of a POST
}

func (b *Backend) events(w http.ResponseWriter, r *http.Request) {
	// Read the body first: over HTTP/1.1 the server discards it when the response begins.
	body, err := readJSON(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	query := r.URL.Query()
	want, err := parseWanted(query)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !want.isStream() {
		writeJSON(w, want.status, map[string]int{"status": want.status})
		return
	}
	number, _ := strconv.Atoi(query.Get("line")) // 0: the request did not come through the demo's network
	s := b.streams.open(query.Get("client"), query.Get("tab"), number)
	defer b.streams.close(s)
	b.send(w, r, s, body, want.events)
}

// firstEventDelay is the time before the first event of a stream. A superseded stream ends only
// when Envoy has seen the response headers of the new one; the delay makes Event.Live count without
// it. Meanwhile the stream wakes the others, once in wakeDelay.
const (
	firstEventDelay = 20 * time.Millisecond
	wakeDelay       = 5 * time.Millisecond
)

// reconnection is how long an EventSource waits after the end of its stream, unless the filter
// tells it another time. The browser's own time is some seconds.
const reconnection = time.Second

// send sends events until the request is canceled, or until it has sent limit events; 0 is no
// limit.
func (b *Backend) send(w http.ResponseWriter, r *http.Request, s *stream, request json.RawMessage, limit int) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	write := func(text string) bool {
		_, err := io.WriteString(w, text)
		return err == nil && out.Flush() == nil
	}
	if !write(fmt.Sprintf("retry: %d\n\n", reconnection.Milliseconds())) {
		return
	}
	for range firstEventDelay / wakeDelay {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(wakeDelay):
		}
		b.streams.wakeOthers(s)
	}
	tick := time.NewTicker(b.interval)
	defer tick.Stop()
	for sent := 1; ; sent++ {
		event := b.streams.next(s, request)
		data, err := json.Marshal(event)
		if err != nil {
			panic(fmt.Sprintf("demo: encode an event: %v", err)) // Event.Request is valid JSON: see readJSON
		}
		if !write(fmt.Sprintf("id: %d\ndata: %s\n\n", event.ID, data)) || sent == limit {
			return
		}
		for waiting := true; waiting; {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
				waiting = false
			case <-s.wake:
				if !write(":\n\n") {
					return
				}
			}
		}
	}
}

func (b *Backend) serveLive(w http.ResponseWriter, _ *http.Request) {
	status := Status{Clients: b.Live()}
	for _, n := range status.Clients {
		status.Total += n
	}
	writeJSON(w, http.StatusOK, status)
}

// Status is the response of /live.
type Status struct {
	Total   int            `json:"total"`
	Clients map[string]int `json:"clients"`
}

func serveFile(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		http.ServeFileFS(w, r, files, name)
	}
}

// readJSON reads the body of a request and checks that it is JSON. A GET needs none.
func readJSON(w http.ResponseWriter, r *http.Request) (json.RawMessage, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case err != nil:
		return nil, fmt.Errorf("request body: %w", err)
	case r.Method == http.MethodGet && len(body) == 0:
		return nil, nil
	case !json.Valid(body):
		return nil, fmt.Errorf("request body %.100q, want JSON", body)
	}
	return body, nil
}

// wanted is the response that the query parameters ask for.
type wanted struct {
	status int
	json   bool
	events int // 0: no limit
}

func (w wanted) isStream() bool { return w.status == http.StatusOK && !w.json }

func parseWanted(query url.Values) (wanted, error) {
	want := wanted{status: http.StatusOK}
	if v := query.Get("status"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 200 || n > 599 {
			return want, fmt.Errorf("status %q, want 200 to 599", v)
		}
		want.status = n
	}
	switch v := query.Get("type"); v {
	case "", "sse":
	case "json":
		want.json = true
	default:
		return want, fmt.Errorf("type %q, want \"sse\" or \"json\"", v)
	}
	if v := query.Get("events"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return want, fmt.Errorf("events %q, want a number from 1", v)
		}
		want.events = n
	}
	return want, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
