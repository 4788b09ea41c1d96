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

// envoyStage is the Envoys that the files share: one for those whose configurations differ in nothing but the rules.
type envoyStage struct {
	workers int
	shared  map[string]*sharedEnvoy // by what their configurations have besides rules
}

// newEnvoyStage starts the Envoys, one after the other: the slow part of a start takes all processors there are.
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

// topLevel is what a file's configuration has besides rules. The admin path is that of the merged one.
func (f file) topLevel() string {
	top := map[string]json.RawMessage{}
	for key, value := range f.top {
		if key != "admin_path" {
			top[key] = value
		}
	}
	text, _ := json.Marshal(top) // of JSON that was read: it does not fail
	return string(text)
}

// merged is one configuration with the rules of several files. A file's rules are for requests that say they are its
// own, and have the file's name before theirs.
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

// rulePrefix begins the names of the file's rules in an Envoy, and of no other file's.
func (f file) rulePrefix() string { return f.name + "__" }

// sharedEnvoy is a running Envoy and the backend of the scenarios that are played in it.
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
		Handler:     b,                    // the rig's own backend answers what it is asked for, and cannot be told when
		LogFlush:    5 * time.Millisecond, // the end of a stream is over when its line is there
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

// play returns what the file sees of its Envoy.
func (s envoyStage) play(t *testing.T, f file) system {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &inEnvoy{
		ctx: ctx, workers: s.workers, file: f, sharedEnvoy: s.shared[f.topLevel()],
		streams: map[string]*clientStream{}, protocol: rig.HTTP1,
	}
	if s.workers > 1 {
		p.protocol = rig.HTTP2 // of the first stream: see open
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

// leave closes what is still open and waits until it has gone: the file after this one may count.
func (p *inEnvoy) leave(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), wait.Patience)
	defer cancel()
	wait.Until(t, func() error {
		m, err := p.Metrics(ctx)
		for name, value := range m {
			if strings.HasPrefix(name, p.file.rulePrefix()) && strings.HasSuffix(name, ".active") && value != 0 {
				err = fmt.Errorf("all clients have gone, and %s is %d", name, value)
			}
		}
		return err
	})
}

// id is the name of a stream in the whole Envoy.
func (p *inEnvoy) id(name string) string { return p.file.name + "/" + name }

func (p *inEnvoy) dial(worker int) (*rig.Conn, error) {
	// Clients of one scenario speak HTTP/1.1 and HTTP/2 in turn.
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
		return fmt.Errorf("there is no %s", name)
	}
	s.closed()
	return nil
}

func (p *inEnvoy) advance(d time.Duration) error {
	time.Sleep(d)
	return nil
}

func (p *inEnvoy) contend(bool) error { return errors.New("cannot be had in Envoy") }

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

// seen has a stream's end only when the access log has it, too.
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

// logged returns the reason that the access log gives for the end of a stream, when it has it.
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
		return "", false, fmt.Errorf("access log has %q for %s", lines, id)
	}
	return entry.Reason, true, nil
}

// clientStream is a client's end of an exchange.
type clientStream struct {
	conn   *rig.Conn
	closed context.CancelFunc
	logged bool // the access log has it, and seen the reason

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

// exchange sends the request and reads its answer to the end.
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

// backend answers requests when it is told to.
type backend struct {
	mu   sync.Mutex
	held map[string]*exchange
}

// exchange is the backend's end of a request.
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

// do does something with an exchange, when it is there.
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
			return fmt.Errorf("the backend has no %s", id)
		}
	}
}
