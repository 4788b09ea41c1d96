package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

const (
	headerFile   = "x-scenario"
	headerStream = "x-scenario-stream"
	adminPath    = "/streamlatch"
)

// envoyStage is the Envoys that the files share. Files whose configurations differ only in their
// rules share one Envoy.
type envoyStage struct {
	workers int
	shared  map[string]*sharedEnvoy // by the configuration without its rules
}

// newEnvoyStage starts the Envoys one after the other, because the slow part of a start uses all
// processors.
func newEnvoyStage(t *testing.T, workers int, files []file) stage {
	t.Helper()
	s := envoyStage{workers, map[string]*sharedEnvoy{}}
	alike := map[string][]file{}
	for _, f := range files {
		alike[f.topLevel()] = append(alike[f.topLevel()], f)
	}
	for top, files := range alike {
		config, err := merged(files)
		if err != nil {
			t.Fatal(err)
		}
		s.shared[top] = startEnvoy(t, workers, config)
	}
	return s
}

// topLevel returns the file's configuration without its rules. It also leaves out the admin path,
// because the merged configuration has its own.
func (f file) topLevel() string {
	top := map[string]json.RawMessage{}
	for key, value := range f.top {
		if key != "admin_path" {
			top[key] = value
		}
	}
	text, _ := json.Marshal(top) // cannot fail: the values were read from JSON
	return string(text)
}

// merged returns one configuration with the rules of several files. The name of a rule begins with
// that of its file, and a rule matches only requests whose header says that they belong to this
// file.
func merged(files []file) (string, error) {
	all := map[string]any{"admin_path": adminPath}
	var rules []any
	for _, f := range files {
		var own map[string]any
		if err := json.Unmarshal(f.config, &own); err != nil {
			return "", err
		}
		for _, rule := range own["rules"].([]any) {
			r := rule.(map[string]any)
			r["name"] = f.rulePrefix() + r["name"].(string)
			match, _ := r["match"].(map[string]any)
			if match == nil {
				match = map[string]any{}
			}
			headers, _ := match["headers"].([]any)
			match["headers"] = append(headers, map[string]any{"name": headerFile, "exact": f.name})
			r["match"] = match
			rules = append(rules, r)
		}
		for key, value := range own {
			if key != "rules" && key != "admin_path" {
				all[key] = value
			}
		}
	}
	all["rules"] = rules
	text, err := json.Marshal(all)
	return string(text), err
}

// rulePrefix is the beginning of the names of this file's rules, and of no other file's, in an
// Envoy.
func (f file) rulePrefix() string { return f.name + "__" }

// sharedEnvoy is a running Envoy with the backend of the scenarios that it runs.
type sharedEnvoy struct {
	*rig.Rig
	backend *backend
}

