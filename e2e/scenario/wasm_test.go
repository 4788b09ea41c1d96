package scenario

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

var compiled = sync.OnceValues(func() (*host.Module, error) {
	wasm, err := gobuild.Build(context.Background(), "github.com/streamlatch/streamlatch/filter", "")
	if err != nil {
		return nil, err
	}
	return host.Compile(context.Background(), wasm)
})

// wasm is the module under the test host.
type wasm struct {
	*host.World
	adminPath string
	streams   map[string]*host.Stream
	opened    int

	unanswered []unanswered // requests that the backend does not have yet
	settle     func() error // lets all happen that happens at once
}

// unanswered is a stream's answer, as soon as the backend has the request.
type unanswered struct {
	name   string
	answer answer
}

type wasmStage struct{ workers int }

func newWasmStage(_ *testing.T, workers int, _ []file) stage { return wasmStage{workers} }

func (g wasmStage) play(t *testing.T, f file) system {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	w, err := host.NewWorld(m, host.Config{Workers: g.workers, PluginConfig: f.config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the filter's log:\n%v", w.Logs())
		}
	})
	s := &wasm{World: w, adminPath: f.adminPath(), streams: map[string]*host.Stream{}}
	s.settle = s.run
	return s
}

func (w *wasm) patient() bool { return false }

// worker returns the worker for the next request.
func (w *wasm) worker(n int) *host.Worker {
	if n == anyWorker {
		n = w.opened % len(w.Workers())
	}
	w.opened++
	return w.Worker(n)
}

func (w *wasm) open(name string, r request) error {
	var pairs []string
	for _, h := range r.headers {
		pairs = append(pairs, h[0], h[1])
	}
	s := w.worker(r.worker).Open(host.Request(r.method, r.path, pairs...))
	w.streams[name] = s
	s.RequestHeaders(!r.body)
	if r.body {
		s.RequestBody([]byte("{}"), true)
	}
	if r.answer != hold {
		w.unanswered = append(w.unanswered, unanswered{name, r.answer})
	}
	return w.settle()
}

// run does what is to be done at once.
func (w *wasm) run() error {
	w.Run()
	_, err := w.answerBackend()
	return err
}

// answerBackend lets the backend answer each request that it has by now, and returns how many these
// are.
func (w *wasm) answerBackend() (n int, err error) {
	for i := 0; i < len(w.unanswered); {
		u := w.unanswered[i]
		s := w.streams[u.name]
		if s.ToUpstream().Headers == nil && s.LocalReply() == nil && !s.Ended() {
			i++ // the filter holds it
			continue
		}
		w.unanswered = slices.Delete(w.unanswered, i, i+1)
		if s.LocalReply() != nil || s.Ended() {
			continue
		}
		if err := w.answer(u.name, u.answer); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (w *wasm) answer(name string, a answer) error {
	status, headers, body, all, err := a.response()
	if err != nil {
		return err
	}
	var pairs []string
	for _, h := range headers {
		pairs = append(pairs, h[0], h[1])
	}
	s, err := w.stream(name)
	if err != nil {
		return err
	}
	s.ResponseHeaders(host.Response(status, pairs...), false)
	s.ResponseBody([]byte(body), all)
	return w.settle()
}

func (w *wasm) stream(name string) (*host.Stream, error) {
	if s := w.streams[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("no stream %q", name)
}

func (w *wasm) send(name string, chunk []byte) error {
	s, err := w.stream(name)
	if err == nil {
		s.ResponseBody(chunk, false)
		err = w.settle()
	}
	return err
}

func (w *wasm) finish(name string) error {
	s, err := w.stream(name)
	if err == nil {
		s.ResponseBody(nil, true)
		err = w.settle()
	}
	return err
}

func (w *wasm) close(name string) error {
	s, err := w.stream(name)
	if err == nil {
		s.End()
		err = w.settle()
	}
	return err
}

// advance delivers wake-ups at most a tenth of a second after they are due.
func (w *wasm) advance(d time.Duration) error {
	for d > 0 {
		step := min(d, 100*time.Millisecond)
		w.Advance(step)
		if err := w.run(); err != nil {
			return err
		}
		d -= step
	}
	return nil
}

func (w *wasm) contend(on bool) error {
	if !on {
		w.Intercept(nil)
		return nil
	}
	w.Intercept(func(c *host.Call) {
		if c.Name == "proxy_set_shared_data" && isBucket(c.Key) {
			c.Answer(host.StatusCasMismatch)
		}
	})
	return nil
}

func (w *wasm) dismiss(worker int, rule string, parts []string) (int, error) {
	s := w.worker(worker).Open(host.Request("DELETE", dismissPath(w.adminPath, rule, parts)))
	s.RequestHeaders(true)
	if err := w.settle(); err != nil {
		return 0, err
	}
	reply := s.LocalReply()
	if reply == nil {
		return 0, fmt.Errorf("admin path %q: want an answer of the filter", w.adminPath)
	}
	return dismissed(reply.Status, string(reply.Body))
}

func dismissPath(adminPath, rule string, parts []string) string {
	path := adminPath + "/streams/" + rule
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// dismissed reads the response of the admin path.
func dismissed(status int, body string) (n int, err error) {
	switch status {
	case 404:
		return 0, nil
	case 200:
		_, err := fmt.Sscanf(body, `{"streams":%d}`, &n)
		return n, err
	}
	return 0, fmt.Errorf("status %d: %s", status, body)
}

func (w *wasm) seen(name string) (seen, error) {
	s := w.streams[name]
	response := s.ToClient()
	v := seen{body: string(response.Body), reason: s.FilterState()["wasm.streamlatch.reason"]}
	if status, ok := response.Headers.Get(":status"); ok {
		var err error
		if v.status, err = strconv.Atoi(status); err != nil {
			return v, err
		}
	}
	v.mediaType, _ = response.Headers.Get("content-type")
	v.retryAfter, _ = response.Headers.Get("retry-after")
	v.end = map[host.Ending]ending{host.Completed: finished, host.Reset: reset, host.Disconnected: closed}[s.Ending()]
	return v, nil
}

func (w *wasm) atBackend(name string) (bool, error) {
	s := w.streams[name]
	return s.ToUpstream().Headers != nil && !s.Ended(), nil
}

func (w *wasm) metrics() (map[string]int64, error) {
	const prefix = "streamlatch."
	m := w.Metrics()
	all := map[string]int64{}
	for _, values := range []map[string]uint64{m.Counters, m.Gauges} {
		for name, value := range values {
			all[strings.TrimPrefix(name, prefix)] = int64(value)
		}
	}
	return all, nil
}
