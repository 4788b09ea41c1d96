package copies

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Envoy sends mirrored requests itself, and nobody reads their responses. So they must not end a
// client's stream.

// mirrored sends a copy of each request for an event stream to the cluster shadow.
const mirrored = `                  request_mirror_policies:
                  - cluster: shadow
`

// shadow is a backend that gets copies, and answers each with an event stream.
type shadow struct {
	next http.Handler // answers instead; nil: the shadow answers itself
	mu   sync.Mutex
	came map[string]int // number of copies, by host without port
	live int            // copies that are open
}

// newShadow starts a shadow and returns its address.
func newShadow(t *testing.T, next http.Handler) (*shadow, string) {
	t.Helper()
	s := &shadow{next: next, came: make(map[string]int)}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server.Listener.Addr().String()
}

func (s *shadow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	s.count(func() { s.came[host]++; s.live++ })
	defer s.count(func() { s.live-- })
	if s.next != nil {
		s.next.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	io.WriteString(w, "data: for nobody\n\n")
	http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func (s *shadow) count(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// wantCame waits until n copies have arrived, whether or not they are still open.
func (s *shadow) wantCame(t *testing.T, n int) {
	t.Helper()
	wait.Until(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.came[suffixed] != n {
			return fmt.Errorf("got the copies %v, want %d", s.came, n)
		}
		return nil
	})
}

// want waits until this many copies have arrived for each host, and live of them are open.
func (s *shadow) want(t *testing.T, live int, came map[string]int) {
	t.Helper()
	wait.Until(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.live != live || !maps.Equal(s.came, came) {
			return fmt.Errorf("got the copies %v, %d of them open; want %v, %d", s.came, s.live, came, live)
		}
		return nil
	})
}

// suffixed is the host that Envoy gives to a copy, without its port.
const suffixed = "127.0.0.1-shadow"

var mirrorRules = `{"rules": [` + rigtest.OneRule("response", "") + `, ` + rigtest.OneRule("request", `, "claim_at": "request"`) + `]}`

// Copies do not pass the filters, so they claim nothing and supersede nothing. Nothing ends them
// either: event streams need timeouts that are off, so Envoy reads each copy's response for as long
// as the shadow sends it.
func TestMirroringClaimsNothing(t *testing.T) {
	t.Parallel()
	copies, address := newShadow(t, nil)
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: mirrorRules, LogLevel: "wasm:debug",
		Edits: []rig.Edit{rigtest.OnRoute(mirrored), rigtest.AnotherCluster("shadow", address)}})
	came := wantMirrored(t, r, copies, func(t *testing.T, p rig.Protocol, worker int) *rig.Conn { return rigtest.Dial(t, r, p, worker) })
	copies.want(t, came, map[string]int{suffixed: came})
	if n := rigtest.StatsUnder(t, r, "cluster.shadow.")["upstream_rq_active"]; n != uint64(came) {
		t.Errorf("got %d copies open after their originals have ended, want all %d", n, came)
	}
}

// A limit of their cluster ends copies. The original goes on.
func TestCopiesEndAtTheirClustersLimit(t *testing.T) {
	t.Parallel()
	copies, address := newShadow(t, nil)
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: mirrorRules, LogLevel: "wasm:debug",
		Edits: []rig.Edit{rigtest.OnRoute(mirrored), rigtest.AnotherCluster("shadow", address), rig.Replace("  - name: shadow\n", `  - name: shadow
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {max_stream_duration: 1s}
        explicit_http_config: {http_protocol_options: {}}
`)}})
	s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("response", rigtest.NewClient()))
	copies.want(t, 0, map[string]int{suffixed: 1})
	rigtest.WantFlow(t, r, s)
	rigtest.WantCounts(t, r, "response", rigtest.Counts{Opened: 1, Active: 1})
}

