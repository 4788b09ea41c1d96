package copies

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

// hedged adds a route for requests that name a winner. On it Envoy sends the request a second time
// if the first response is late, and uses the response that comes first. Other requests are not
// hedged, even if a busy machine makes them late.
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

// rival is a backend that waits for both attempts of a hedged request before it answers.
type rival struct {
	mu   sync.Mutex
	came map[string]*race // by request id
	live int              // open event streams
	next http.Handler
}

// race is the two attempts of one request.
type race struct {
	attempts int
	both     chan struct{} // closed when both attempts have arrived
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

// come returns the number of the attempt, and a channel that is closed when both have arrived.
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

// Envoy has two attempts of a request at the same time. The client has one stream, whichever
// attempt wins, and it lives longer than an attempt may take for its response.
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
						t.Errorf("got the stream of attempt %s, want %s", got, winner)
					}
					wait.Until(t, func() error {
						if n := backend.Live(); n != 1 {
							return fmt.Errorf("got %d streams of hedged requests at the backend, want 1", n)
						}
						return nil
					})
					rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})

					last := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get(rule, client))
					rigtest.WantEnd(t, newer, rig.Reset)
					wait.Until(t, func() error {
						if n := backend.Live(); n != 0 {
							return fmt.Errorf("got %d streams of hedged requests at the backend, want 0", n)
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
