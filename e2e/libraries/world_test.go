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
}

func start(t *testing.T, libraries []library) *world {
	t.Helper()
	w := &world{libraries: libraries, backend: &backend{streams: make(map[string][]stream)}}
	envoy := func(filter string) *rig.Rig {
		return rigtest.Start(t, rig.Options{
			Concurrency: 2,
			Filter:      filter,
			Handler:     w.backend,
			LogFlush:    100 * time.Millisecond,
			Edits:       []rig.Edit{rig.Replace("                  method: ", "                  path: \"%REQ(:PATH)%\"\n                  method: ")},
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

// each calls check for every library and cause, and joins its errors.
func (w *world) each(check func(c *client, cause string) error) error {
	var all []error
	for _, c := range w.clients {
		for _, cause := range causes {
			if err := check(c, cause); err != nil {
				all = append(all, fmt.Errorf("%s, %s: %w", c.Name, cause, err))
			}
		}
	}
	return errors.Join(all...)
}

// opened returns the streams that the library has opened: those of which it has got the event. The
// filter may refuse others when the backend has answered them.
func (w *world) opened(c *client, cause string) []stream {
	return slices.DeleteFunc(w.backend.of(cause, c.id), func(s stream) bool { return !c.received(cause, s.id) })
}

// A request is a line of the access log.
type request struct {
	Path   string
	Time   time.Time // of its start
	Status int
	Reason *string // why the filter refused it or ended its stream; nil: it did not
}

// requests returns the requests of a library that have ended.
func (w *world) requests(c *client, cause string) []request {
	var found []request
	for _, line := range w.envoy(cause).Access.Lines() {
		var r request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			panic(fmt.Sprintf("access log: %q: %v", line, err))
		}
		if strings.HasPrefix(r.Path, path(cause, c.id)) {
			found = append(found, r)
		}
	}
	return found
}

// refused returns those of the requests that were refused.
func (w *world) refused(c *client, cause string) []request {
	return slices.DeleteFunc(w.requests(c, cause), func(r request) bool {
		return r.Reason == nil || !strings.HasPrefix(*r.Reason, "refused_")
	})
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

// settle waits until each library has come back or stopped.
func (w *world) settle() {
	for deadline := time.Now().Add(wait.Patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if w.each(func(c *client, cause string) error {
			if w.outcome(c, cause) == stuck {
				return errors.New(stuck)
			}
			return nil
		}) == nil {
			return
		}
	}
}
