//go:build browser

// Package browser tests what a page in a real browser sees. It needs Chromium, and therefore a
// build tag: make browser.
package browser

import (
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// world is an Envoy, the site behind it, and browsers.
type world struct {
	*rig.Rig
	*site
	t *testing.T
}

func start(t *testing.T, rule string, edits ...rig.Edit) *world {
	t.Helper()
	s := newSite()
	r, err := rig.Start(t.Context(), rig.Options{
		Filter:  `{"rules": [{"name": "events", "match": {"path": {"prefix": "/events"}}, "client": [{"query": "client"}], ` + rule + `}]}`,
		Handler: s,
		Edits:   edits,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &world{r, s, t}
}

// page returns the address of a page that opens an event stream.
func (w *world) page(host, name, events string) string {
	_, port, _ := strings.Cut(w.Address(), ":")
	return "http://" + host + ":" + port + "/page?" + url.Values{"tab": {name}, "events": {events}}.Encode()
}

// open starts a browser with one tab.
func (w *world) open(name, events string) { w.browse(w.page("127.0.0.1", name, events)) }

func (w *world) browse(address string) {
	w.t.Helper()
	cmd := exec.Command("chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
		"--disable-background-networking", "--user-data-dir="+w.t.TempDir(), address)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to kill all of its processes
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			w.t.Fatal("chromium is not on PATH: apt-get install chromium")
		}
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // the error says that it was killed
	})
}

// order makes a tab do something.
func (w *world) order(name, what string) { w.tab(name).orders <- what }

// until waits until holds returns true.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	wait.Until(w.t, func() error {
		if !holds() {
			return fmt.Errorf("want %s; got %v in the tabs, and %d streams at the backend", what, w.all(), w.site.open())
		}
		return nil
	})
}

// sees waits until a tab has reported what n times.
func (w *world) sees(name, what string, n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%q from tab %s %d times", what, name, n), func() bool { return w.times(name, what) >= n })
}

func (w *world) times(name, what string) int {
	n := 0
	for _, seen := range w.seen(name) {
		if seen == what {
			n++
		}
	}
	return n
}

func (w *world) all() map[string][]string {
	all := map[string][]string{}
	for _, name := range []string{"a", "b", "a2"} {
		all[name] = w.seen(name)
	}
	return all
}

func (w *world) metric(name string) uint64 {
	w.t.Helper()
	m, err := w.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return m["events."+name]
}

// Two tabs of one user with different instances do not fight. The automatic reconnects of the loser
// are refused, each with the reason, until the user reloads it.
func TestLoserStaysOutUntilReload(t *testing.T) {
	w := start(t, `"instance": [{"query": "tab"}], "retry": "200ms"`)
	w.open("a", "/events?client=ann&tab=a")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann&tab=b")
	w.sees("b", "message welcome", 1)
	w.sees("a", "streamlatch superseded", 8)
	if n := w.times("b", "error 0") + w.times("b", "error 2"); n != 0 {
		t.Errorf("the winner: got %d errors, want 0: %v", n, w.seen("b"))
	}
	if n := w.times("a", "message welcome"); n != 1 {
		t.Errorf("the loser: got a second stream, want refusals only: %v", w.seen("a"))
	}
	if n := w.metric("superseded"); n != 1 {
		t.Errorf("got %d takeovers, want 1", n)
	}

	w.order("a", "go "+w.page("127.0.0.1", "a2", "/events?client=ann&tab=a2")) // a reload: a new instance
	w.sees("a2", "message welcome", 1)
	w.sees("b", "streamlatch superseded", 3)
	w.until("one stream at the backend", func() bool { return w.site.open() == 1 })
	if n := w.metric("superseded"); n != 2 {
		t.Errorf("got %d takeovers, want 2", n)
	}
}

// Tabs without an instance take the stream from each other, but only as fast as the token bucket
// refills.
func TestFightSettlesAtTheBucketsRate(t *testing.T) {
	const tokens, fill = 2, 2 * time.Second
	w := start(t, `"takeover_limit": {"max_tokens": 2, "fill_interval": "2s"}, "retry": "200ms"`)
	began := time.Now()
	w.open("a", "/events?client=ann")
	w.open("b", "/events?client=ann")
	w.until("six takeovers", func() bool { return w.metric("superseded") >= 6 })
	takeovers := w.metric("superseded")
	if most := uint64(tokens + time.Since(began)/fill); takeovers > most {
		t.Errorf("got %d takeovers in %v, want at most %d", takeovers, time.Since(began), most)
	}
	w.until("a refusal with takeover_limit in one tab", func() bool {
		return w.times("a", "streamlatch takeover_limit")+w.times("b", "streamlatch takeover_limit") > 0
	})
	w.until("one stream at the backend", func() bool { return w.site.open() == 1 })
}

