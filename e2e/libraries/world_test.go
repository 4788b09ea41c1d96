//go:build libraries

package libraries

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A world is two Envoys with one backend, the libraries, and those who hold places.
type world struct {
	backend   *backend
	free      *rig.Rig
	full      *rig.Rig // has as many places as there are libraries
	libraries []library
	clients   []*client
	holders   []*rig.Stream
	requests  map[string][]request // that have ended, by what key returns
	read      map[*rig.Rig]int     // how many lines of its access log
}

func start(t *testing.T, libraries []library) *world {
	t.Helper()
	w := &world{
		libraries: libraries,
		backend:   &backend{streams: make(map[string][]stream)},
		requests:  make(map[string][]request),
		read:      make(map[*rig.Rig]int),
	}
	envoy := func(filter string) *rig.Rig {
		return rigtest.Start(t, rig.Options{
			Concurrency: 2,
			Filter:      filter,
			Handler:     w.backend,
			LogFlush:    100 * time.Millisecond,
			Edits: []rig.Edit{
				rig.Replace("                  method: ", "                  path: \"%REQ(:PATH)%\"\n                  method: "),
				// A busy machine may take long for a connection, and a 503 ends some libraries.
				rig.Replace("connect_timeout: 1s", "connect_timeout: 60s"),
			},
		})
	}
	w.free = envoy(`{"rules": [` + rules + `]}`)
	w.full = envoy(fmt.Sprintf(`{"max_total_streams": %d, "rules": [%s]}`, len(libraries), rigtest.OneRule(overloaded, `, "retry": "3s"`)))
	return w
}

// envoy returns the Envoy for a cause.
func (w *world) envoy(cause string) *rig.Rig {
	if cause == overloaded {
		return w.full
	}
	return w.free
}

// path returns the path that a library asks for.
func path(cause, id string) string {
	return "/" + cause + "/?" + url.Values{"client": {id}, "tab": {tabOfLibrary}}.Encode()
}

// hold opens a stream that takes each library's place.
func (w *world) hold(t *testing.T, causes ...string) {
	t.Helper()
	for _, cause := range causes {
		for _, l := range w.libraries {
			who := url.Values{"client": {l.id}, "tab": {"holder"}}
			if cause == overloaded { // a client may always take its own place
				who.Set("client", "holder for "+l.id)
			}
			conn, err := w.envoy(cause).Dial(t.Context(), rig.HTTP1)
			if err != nil {
				t.Fatal(err)
			}
			w.holders = append(w.holders, rigtest.Open(t, conn, rig.Request{Path: "/" + cause + "/?" + who.Encode()}))
		}
	}
}

// letGo ends the streams that take the libraries' places.
func (w *world) letGo() {
	for _, s := range w.holders {
		s.Close()
	}
}

// patience is how long until waits: on a slow machine dozens of programs take long to start.
const patience = 3 * wait.Patience

// until waits until check returns nil for every library and cause. After patience it returns the
// errors of check.
func (w *world) until(t *testing.T, check func(c *client, cause string) error) error {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		w.readLogs(t)
		var all []error
		for _, c := range w.clients {
			for _, cause := range causes {
				if err := check(c, cause); err != nil {
					all = append(all, fmt.Errorf("%s, %s: %w; it said %v", c.Name, cause, err, c.lines(cause)))
				}
			}
		}
		if all == nil || time.Now().After(deadline) {
			return errors.Join(all...)
		}
	}
}

// opened returns the streams that the library has opened: those of which it has got the event. The
// filter may refuse others when the backend has answered them.
func (w *world) opened(c *client, cause string) []stream {
	return slices.DeleteFunc(w.backend.of(key(cause, c.id, tabOfLibrary)), func(s stream) bool { return !c.received(cause, s.id) })
}

// A request is a line of the access log.
type request struct {
	Path   string
	Time   time.Time // of its start
	Status int
	Reason *string // why the filter refused it or ended its stream; nil: it did not
}

// key names the streams of a client under a cause, for one of its instances.
func key(cause, client, tab string) string { return cause + " " + client + " " + tab }

// keyOf returns the key of a request.
func keyOf(path string) (string, error) {
	u, err := url.Parse(path)
	if err != nil {
		return "", err
	}
	query := u.Query()
	return key(strings.Trim(u.Path, "/"), query.Get("client"), query.Get("tab")), nil
}

// readLogs reads what is new in the access logs.
func (w *world) readLogs(t *testing.T) {
	t.Helper()
	for _, envoy := range []*rig.Rig{w.free, w.full} {
		lines := envoy.Access.Lines()
		for _, line := range lines[w.read[envoy]:] {
			var r request
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("access log: %q: %v", line, err)
			}
			key, err := keyOf(r.Path)
			if err != nil {
				t.Fatalf("access log: %q: %v", line, err)
			}
			w.requests[key] = append(w.requests[key], r)
		}
		w.read[envoy] = len(lines)
	}
}

// asked returns the requests of a library that have ended.
func (w *world) asked(c *client, cause string) []request {
	return w.requests[key(cause, c.id, tabOfLibrary)]
}

// refused returns those that were refused.
func (w *world) refused(c *client, cause string) []request {
	return slices.DeleteFunc(slices.Clone(w.asked(c, cause)), func(r request) bool {
		return r.Reason == nil || !strings.HasPrefix(*r.Reason, "refused_")
	})
}

// refusedOnce returns an error if a library that should be refused by now was not. It may have
// stopped before.
func (w *world) refusedOnce(c *client, cause string) error {
	if ended, _ := c.ended(cause); ended || cause == expired || len(w.refused(c, cause)) > 0 {
		return nil
	}
	return errors.New("was not refused yet")
}

// settled returns an error if a library has neither come back nor stopped.
func (w *world) settled(c *client, cause string) error {
	if w.outcome(c, cause) == stuck {
		return errors.New("has neither come back nor stopped")
	}
	return nil
}

// most returns how many of the requests began within one window, at most.
func most(requests []request, window time.Duration) int {
	found := 0
	for _, first := range requests {
		n := 0
		for _, r := range requests {
			if !r.Time.Before(first.Time) && r.Time.Before(first.Time.Add(window)) {
				n++
			}
		}
		found = max(found, n)
	}
	return found
}
