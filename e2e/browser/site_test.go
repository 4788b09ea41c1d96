//go:build browser

package browser

import (
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

//go:embed page.html
var page []byte

// site is the backend: the page, an endpoint for event streams, and the connection between the test
// and the tabs.
type site struct {
	mu   sync.Mutex
	tabs map[string]*tab
	live int // open event streams
}

// tab is what the test knows about one tab.
type tab struct {
	seen   []string
	orders chan string
}

func newSite() *site { return &site{tabs: map[string]*tab{}} }

func (s *site) tab(name string) *tab {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tabs[name] == nil {
		s.tabs[name] = &tab{orders: make(chan string, 16)}
	}
	return s.tabs[name]
}

// seen returns everything that a tab has reported so far.
func (s *site) seen(name string) []string {
	t := s.tab(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), t.seen...)
}

// open returns the number of open event streams.
func (s *site) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("tab")
	switch r.URL.Path {
	case "/page":
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	case "/tell":
		what, _ := io.ReadAll(r.Body)
		t := s.tab(name)
		s.mu.Lock()
		t.seen = append(t.seen, string(what))
		s.mu.Unlock()
	case "/ask":
		select {
		case order := <-s.tab(name).orders:
			io.WriteString(w, order)
		case <-time.After(5 * time.Second):
		case <-r.Context().Done():
		}
	case "/events":
		s.count(1)
		defer s.count(-1)
		w.Header().Set("Content-Type", "text/event-stream")
		// A short retry: the browser's own three seconds must not be what keeps tabs from fighting.
		fmt.Fprint(w, "retry: 200\ndata: welcome\n\n")
		http.NewResponseController(w).Flush()
		beat := time.NewTicker(100 * time.Millisecond)
		defer beat.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-beat.C:
				if _, err := io.WriteString(w, ":\n\n"); err != nil {
					return
				}
				http.NewResponseController(w).Flush()
			}
		}
	default:
		http.NotFound(w, r)
	}
}

func (s *site) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live += by
}