// wantMirrored opens streams that are copied and taken over. It returns how many it opened.
func wantMirrored(t *testing.T, r *rig.Rig, copies *shadow, dial func(t *testing.T, p rig.Protocol, worker int) *rig.Conn) (came int) {
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		for _, rule := range []string{"response", "request"} {
			t.Run("claimed at the "+rule, func(t *testing.T) {
				had, client := rigtest.CountsOf(rigtest.Metrics(t, r), rule), rigtest.NewClient()
				old := rigtest.Open(t, dial(t, p, 0), rigtest.Get(rule, client))
				came++
				copies.want(t, came, map[string]int{suffixed: came})
				rigtest.WantFlow(t, r, old)
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 1, Active: 1})
				newer := rigtest.Open(t, dial(t, p, 1), rigtest.Get(rule, client))
				came++
				rigtest.WantEnd(t, old, rig.Reset)
				copies.want(t, came, map[string]int{suffixed: came})
				rigtest.WantFlow(t, r, newer)
				rigtest.WantLive(t, r, client, newer)
				newer.Close()
				rigtest.WantCountsSince(t, r, rule, had, rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
			})
		}
	})
	return came
}

// The shadow may be the same Envoy. Copies then arrive at the listener for clients, where their
// host distinguishes them from the originals. They need a virtual host of their own anyway, so that
// they are not copied again.
func TestMirroringToTheSameListener(t *testing.T) {
	t.Parallel()
	t.Run("off for copies", func(t *testing.T) {
		t.Parallel()
		r, copies := mirrorToItself(t, "")
		wantMirrored(t, r, copies, func(t *testing.T, p rig.Protocol, _ int) *rig.Conn { return dialAny(t, r, p) })
	})
	// With the filter on, the original and its copy are the same client, and either may claim last.
	t.Run("on for copies", func(t *testing.T) {
		t.Parallel()
		r, copies := mirrorToItself(t, `                typed_per_filter_config:
                  envoy.filters.http.wasm:
                    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                    config: {}
`)
		rigtest.Open(t, dialAny(t, r, rig.HTTP1), rigtest.Get("response", rigtest.NewClient()))
		rigtest.WantCounts(t, r, "response", rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
		copies.wantCame(t, 1)
	})
}

// dialAny opens a connection to any worker. It cannot choose one, because the connections of copies
// change the counters by which the rig finds the worker.
func dialAny(t *testing.T, r *rig.Rig, p rig.Protocol) *rig.Conn {
	t.Helper()
	c, err := r.Dial(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mirrorToItself starts an Envoy whose shadow sends the copies back to it. Copies have their own
// virtual host, with more in its route, and their own backend.
func mirrorToItself(t *testing.T, more string) (r *rig.Rig, copies *shadow) {
	t.Helper()
	back := &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0)}
	_, address := newShadow(t, back)
	copies = &shadow{came: make(map[string]int)}
	const everyone, routes = "            - name: everyone\n", "            name: edge\n            virtual_hosts:\n"
	r = rigtest.Start(t, rig.Options{Concurrency: 2, Filter: mirrorRules, LogLevel: "wasm:debug",
		Between: func(backend http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.Host, suffixed) {
					copies.ServeHTTP(w, r)
					return
				}
				backend.ServeHTTP(w, r)
			})
		},
		Edits: []rig.Edit{rigtest.OnRoute(mirrored), rigtest.AnotherCluster("shadow", address),
			rig.Replace(routes, strings.Replace(routes, "            virtual", "            ignore_port_in_host_matching: true\n            virtual", 1)),
			rig.Replace(everyone, `            - name: copies
              domains: ["*-shadow"]
              routes:
              - match: {prefix: /}
                route: {cluster: backend, timeout: 0s}
`+more+everyone)}})
	edge := &url.URL{Scheme: "http", Host: r.Address()}
	back.Rewrite = func(p *httputil.ProxyRequest) {
		p.SetURL(edge)
		p.Out.Host = p.In.Host
	}
	return r, copies
}
