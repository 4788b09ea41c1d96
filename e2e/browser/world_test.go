//go:build browser

// Package browser tests what a page in a real browser sees. It needs Chromium, and therefore a
// build tag: make browser.
package browser

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/browser/chromium"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// All tests share one browser. Those of a world share an Envoy too, where each has a rule of its
// own.
var (
	browser = shared(chromium.Start)
	backend = newSite()
	edge    = shared(func() (*rig.Rig, error) {
		return rig.Start(context.Background(), rig.Options{Concurrency: 2, Filter: filter, Handler: backend, Edits: edits})
	})
	stops   []func() error // of what has been started
	stopsMu sync.Mutex
)

// shared returns a function that starts something once, which the end of all tests stops.
func shared[T interface{ Stop() error }](start func() (T, error)) func() (T, error) {
	return sync.OnceValues(func() (T, error) {
		v, err := start()
		if err == nil {
			stopsMu.Lock()
			defer stopsMu.Unlock()
			stops = append(stops, v.Stop)
		}
		return v, err
	})
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // they mostly wait for the filter's clocks
		panic(err)
	}
	code := m.Run()
	for _, stop := range stops {
		if err := stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

const total = 40 // max_total_streams

const tab = `, "instance": [{"query": "tab"}]`

var filter = fmt.Sprintf(`{"max_total_streams": %d, "rules": [`, total) + strings.Join([]string{
	rigtest.OneRule("loser", tab+`, "retry": "200ms"`),
	rigtest.OneRule("fight", `, "takeover_limit": {"max_tokens": 2, "fill_interval": "2s"}, "retry": "200ms"`),
	rigtest.OneRule("flaky", tab+`, "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`),
	rigtest.OneRule("reject", `, "on_duplicate": "reject_new"`),
	rigtest.OneRule("sticky", `, "goodbye_grace": "5s", "retry": "10m"`),
	rigtest.OneRule("packed", `, "goodbye_grace": "5s", "retry": "10m"`),
	rigtest.OneRule("cross", tab+`, "retry": "200ms"`),
	rigtest.OneRule("polite", tab+`, "goodbye_grace": "5s", "retry": "200ms"`),
	rigtest.OneRule("named", tab),
	rigtest.OneRule("curt", tab+`, "retry": "200ms"`),
	rigtest.OneRule("slow", tab+`, "takeover_limit": {"max_tokens": 1, "fill_interval": "15s"}, "retry": "500ms"`),
	rigtest.OneRule("late", tab+`, "takeover_limit": {"max_tokens": 1, "fill_interval": "10s"}, "retry": "500ms"`),
	rigtest.OneRule("early", tab+`, "takeover_limit": {"max_tokens": 1, "fill_interval": "15s"}, "retry": "500ms", "claim_at": "request"`),
	rigtest.OneRule("mortal", `, "goodbye_grace": "5s", "max_lifetime": "1s"`),
	rigtest.OneRule("plain", `, "retry": "500ms"`),
	`{"name": "long", "match": {"path": {"regex": "/long/[a-z]+/events"}}, "client": [{"query": "client"}], "retry": "500ms"}`,
}, ", ") + `]}`

// edits put cors in front of the filter, for pages on localhost, and a compressor, for the rule
// packed.
var edits = []rig.Edit{
	rigtest.Before(rigtest.CORSFilter + `          - name: envoy.filters.http.compressor
            disabled: true
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
              response_direction_config: {common_config: {content_type: [text/event-stream]}}
              compressor_library:
                name: gzip
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
`),
	rig.Replace("            - name: everyone\n              domains: [\"*\"]\n              routes:\n", `            - name: everyone
              domains: ["*"]
              typed_per_filter_config:
                envoy.filters.http.cors:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
                  allow_origin_string_match: [{prefix: "http://localhost:"}]
              routes:
              - match: {prefix: /packed/}
                route: {cluster: backend, timeout: 0s, idle_timeout: 0s}
                typed_per_filter_config:
                  envoy.filters.http.compressor:
                    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                    config: {}
                  envoy.filters.http.wasm:
                    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                    config: {}
`),
}

// world is what one test sees: the shared Envoy through its own rule and client.
type world struct {
	*rig.Rig
	*site
	t            *testing.T
	rule, client string
}

func start(t *testing.T, rule string) *world {
	t.Helper()
	r, err := edge()
	if err != nil {
		t.Fatal(err)
	}
	return &world{r, backend, t, rule, rigtest.NewClient()}
}

// events returns the path of the test's event streams, with more query parameters: "tab", "a".
func (w *world) events(parameters ...string) string {
	query := url.Values{"client": {w.client}}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	return "/" + w.rule + "/events?" + query.Encode()
}

// page is a tab of the browser.
type page struct {
	*chromium.Page
	t *testing.T
}

var wide = chromium.View{Width: 1280, Height: 800}

// show opens an address in a new tab, until the end of the test.
func show(t *testing.T, address string, view chromium.View) *page {
	t.Helper()
	b, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	p, err := b.Open(ctx, address, view)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return &page{p, t}
}

// do runs JavaScript in the page.
func (p *page) do(expression string) {
	p.t.Helper()
	if err := p.Evaluate(p.t.Context(), expression, nil); err != nil {
		p.t.Fatal(err)
	}
}

// value returns what JavaScript in the page returns.
func value[T any](p *page, expression string) T {
	p.t.Helper()
	var v T
	if err := p.Evaluate(p.t.Context(), expression, &v); err != nil {
		p.t.Fatal(err)
	}
	return v
}

// until waits until JavaScript in the page returns true.
func (p *page) until(expression string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeoutCause(p.t.Context(), wait.Patience, errors.New("patience is over"))
	defer cancel()
	if err := p.Until(ctx, expression); err != nil {
		p.t.Fatal(err)
	}
}

// streams opens the page of the test's streams on a host of this machine.
func (w *world) streams(host string) *page {
	w.t.Helper()
	_, port, _ := strings.Cut(w.Address(), ":")
	p := show(w.t, "http://"+host+":"+port+"/page", wide)
	p.until("window.ready")
	return p
}

// raw opens an EventSource under a name.
func (p *page) raw(name, events string) { p.t.Helper(); p.do(call("raw", name, events)) }

// origin returns the origin of the page.
func (p *page) origin() string { p.t.Helper(); return value[string](p, "location.origin") }

// call writes a call of a function in JavaScript.
func call(function string, arguments ...any) string {
	text, err := json.Marshal(arguments)
	if err != nil {
		panic(err) // all arguments can be encoded
	}
	return "(" + function + ")(..." + string(text) + ")"
}

// seen returns all that the stream of this name has seen so far.
func (p *page) seen(name string) []string {
	p.t.Helper()
	return value[map[string][]string](p, "seen")[name]
}

func (p *page) times(name, what string) int {
	p.t.Helper()
	n := 0
	for _, seen := range p.seen(name) {
		if seen == what || strings.HasPrefix(seen, what+" ") {
			n++
		}
	}
	return n
}

// sees waits until a stream has seen something n times. Its words may go on.
func (p *page) sees(name, what string, n int) {
	p.t.Helper()
	wait.Until(p.t, func() error {
		if got := p.times(name, what); got < n {
			return fmt.Errorf("%s: got %q %d times, want %d: %q", name, what, got, n, p.seen(name))
		}
		return nil
	})
}

// holds waits until the backend has n streams of the test's client.
func (w *world) holds(n int) {
	w.t.Helper()
	wait.Until(w.t, func() error {
		if got := w.site.open(w.client); got != n {
			return fmt.Errorf("the backend: got %d streams, want %d", got, n)
		}
		return nil
	})
}

func (w *world) metric(name string) uint64 {
	w.t.Helper()
	m, err := w.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return m[w.rule+"."+name]
}
