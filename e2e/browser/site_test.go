//go:build browser

package browser

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/streamlatch/streamlatch/envoy/demo"
)

//go:embed page.html
var pageHTML []byte

// site is the backend: the page with the module that it uses, and event streams at every path that
// ends in /events.
type site struct {
	files http.Handler // the demo, for its module

	mu    sync.Mutex
	live  map[string]int       // open event streams, by client
	asked map[string][]request // what has arrived, by client
	quiet map[string]chan struct{}
	beats map[string]int // comments that were sent, by client
}

// request is what the site remembers of a request for a stream.
type request struct{ method, lastEventID, body string }

func newSite() *site {
	return &site{
		files: demo.New(time.Second),
		live:  map[string]int{}, asked: map[string][]request{}, quiet: map[string]chan struct{}{}, beats: map[string]int{},
	}
}

// open returns the number of a client's open event streams.
func (s *site) open(client string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live[client]
}

// requests returns what a client has asked for so far.
func (s *site) requests(client string) []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.asked[client]...)
}

// sent returns how many comments a client's streams have got.
func (s *site) sent(client string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.beats[client]
}

// speak ends the silence of a client's quiet streams.
func (s *site) speak(client string) { close(s.silence(client)) }

func (s *site) silence(client string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet[client] == nil {
		s.quiet[client] = make(chan struct{})
	}
	return s.quiet[client]
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/page":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(pageHTML)
	case strings.HasSuffix(r.URL.Path, "/events"):
		s.events(w, r)
	default:
		s.files.ServeHTTP(w, r)
	}
}

// The query parameter kind chooses another stream than one that welcomes and then goes on:
//
//	brief  ends after the welcome
//	quiet  sends only comments, until the test calls speak
//	odd    sends what a parser may read wrongly, and ends
//	none   is no stream, but a 503 without a time to wait
func (s *site) events(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	client, kind := r.URL.Query().Get("client"), r.URL.Query().Get("kind")
	s.mu.Lock()
	s.asked[client] = append(s.asked[client], request{r.Method, r.Header.Get("last-event-id"), string(body)})
	n := len(s.asked[client])
	s.mu.Unlock()
	if kind == "none" {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	s.count(client, 1)
	defer s.count(client, -1)
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(text string) bool {
		_, err := io.WriteString(w, text)
		return err == nil && http.NewResponseController(w).Flush() == nil
	}
	// A short retry: the browser's own three seconds must not be what keeps tabs from fighting.
	welcome := fmt.Sprintf("retry: 200\nid: é%d\ndata: welcome\n\n", n)
	switch kind {
	case "brief":
		send(welcome)
		return
	case "odd":
		for _, part := range odd {
			send(part)
		}
		return
	case "quiet":
		welcome = ":\n\n"
	}
	if !send(welcome) {
		return
	}
	silence := s.silence(client)
	if kind != "quiet" {
		silence = nil
	}
	beat := time.NewTicker(100 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-silence:
			silence = nil
			send("data: at last\n\n")
		case <-beat.C:
			if !send(":\n\n") {
				return
			}
			s.mu.Lock()
			s.beats[client]++
			s.mu.Unlock()
		}
	}
}

// odd is a stream in parts: each is written alone.
var odd = []string{
	"\ufeffdata: a mark\n\n",
	"retry: 60000\n\n", // long enough that the stream does not begin again
	"id: 1\ndata: lf\n\n", "id: 2\r\ndata: crlf\r\n\r\n", "id: 3\rdata: cr\r\r", ":\n",
	"data: a\ndata:\ndata:  b\n\n",
	"event: other\ndata: not heard\n\n",
	"da", "ta: in pieces \xc3", "\xa9\r", "\n", "\r\n",
	"data\n\n", "data: colon: here\n\n", "nothing: x\nid\ndata: no id\n\n",
	"id: 4\n\n", "id: 5\x006\ndata: null in id\n\n", "retry: soon\ndata: retry\n\n",
	"event: other\n\n", "data: type is back\n\n",
	"data: last\n\n", "data: unfinished\n",
}

func (s *site) count(client string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[client] += by
}