func startEnvoy(t *testing.T, workers int, config string) *sharedEnvoy {
	t.Helper()
	b := &backend{held: map[string]*exchange{}}
	r, err := rig.Start(t.Context(), rig.Options{
		Concurrency: workers,
		Filter:      config,
		Handler:     b,                    // the rig's own backend answers at once, and cannot hold a request
		LogFlush:    5 * time.Millisecond, // play waits for the log line of each end
		Edits: []rig.Edit{
			rig.Replace("json_format:\n", "json_format:\n                  stream: \"%REQ("+headerStream+")%\"\n"),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &sharedEnvoy{r, b}
}

// play returns the file's view of its Envoy.
func (s envoyStage) play(t *testing.T, f file) system {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &inEnvoy{
		ctx: ctx, workers: s.workers, file: f, sharedEnvoy: s.shared[f.topLevel()],
		streams: map[string]*clientStream{}, protocol: rig.HTTP1,
	}
	if s.workers > 1 {
		p.protocol = rig.HTTP2 // of the first stream: see dial
	}
	t.Cleanup(func() {
		cancel()
		p.leave(t)
	})
	return p
}

// inEnvoy is the module in a real Envoy.
type inEnvoy struct {
	*sharedEnvoy
	ctx      context.Context
	workers  int
	file     file
	protocol rig.Protocol
	streams  map[string]*clientStream
}

func (p *inEnvoy) patient() bool { return true }

// leave waits until all streams of the file are released, because the next file may count all
// streams.
func (p *inEnvoy) leave(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	wait.Until(t, func() error {
		m, err := p.Metrics(ctx)
		for name, value := range m {
			if strings.HasPrefix(name, p.file.rulePrefix()) && strings.HasSuffix(name, ".active") && value != 0 {
				err = fmt.Errorf("%s after all clients have left: got %d, want 0", name, value)
			}
		}
		return err
	})
}

// id is the name of a stream among those of all files.
func (p *inEnvoy) id(name string) string { return p.file.name + "/" + name }

func (p *inEnvoy) dial(worker int) (*rig.Conn, error) {
	// Clients of a scenario use HTTP/1.1 and HTTP/2 in turn.
	protocol := p.protocol
	p.protocol = rig.HTTP1 + rig.HTTP2 - protocol
	ctx, cancel := context.WithTimeout(p.ctx, wait.Patience)
	defer cancel()
	if worker == anyWorker || p.workers == 1 {
		return p.Dial(ctx, protocol)
	}
	return p.DialWorker(ctx, protocol, worker)
}

func (p *inEnvoy) open(name string, r request) error {
	c, err := p.dial(r.worker)
	if err != nil {
		return err
	}
	q := rig.Request{Client: "somebody", Method: r.method, Path: r.path, Header: map[string]string{
		headerFile:   p.file.name,
		headerStream: p.id(name),
		headerAnswer: string(r.answer),
	}}
	for _, h := range r.headers {
		q.Header[h[0]] = h[1]
	}
	if r.body {
		q.Body = "{}"
	}
	ctx, cancel := context.WithCancel(p.ctx)
	s := &clientStream{conn: c, closed: cancel}
	p.streams[name] = s
	go s.exchange(ctx, q)
	return nil
}

func (p *inEnvoy) answer(name string, a answer) error {
	return p.backend.do(p.id(name), func(e *exchange) { e.answer <- a })
}

func (p *inEnvoy) send(name string, chunk []byte) error {
	return p.backend.do(p.id(name), func(e *exchange) { e.chunks <- chunk })
}

func (p *inEnvoy) finish(name string) error {
	return p.backend.do(p.id(name), func(e *exchange) { close(e.chunks) })
}

func (p *inEnvoy) close(name string) error {
	s := p.streams[name]
	if s == nil {
		return fmt.Errorf("no stream %q", name)
	}
	s.closed()
	return nil
}

func (p *inEnvoy) advance(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func (p *inEnvoy) contend(bool) error { return errors.New("not possible in Envoy") }

func (p *inEnvoy) dismiss(worker int, rule string, parts []string) (int, error) {
	c, err := p.dial(worker)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(p.ctx, wait.Patience)
	defer cancel()
	answer, err := c.Do(ctx, rig.Request{Method: http.MethodDelete, Path: dismissPath(adminPath, p.file.rulePrefix()+rule, parts)})
	if err != nil {
		return 0, err
	}
	return dismissed(answer.Status, answer.Body)
}

func (p *inEnvoy) atBackend(name string) (bool, error) { return p.backend.has(p.id(name)), nil }

func (p *inEnvoy) metrics() (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(p.ctx, wait.Patience)
	defer cancel()
	m, err := p.Metrics(ctx)
	own := map[string]int64{}
	for name, value := range m {
		if name, ok := strings.CutPrefix(name, p.file.rulePrefix()); ok {
			own[name] = int64(value)
		}
	}
	return own, err
}

// seen includes the end of a stream only when the access log has it too.
func (p *inEnvoy) seen(name string) (seen, error) {
	s := p.streams[name]
	v := s.look()
	if v.end == 0 || s.logged {
		return v, nil
	}
	reason, ok, err := p.logged(p.id(name))
	if !ok {
		v.end = 0
		return v, err
	}
	s.logged = true
	s.note(func(v *seen) { v.reason = reason })
	return s.look(), nil
}

// logged returns the reason that the access log gives for the end of a stream, and whether the log
// has this end yet.
func (p *inEnvoy) logged(id string) (reason string, ok bool, err error) {
	lines := p.Access.Containing(`"` + id + `"`)
	if len(lines) == 0 {
		return "", false, nil
	}
	var entry struct{ Stream, Reason string }
	if err := json.Unmarshal([]byte(lines[0]), &entry); err != nil {
		return "", false, fmt.Errorf("access log: %w: %s", err, lines[0])
	}
	if entry.Stream != id || len(lines) > 1 {
		return "", false, fmt.Errorf("access log: got %q for stream %s, want one line", lines, id)
	}
	return entry.Reason, true, nil
}

// clientStream is the client's side of an exchange.
type clientStream struct {
	conn   *rig.Conn
	closed context.CancelFunc
	logged bool // seen has the reason from the access log

	mu   sync.Mutex
	seen seen
}

func (s *clientStream) look() seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *clientStream) note(do func(*seen)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do(&s.seen)
}

// exchange sends the request and reads the whole response.
func (s *clientStream) exchange(ctx context.Context, q rig.Request) {
	defer s.conn.Close()
	defer s.closed()
	response, err := s.conn.Send(ctx, q)
	answered := err == nil
	if answered {
		defer response.Body.Close()
		s.note(func(v *seen) {
			v.status = response.StatusCode
			v.mediaType, v.retryAfter = response.Header.Get("content-type"), response.Header.Get("retry-after")
		})
	}
	for bytes := make([]byte, 4<<10); err == nil; {
		var n int
		n, err = response.Body.Read(bytes)
		s.note(func(v *seen) { v.body += string(bytes[:n]) })
	}
	how := map[rig.How]ending{rig.Finished: finished, rig.Reset: reset, rig.Closed: closed}[s.conn.Ended(err, answered)]
	s.note(func(v *seen) {
		if v.end = how; how == 0 {
			v.end, v.body = reset, v.body+fmt.Sprintf("(client: %v)", err)
		}
	})
}

// backend answers each request when the scenario tells it to.
type backend struct {
	mu   sync.Mutex
	held map[string]*exchange
}

// exchange is the backend's side of a request.
type exchange struct {
	answer chan answer
	chunks chan []byte
}

const headerAnswer = "x-scenario-answer"

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get(headerStream)
	e := &exchange{answer: make(chan answer, 1), chunks: make(chan []byte, 16)}
	b.mu.Lock()
	b.held[id] = e
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.held, id)
	}()
	a := answer(r.Header.Get(headerAnswer))
	if a == hold {
		select {
		case a = <-e.answer:
		case <-r.Context().Done():
			return
		}
	}
	status, headers, body, all, err := a.response()
	if err != nil {
		status, body, all = http.StatusInternalServerError, err.Error(), true
	}
	for _, h := range headers {
		w.Header().Set(h[0], h[1])
	}
	w.WriteHeader(status)
	out := http.NewResponseController(w)
	for chunk := []byte(body); ; {
		if _, err := w.Write(chunk); err != nil || all || out.Flush() != nil {
			return
		}
		var more bool
		select {
		case chunk, more = <-e.chunks:
			if !more {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

func (b *backend) has(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held[id] != nil
}

// do waits until the backend has the request, and calls do with its exchange.
func (b *backend) do(id string, do func(e *exchange)) error {
	for deadline := time.Now().Add(wait.Patience); ; time.Sleep(poll) {
		b.mu.Lock()
		e := b.held[id]
		b.mu.Unlock()
		if e != nil {
			do(e)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("want the request of stream %s at the backend", id)
		}
	}
}