// A page on a bad network reconnects again and again. It is never refused.
func TestFlakyPageIsNeverLockedOut(t *testing.T) {
	w := start(t, `"instance": [{"query": "tab"}], "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`)
	w.open("a", "/events?client=ann&tab=a")
	for n := 1; n <= 20; n++ {
		w.sees("a", "message welcome", n)
		w.order("a", "reopen")
	}
	w.sees("a", "message welcome", 21)
	if slices.ContainsFunc(w.seen("a"), func(what string) bool { return strings.HasPrefix(what, "streamlatch") }) {
		t.Errorf("got %v in the tab, want no refusal", w.seen("a"))
	}
}

// With reject_new the EventSource of a second tab stops for good.
func TestRejectedTabStops(t *testing.T) {
	w := start(t, `"on_duplicate": "reject_new"`)
	w.open("a", "/events?client=ann")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann")
	w.sees("b", "error 2", 1) // closed
	if got := w.seen("b"); len(got) != 1 {
		t.Errorf("the second tab: got %v, want only the end", got)
	}
	if got := w.seen("a"); len(got) != 2 {
		t.Errorf("the first tab: got %v, want its stream to go on", got)
	}
}

// The goodbye tells a page the reason. Its retry keeps the page away for that long, even without an
// instance.
func TestGoodbyeSticks(t *testing.T) {
	w := start(t, `"goodbye_grace": "5s", "retry": "10m"`)
	w.open("a", "/events?client=ann")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann")
	w.sees("a", "streamlatch superseded", 1)
	w.sees("a", "error 0", 1)
	w.until("one stream at the backend", func() bool { return w.site.open() == 1 })
	w.order("b", "reopen") // with the backend's retry of 200 ms the loser would be back by now
	w.sees("b", "message welcome", 2)
	time.Sleep(2 * time.Second)
	if n := w.times("a", "message welcome"); n != 1 {
		t.Errorf("the loser: got a second stream, want none before its retry: %v", w.seen("a"))
	}
}

// If the compressor stands between Streamlatch and the page, the page reads compressed events as
// they are sent, and the goodbye.
func TestCompressedGoodbye(t *testing.T) {
	compressor := rig.Replace("          # Streamlatch belongs after cors", `          - name: envoy.filters.http.compressor
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
              response_direction_config: {common_config: {content_type: [text/event-stream]}}
              compressor_library:
                name: gzip
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
          # Streamlatch belongs after cors`)
	w := start(t, `"goodbye_grace": "5s", "retry": "10m"`, compressor)
	w.open("a", "/events?client=ann")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann")
	w.sees("b", "message welcome", 1)
	w.sees("a", "streamlatch superseded", 1)
	w.sees("a", "error 0", 1)
	w.until("one stream at the backend", func() bool { return w.site.open() == 1 })
	const compressed = "http.edge.compressor.gzip.gzip.response.compressed"
	stats, err := w.Envoy().Admin().Stats(t.Context(), regexp.QuoteMeta(compressed))
	if err != nil {
		t.Fatal(err)
	}
	if n := stats.Values[compressed]; n != 2 {
		t.Errorf("got %d compressed streams, want 2: %v", n, stats.Values)
	}
}

// A page of another origin can read the reason too, if cors stands before Streamlatch.
func TestCrossOriginRefusal(t *testing.T) {
	cors := []rig.Edit{
		rig.Replace("          # Streamlatch belongs after cors", `          - name: envoy.filters.http.cors
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}
          # Streamlatch belongs after cors`),
		rig.Replace("            - name: everyone\n              domains: [\"*\"]\n", `            - name: everyone
              domains: ["*"]
              typed_per_filter_config:
                envoy.filters.http.cors:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy
                  allow_origin_string_match: [{prefix: "http://localhost:"}]
`),
	}
	w := start(t, `"instance": [{"query": "tab"}], "retry": "200ms"`, cors...)
	there := "http://" + w.Address() + "/events?client=ann&tab="
	w.browse(w.page("localhost", "a", there+"a"))
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann&tab=b")
	w.sees("b", "message welcome", 1)
	w.sees("a", "streamlatch superseded", 3)
}
