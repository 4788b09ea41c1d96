package scenario

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/session"
)

// plain is the filter's logic, package session, over a map, with just as much of Envoy around it as
// a stream needs: no module, no wasm host, no HTTP. After every command each stream must be in a
// state that package session calls legal.
type plain struct {
	t         *testing.T
	adminPath string
	store     *store
	queues    *queues
	workers   []*plainWorker
	streams   []*plainStream // in the order of opening; their context ids count from 1
	byName    map[string]*plainStream
	now       int64 // Unix milliseconds
	metric    []string
	values    map[string]int64

	deferred []func() error // what Envoy does when the running callback has returned
}

type plainStage struct{ workers int }

func newPlainStage(_ *testing.T, workers int, _ []file) stage { return plainStage{workers} }

func (s plainStage) play(t *testing.T, f file) system {
	t.Helper()
	p := &plain{
		t:         t,
		adminPath: f.adminPath(),
		store:     &store{values: map[string]stored{}},
		queues:    &queues{tokens: map[string]uint32{}, owners: map[uint32]*plainWorker{}, messages: map[uint32][][]byte{}},
		byName:    map[string]*plainStream{},
		values:    map[string]int64{},
		now:       time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMilli(),
	}
	for range s.workers {
		w := &plainWorker{store: p.store, queuesOf: queuesOf{queues: p.queues}, plain: p}
		w.queuesOf.worker = w
		w.session = session.New(w, "plain")
		if !w.session.Configure(f.config) {
			t.Fatal("the configuration was refused")
		}
		p.workers = append(p.workers, w)
	}
	return p
}

func (p *plain) patient() bool { return false }

func (p *plain) open(name string, r request) error {
	s := p.newStream(r.worker)
	p.byName[name] = s
	s.asked, s.answer = r, r.answer
	return p.after(s.request())
}

// newStream returns a stream of the worker with this number, or of the next in turn.
func (p *plain) newStream(worker int) *plainStream {
	if worker == anyWorker {
		worker = len(p.streams) % len(p.workers)
	}
	s := &plainStream{worker: p.workers[worker], context: uint32(len(p.streams) + 1)}
	p.streams = append(p.streams, s)
	return s
}

func (p *plain) with(name string, do func(s *plainStream) error) error {
	s := p.byName[name]
	if s == nil {
		return fmt.Errorf("there is no %s", name)
	}
	return p.after(do(s))
}

func (p *plain) answer(name string, a answer) error {
	return p.with(name, func(s *plainStream) error { return s.respond(a) })
}

func (p *plain) send(name string, chunk []byte) error {
	return p.with(name, func(s *plainStream) error { return s.chunk(string(chunk), false) })
}

func (p *plain) finish(name string) error {
	return p.with(name, func(s *plainStream) error { return s.done(finished) })
}

func (p *plain) close(name string) error {
	return p.with(name, func(s *plainStream) error { return s.done(closed) })
}

func (p *plain) contend(on bool) error {
	p.store.contended = on
	return nil
}

func (p *plain) seen(name string) (seen, error) { return p.byName[name].seen, nil }

func (p *plain) atBackend(name string) (bool, error) {
	s := p.byName[name]
	return s.passed && s.end == 0, nil
}

func (p *plain) metrics() (map[string]int64, error) { return maps.Clone(p.values), nil }

func (p *plain) dismiss(worker int, rule string, parts []string) (int, error) {
	s := p.newStream(worker)
	s.asked = request{method: "DELETE", path: dismissPath(p.adminPath, rule, parts)}
	if err := p.after(s.request()); err != nil {
		return 0, err
	}
	if s.passed {
		return 0, fmt.Errorf("the filter does not answer under the admin path %q", p.adminPath)
	}
	return dismissed(s.status, s.body)
}

// advance lets time pass. A worker ticks once a second from its first stream on.
func (p *plain) advance(d time.Duration) error {
	until := p.now + d.Milliseconds()
	for {
		var next *plainWorker
		for _, w := range p.workers {
			if w.tickAt != 0 && (next == nil || w.tickAt < next.tickAt) {
				next = w
			}
		}
		if next == nil || next.tickAt > until {
			p.now = until
			return nil
		}
		p.now = next.tickAt
		next.tickAt += next.period
		if err := p.after(next.call(nil, next.session.Tick)); err != nil {
			return err
		}
	}
}

