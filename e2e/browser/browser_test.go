//go:build browser

// Package browser tells what a page in a real browser sees of the filter. It needs Chromium, so it stands behind a build
// tag of its own: make browser.
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

// page is the address of a tab that opens an event stream.
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has many processes
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			w.t.Fatal("this needs Debian's chromium: apt-get install chromium")
		}
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait() // it was killed
	})
}

// order makes a tab do something.
func (w *world) order(name, what string) { w.tab(name).orders <- what }

// until waits for something to hold.
func (w *world) until(what string, holds func() bool) {
	w.t.Helper()
	wait.Until(w.t, func() error {
		if !holds() {
			return fmt.Errorf("not %s; the tabs saw %v, the backend has %d streams", what, w.all(), w.site.open())
		}
		return nil
	})
}

// sees waits until a tab has told so n times.
func (w *world) sees(name, what string, n int) {
	w.t.Helper()
	w.until(fmt.Sprintf("tab %s tells %q %d times", name, what, n), func() bool { return w.times(name, what) >= n })
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

// Two tabs of one user that tell themselves apart do not fight: the loser's automatic reconnects are turned away, each
// with the reason, until somebody reloads it.
func TestLoserStaysOutUntilReload(t *testing.T) {
	w := start(t, `"instance": [{"query": "tab"}], "retry": "200ms"`)
	w.open("a", "/events?client=ann&tab=a")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann&tab=b")
	w.sees("b", "message welcome", 1)
	w.sees("a", "streamlatch superseded", 8)
	if n := w.times("b", "error 0") + w.times("b", "error 2"); n != 0 {
		t.Errorf("the winner was disturbed %d times: %v", n, w.seen("b"))
	}
	if n := w.times("a", "message welcome"); n != 1 {
		t.Errorf("the loser was let in again: %v", w.seen("a"))
	}
	if n := w.metric("superseded"); n != 1 {
		t.Errorf("%d takeovers, want 1", n)
	}

	w.order("a", "go "+w.page("127.0.0.1", "a2", "/events?client=ann&tab=a2")) // a reload: a new instance
	w.sees("a2", "message welcome", 1)
	w.sees("b", "streamlatch superseded", 3)
	w.until("the backend has one stream", func() bool { return w.site.open() == 1 })
	if n := w.metric("superseded"); n != 2 {
		t.Errorf("%d takeovers, want 2", n)
	}
}

// Tabs that cannot be told apart do take the stream from each other, but not faster than the bucket fills.
func TestFightSettlesAtTheBucketsRate(t *testing.T) {
	const tokens, fill = 2, 2 * time.Second
	w := start(t, `"takeover_limit": {"max_tokens": 2, "fill_interval": "2s"}, "retry": "200ms"`)
	began := time.Now()
	w.open("a", "/events?client=ann")
	w.open("b", "/events?client=ann")
	w.until("six takeovers", func() bool { return w.metric("superseded") >= 6 })
	takeovers := w.metric("superseded")
	if most := uint64(tokens + time.Since(began)/fill); takeovers > most {
		t.Errorf("%d takeovers in %v, want %d at most", takeovers, time.Since(began), most)
	}
	w.until("one of them was told to wait", func() bool {
		return w.times("a", "streamlatch takeover_limit")+w.times("b", "streamlatch takeover_limit") > 0
	})
	w.until("the backend has one stream", func() bool { return w.site.open() == 1 })
}

// A page on a bad network reconnects again and again, and is never turned away.
func TestFlakyPageIsNeverLockedOut(t *testing.T) {
	w := start(t, `"instance": [{"query": "tab"}], "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`)
	w.open("a", "/events?client=ann&tab=a")
	for n := 1; n <= 20; n++ {
		w.sees("a", "message welcome", n)
		w.order("a", "reopen")
	}
	w.sees("a", "message welcome", 21)
	if slices.ContainsFunc(w.seen("a"), func(what string) bool { return strings.HasPrefix(what, "streamlatch") }) {
		t.Errorf("it was turned away: %v", w.seen("a"))
	}
}

// A rule that rejects new streams stops the EventSource of a second tab for good.
func TestRejectedTabStops(t *testing.T) {
	w := start(t, `"on_duplicate": "reject_new"`)
	w.open("a", "/events?client=ann")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann")
	w.sees("b", "error 2", 1) // closed
	if got := w.seen("b"); len(got) != 1 {
		t.Errorf("the second tab saw %v, want the end alone", got)
	}
	if got := w.seen("a"); len(got) != 2 {
		t.Errorf("the first tab saw %v, want its stream undisturbed", got)
	}
}

// The goodbye tells a page why, and its retry keeps even a tab without an instance away for that long.
func TestGoodbyeSticks(t *testing.T) {
	w := start(t, `"goodbye_grace": "5s", "retry": "10m"`)
	w.open("a", "/events?client=ann")
	w.sees("a", "message welcome", 1)
	w.open("b", "/events?client=ann")
	w.sees("a", "streamlatch superseded", 1)
	w.sees("a", "error 0", 1)
	w.until("the backend has one stream", func() bool { return w.site.open() == 1 })
	w.order("b", "reopen") // time goes by: ten round trips of another tab, with a retry of 200 ms the loser were back
	w.sees("b", "message welcome", 2)
	time.Sleep(2 * time.Second)
	if n := w.times("a", "message welcome"); n != 1 {
		t.Errorf("the loser is back: %v", w.seen("a"))
	}
}

// A page reads compressed events as they are sent, and the goodbye, if the compressor is nearer to it than the filter is.
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
	w.until("the backend has one stream", func() bool { return w.site.open() == 1 })
	const compressed = "http.edge.compressor.gzip.gzip.response.compressed"
	stats, err := w.Envoy().Admin().Stats(t.Context(), regexp.QuoteMeta(compressed))
	if err != nil {
		t.Fatal(err)
	}
	if n := stats.Values[compressed]; n != 2 {
		t.Errorf("%d streams were compressed, want both: %v", n, stats.Values)
	}
}

// A page of another origin reads the reason too, if the cors filter stands before this one.
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
