package front

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// hedged is a route of its own for requests that name a winner: Envoy asks a second time if the first answer is late,
// and takes the one that comes first. Whatever else is late on a busy machine is no such request.
var hedged = rig.Replace("              - name: event-streams\n", `              - name: hedged
                match:
                  prefix: /
                  headers: [{name: x-winner, present_match: true}]
                route:
                  cluster: backend
                  timeout: 0s
                  idle_timeout: 0s
                  retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s}
                  hedge_policy: {hedge_on_per_try_timeout: true}
                typed_per_filter_config:
                  envoy.filters.http.wasm:
                    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                    config: {}
              - name: event-streams
`)

// A rival backend has both attempts of a hedged request before it answers either.
type rival struct {
	mu   sync.Mutex
	came map[string]*race // by what Envoy calls the request
	live int              // event streams
	next http.Handler
}

// race is the attempts of one request.
type race struct {
	attempts int
	both     chan struct{} // closed when there are two
}

func (b *rival) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	winner := r.Header.Get("X-Winner")
	if winner == "" {
		b.next.ServeHTTP(w, r)
		return
	}
	attempt, both := b.come(r.Header.Get("X-Request-Id"))
	select {
	case <-both:
	case <-r.Context().Done():
		return
	}
	if winner != "both" && winner != attempt {
		<-r.Context().Done()
		return
	}
	b.add(1)
	defer b.add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "data: %s\n\n", attempt)
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// come returns which attempt it is, and what tells when both are there.
func (b *rival) come(request string) (attempt string, both <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.came[request]
	if of == nil {
		of = &race{both: make(chan struct{})}
		b.came[request] = of
	}
	of.attempts++
	if of.attempts == 2 {
		close(of.both)
	}
	return strconv.Itoa(of.attempts), of.both
}

func (b *rival) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live += n
}

func (b *rival) Live() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.live
}

// Two attempts are on their way at the same time, and the client has one stream, whichever wins. It outlives the time
// that an attempt has for its answer.
func TestHedgingClaimsOnce(t *testing.T) {
	t.Parallel()
	backend := &rival{came: make(map[string]*race)}
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: againRules, LogLevel: "wasm:debug", Edits: []rig.Edit{hedged},
		Between: func(next http.Handler) http.Handler { backend.next = next; return backend }})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"response", "request"} {
			for _, winner := range []string{"1", "2", "both"} {
				t.Run(fmt.Sprintf("winner %s, claimed at the %s", winner, rule), func(t *testing.T) {
					had, client := rigtest.CountsOf(rigtest.Metrics(t, r), rule), rigtest.NewClient()
					old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(rule, client))
					q := rigtest.Get(rule, client)
					q.Header = map[string]string{"x-winner": winner}
					newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), q)
					rigtest.WantEnd(t, old, rig.Reset)
					rigtest.WantLive(t, r, client)
					if got := <-newer.Events(); winner != "both" && got != winner {
						t.Errorf("the stream is of attempt %s, want %s", got, winner)
					}
					wait.Until(t, func() error {
						if n := backend.Live(); n != 1 {
							return fmt.Errorf("the backend has %d streams of the client, want 1", n)
						}
						return nil
					})
					rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})

					last := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(rule, client))
					rigtest.WantEnd(t, newer, rig.Reset)
					wait.Until(t, func() error {
						if n := backend.Live(); n != 0 {
							return fmt.Errorf("the backend has %d streams of the client, want that of the last alone", n)
						}
						return nil
					})
					rigtest.WantFlow(t, r, last)
					last.Close()
					rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 3, Superseded: 2, Released: 1})
				})
			}
		}
	})
}