// after delivers the wake-ups that a command has caused, and checks every stream's state.
func (p *plain) after(err error) error {
	for err == nil && len(p.queues.wakeups) > 0 {
		next := p.queues.wakeups[0]
		p.queues.wakeups = p.queues.wakeups[1:]
		err = next.worker.call(nil, func() { next.worker.session.Wake(next.queue) })
	}
	for _, s := range p.streams {
		if err == nil && s.session != nil {
			err = s.session.Check()
		}
	}
	return err
}

// plainStream is a request, what its client has seen, and the filter's stream, if it has one.
type plainStream struct {
	seen
	worker  *plainWorker
	context uint32
	session *session.Stream

	asked   request
	answer  answer      // of the backend, as soon as it has the request
	passed  bool        // the backend has the request
	headers [][2]string // of the response
	passing string      // the part of the body that the filter is shown
}

// request is the request on its way to the backend.
func (s *plainStream) request() error {
	var action session.Action
	if err := s.worker.call(s, func() { s.session, action = s.worker.session.Request(s.context, true) }); err != nil {
		return err
	}
	if action == session.Pause {
		return nil
	}
	return s.pass()
}

// pass hands the request to the backend.
func (s *plainStream) pass() error {
	s.passed = true
	if s.answer == hold {
		return nil
	}
	return s.respond(s.answer)
}

// respond is the backend's answer on its way to the client.
func (s *plainStream) respond(a answer) error {
	status, headers, body, all, err := a.response()
	if err != nil || s.end != 0 {
		return err
	}
	s.headers = append([][2]string{{":status", strconv.Itoa(status)}}, headers...)
	if s.session != nil {
		if err := s.worker.call(s, func() { s.session.Response(false) }); err != nil || s.end != 0 {
			return err
		}
	}
	s.status, s.mediaType = status, headers[0][1]
	if err := s.chunk(body, all); err != nil {
		return err
	}
	if all {
		return s.done(finished)
	}
	return nil
}

// chunk is bytes of the response on their way to the client.
func (s *plainStream) chunk(bytes string, last bool) error {
	if s.end != 0 {
		return nil
	}
	s.passing = bytes
	if s.session != nil {
		if err := s.worker.call(s, func() { s.session.ResponseBody(len(bytes), last) }); err != nil {
			return err
		}
	}
	s.body += s.passing
	return nil
}

// done is the end of a stream.
func (s *plainStream) done(how ending) error {
	if s.end != 0 {
		return nil
	}
	s.end = how
	if s.session == nil {
		return nil
	}
	return s.worker.call(s, s.session.End)
}

// plainWorker is a worker of Envoy, and what package session needs of it.
type plainWorker struct {
	*store
	queuesOf
	plain   *plain
	session *session.Worker
	current *plainStream // whose callback is running, or the effective context
	tickAt  int64        // Unix milliseconds; 0: no timer
	period  int64        // milliseconds
}

var _ session.Host = (*plainWorker)(nil)

// call runs a callback, and after it what it has put off.
func (w *plainWorker) call(s *plainStream, callback func()) error {
	w.current = s
	callback()
	w.current = nil
	p := w.plain
	for len(p.deferred) > 0 {
		next := p.deferred[0]
		p.deferred = p.deferred[1:]
		if err := next(); err != nil {
			return err
		}
	}
	return nil
}

func (w *plainWorker) Now() int64                    { return w.plain.now }
func (w *plainWorker) WallClock() int64              { return w.plain.now }
func (w *plainWorker) Node() string                  { return "" }
func (w *plainWorker) Random() uint64                { return rand.Uint64() }
func (w *plainWorker) LogLevel() session.Level       { return session.Debug }
func (w *plainWorker) Log(_ session.Level, _ string) {}

func (w *plainWorker) StartTicks(periodMs uint32) error {
	w.period = int64(periodMs)
	w.tickAt = w.plain.now + w.period
	return nil
}

func (w *plainWorker) Request() session.Request   { return fields{w.current.asked} }
func (w *plainWorker) Response() session.Response { return passing{w.current} }

func (w *plainWorker) Reply(status uint32, headers [][2]string, body []byte) error {
	s := w.current
	s.status, s.body = int(status), string(body)
	s.headers = headers
	response := passing{s}
	s.mediaType, _ = response.Header("content-type")
	s.retryAfter, _ = response.Header("retry-after")
	w.plain.deferred = append(w.plain.deferred, func() error { return s.done(finished) })
	return nil
}

func (w *plainWorker) Enter(context uint32) bool {
	s := w.plain.streams[context-1]
	if s.end != 0 {
		return false
	}
	w.current = s
	return true
}

func (w *plainWorker) SetReason(reason string) error {
	w.current.reason = reason
	return nil
}

func (w *plainWorker) Reset() error {
	s := w.current
	w.plain.deferred = append(w.plain.deferred, func() error { return s.done(reset) })
	return nil
}

func (w *plainWorker) Resume() error {
	s := w.current
	w.plain.deferred = append(w.plain.deferred, s.pass)
	return nil
}

func (w *plainWorker) ResumeResponse() error { return errors.New("no response is paused") }

// errNoFleet is the error of calls to etcd: a scenario has one Envoy.
var errNoFleet = errors.New("there is no etcd")

// Call implements [session.Calls].
func (w *plainWorker) Call(string, etcd.Method, []byte, policy.Millis) (uint32, error) {
	return 0, errNoFleet
}

func (w *plainWorker) Open(string, etcd.Method) (uint32, error) { return 0, errNoFleet }
func (w *plainWorker) Send(uint32, []byte) error                { return errNoFleet }
func (w *plainWorker) Cancel(uint32) error                      { return errNoFleet }

func (w *plainWorker) Details() string { return "" }

// Workers implements [session.Host]. A worker has one configuration.
func (w *plainWorker) Workers() iter.Seq[*session.Worker] {
	return func(yield func(*session.Worker) bool) { yield(w.session) }
}

// SameRequest implements [session.Host]. A request of a scenario passes one filter.
func (w *plainWorker) SameRequest(iter.Seq[uint32]) bool { return false }

func (w *plainWorker) Define(_ session.Kind, name string) (session.Metric, error) {
	p := w.plain
	name = strings.TrimPrefix(name, "streamlatch.")
	if _, ok := p.values[name]; !ok {
		p.values[name] = 0
	}
	p.metric = append(p.metric, name)
	return session.Metric(len(p.metric)), nil
}

func (w *plainWorker) Add(m session.Metric, by int64) error {
	w.plain.values[w.plain.metric[m-1]] += by
	return nil
}

func (w *plainWorker) Record(m session.Metric, value uint64) error {
	w.plain.values[w.plain.metric[m-1]] = int64(value)
	return nil
}

func (w *plainWorker) Value(m session.Metric) (uint64, error) {
	return uint64(w.plain.values[w.plain.metric[m-1]]), nil
}

// fields are what the filter reads of a request.
type fields struct{ request }

func (f fields) Header(name string) (string, bool) {
	switch name {
	case ":path":
		return f.path, true
	case ":method":
		return f.method, true
	}
	return f.header(name)
}

// AppendHeaders makes the filter read one header after the other.
func (fields) AppendHeaders(dst [][2]string) ([][2]string, bool) { return dst, false }

func (f fields) Property(...string) (string, bool) { return "", false }
func (f fields) Body(int) ([]byte, error)          { return nil, nil }

// passing is the response of which the filter is shown a part.
type passing struct{ *plainStream }

func (p passing) Header(name string) (string, bool) {
	i := slices.IndexFunc(p.headers, func(h [2]string) bool { return h[0] == name })
	if i < 0 {
		return "", false
	}
	return p.headers[i][1], true
}

func (p passing) AppendHeaders(dst [][2]string) ([][2]string, bool) {
	return append(dst, p.headers...), true
}

func (p passing) Body(offset, size int) ([]byte, error) {
	return []byte(p.passing[offset : offset+size]), nil
}

func (p passing) AppendBody(data []byte) error {
	p.plainStream.passing += string(data)
	return nil
}

func (p passing) DropBody() error {
	p.plainStream.passing = ""
	return nil
}
