package scenario

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// plain is policy and registry over a map, and around them in a few lines what package plugin does in many: when the
// registry is asked, and what is made of its answers. There is no module, no host and no HTTP, so that what a story
// tells is what the registry decides, and what the others add is theirs.
type plain struct {
	config  *config.Config
	matches *match.Set
	store   *store
	queues  *queues
	workers []*plainWorker
	streams map[string]*plainStream
	now     int64 // Unix milliseconds
	opened  int
	counts  map[string]int64
}

type plainStage struct{ workers int }

func newPlainStage(_ *testing.T, workers int, _ []file) stage { return plainStage{workers} }

func (s plainStage) play(t *testing.T, f file) system {
	t.Helper()
	c, err := config.Parse(f.config)
	if err != nil {
		t.Fatal(err)
	}
	p := &plain{
		config:  c,
		store:   &store{values: map[string]stored{}},
		queues:  &queues{tokens: map[string]uint32{}, owners: map[uint32]*plainWorker{}, messages: map[uint32][][]byte{}},
		streams: map[string]*plainStream{},
		counts:  map[string]int64{},
		now:     time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC).UnixMilli(),
	}
	var conditions []match.Conditions
	for _, r := range c.Rules {
		conditions = append(conditions, r.Match)
	}
	if p.matches, err = match.New(conditions); err != nil {
		t.Fatal(err)
	}
	for range s.workers {
		w := &plainWorker{plain: p}
		w.Worker = registry.NewWorker(p.store, queuesOf{p.queues, w}, w, rand.Uint64)
		w.LimitTotal(c.MaxTotalStreams)
		p.workers = append(p.workers, w)
	}
	return p
}

func (p *plain) patient() bool { return false }

func (p *plain) open(name string, r request) error {
	w := p.workers[p.opened%len(p.workers)]
	p.opened++
	if r.worker != anyWorker {
		w = p.workers[r.worker]
	}
	s := &plainStream{worker: w, context: uint32(p.opened)}
	p.streams[name] = s
	if err := s.request(r); err != nil {
		return err
	}
	if s.end == 0 && r.answer != hold {
		if err := s.respond(r.answer); err != nil {
			return err
		}
	}
	return p.wake()
}

func (p *plain) with(name string, do func(s *plainStream) error) error {
	s := p.streams[name]
	if s == nil {
		return fmt.Errorf("there is no %s", name)
	}
	return errors.Join(do(s), p.wake())
}

func (p *plain) answer(name string, a answer) error {
	return p.with(name, func(s *plainStream) error { return s.respond(a) })
}

func (p *plain) send(name string, chunk []byte) error {
	return p.with(name, func(s *plainStream) error { return s.chunk(string(chunk)) })
}

func (p *plain) finish(name string) error {
	return p.with(name, func(s *plainStream) error { return s.done(finished, "") })
}

func (p *plain) close(name string) error {
	return p.with(name, func(s *plainStream) error { return s.done(closed, "") })
}

func (p *plain) contend(on bool) error {
	p.store.contended = on
	return nil
}

func (p *plain) seen(name string) (seen, error) { return p.streams[name].seen, nil }

func (p *plain) atBackend(name string) (bool, error) {
	s := p.streams[name]
	return s.passed && s.end == 0, nil
}

// metrics are what was counted, and 0 for what was not.
func (p *plain) metrics() (map[string]int64, error) {
	all := map[string]int64{}
	for _, r := range p.config.Rules {
		for _, what := range []string{"opened", "superseded", "released", "dismissed", "expired", "idle", "no_key", "active"} {
			all[r.Name+"."+what] = p.counts[r.Name+"."+what]
		}
		for _, why := range policy.Refusals {
			all[r.Name+".refused_"+why.String()] = p.counts[r.Name+".refused_"+why.String()]
		}
	}
	return all, nil
}

func (p *plain) dismiss(worker int, rule string, parts []string) (int, error) {
	w := p.workers[max(worker, 0)]
	if err := w.Open(); err != nil {
		return 0, err
	}
	key, _ := identity.AppendKey(nil, parts...)
	n, err := w.Dismiss(p.now, w.Table().Client(rule, key))
	return n, errors.Join(err, p.wake())
}

// advance lets time pass, and each worker tick once a second from its first stream on.
func (p *plain) advance(d time.Duration) error {
	until := p.now + d.Milliseconds()
	for {
		var next *plainWorker
		for _, w := range p.workers {
			if w.joined && (next == nil || w.tickAt < next.tickAt) {
				next = w
			}
		}
		if next == nil || next.tickAt > until {
			p.now = until
			return nil
		}
		p.now = next.tickAt
		next.tickAt += 1000
		if err := errors.Join(next.tick(), p.wake()); err != nil {
			return err
		}
	}
}

// wake delivers the wake-ups of all queues.
func (p *plain) wake() error {
	for len(p.queues.wakeups) > 0 {
		next := p.queues.wakeups[0]
		p.queues.wakeups = p.queues.wakeups[1:]
		streams, err := next.worker.Wake(p.now, next.queue)
		for _, s := range streams {
			err = errors.Join(err, s.Of.(*plainStream).withdraw())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plainWorker is a worker of the registry with its streams.
type plainWorker struct {
	*registry.Worker
	plain   *plain
	joined  bool
	tickAt  int64
	streams []*plainStream // claimed, and not ended
}

// Active implements registry.Meter.
func (w *plainWorker) Active(id registry.RuleID, delta int) {
	for _, r := range w.plain.config.Rules {
		if w.Table().Rule(r.Name) == id {
			w.plain.counts[r.Name+".active"] += int64(delta)
		}
	}
}

// Count implements registry.Meter.
func (w *plainWorker) Count(e registry.Event, n int) { w.plain.counts[e.String()] += int64(n) }

func (w *plainWorker) join() error {
	if !w.joined {
		w.joined, w.tickAt = true, w.plain.now+1000
	}
	return w.Join(w.plain.now)
}

func (w *plainWorker) tick() error {
	ticked, err := w.Tick(w.plain.now)
	if errors.Is(err, registry.ErrContended) { // the next one takes it up
		err = nil
	}
	for _, late := range ticked.Claimed {
		s := late.Of.(*plainStream)
		if late.Refusal != 0 {
			s.refusal = late.Refusal
			s.count("refused_" + late.Refusal.String())
		}
		s.countN("superseded", len(late.Superseded))
	}
	for _, s := range ticked.Released {
		s.Of.(*plainStream).count("released")
	}
	for _, s := range ticked.End {
		err = errors.Join(err, s.Of.(*plainStream).withdraw())
	}
	for _, s := range slices.Clone(w.streams) {
		err = errors.Join(err, s.timeUp())
	}
	return err
}

// plainStream is a request and what the filter knows of it.
type plainStream struct {
	seen
	registry.Stream
	worker  *plainWorker
	context uint32
	passed  bool // the backend has it

	rule      *config.Rule // nil: nothing is done with it
	method    string
	accept    string
	claimed   bool
	openedAt  int64
	activeAt  int64
	refusal   policy.Refusal // of a claim that was made late
	limit     string         // of its rule, that has ended it or would have
	leaving   string         // why it gets a goodbye
	leaveBy   int64          // when it goes without
	said      bool           // the goodbye
	canAppend bool
}

func (s *plainStream) count(what string) { s.countN(what, 1) }

func (s *plainStream) countN(what string, n int) {
	s.worker.plain.counts[s.rule.Name+"."+what] += int64(n)
}

// fields are what the rules read of a request.
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

func (f fields) Property(...string) (string, bool) { return "", false }

// request is the request on its way to the backend.
func (s *plainStream) request(r request) error {
	p, w := s.worker.plain, s.worker
	i, ok := p.matches.First(fields{r})
	if !ok {
		s.passed = true
		return nil
	}
	s.rule = &p.config.Rules[i]
	key, ok := s.rule.Client.Append(nil, fields{r})
	if !ok {
		s.count("no_key")
		s.rule, s.passed = nil, true
		return nil
	}
	if err := w.join(); err != nil {
		return err
	}
	s.method = r.method
	s.accept, _ = r.header("accept")
	s.Stream = registry.Stream{
		Client: w.Table().Client(s.rule.Name, key),
		Rule:   w.Table().Rule(s.rule.Name),
		Limits: policy.Limits{
			MaxStreams:    s.rule.MaxStreams,
			RejectNew:     s.rule.OnDuplicate == config.RejectNew,
			TakeoverLimit: s.rule.TakeoverLimit,
		},
		Enforce: s.rule.Mode == config.Enforce,
		Context: s.context,
		Of:      s,
	}
	if key, ok := s.rule.Instance.Append(nil, fields{r}); ok {
		s.Instance = w.Table().Instance(s.Client, key)
	}
	switch {
	case s.rule.ClaimAt == config.AtRequest:
		if err := s.claim(); err != nil {
			return err
		}
	case r.method == "GET": // all of them accept event streams
		verdict, err := w.Peek(p.now, &s.Stream)
		if err != nil {
			return err
		}
		s.obey(verdict)
	}
	s.passed = s.end == 0
	return nil
}

// claim takes the client's place.
func (s *plainStream) claim() error {
	p, w := s.worker.plain, s.worker
	verdict, err := w.Claim(p.now, &s.Stream)
	if errors.Is(err, registry.ErrContended) {
		err = nil
		if p.config.OnContention == config.Refuse {
			verdict.Refusal = policy.Contended
			_, err = w.Release(&s.Stream)
		}
	}
	if err != nil {
		return err
	}
	if verdict.Refusal == 0 {
		s.claimed = true
		w.streams = append(w.streams, s)
		s.countN("superseded", len(verdict.Superseded))
	}
	s.obey(verdict)
	return nil
}

// obey turns the newcomer away if the verdict says so and the rule means it. It is not tracked then.
func (s *plainStream) obey(v policy.Verdict) {
	if v.Refusal == 0 {
		return
	}
	rule := s.rule
	s.count("refused_" + v.Refusal.String())
	s.rule = nil
	if !s.Enforce {
		return
	}
	retry := rule.Retry
	if v.Refusal == policy.TakeoverLimit {
		retry = v.Wait
	}
	s.refuse(v.Refusal, retry)
}

// refuse is what a client of that kind is told, written down a second time.
func (s *plainStream) refuse(why policy.Refusal, retry policy.Millis) {
	s.end, s.reason = finished, "refused_"+why.String()
	if s.method == "GET" && s.accept == "text/event-stream" && why != policy.Duplicate {
		s.status, s.mediaType = 200, "text/event-stream"
		s.body = goodbye(why.String(), retry)
		return
	}
	statuses := map[policy.Refusal]int{
		policy.Duplicate: 409, policy.Superseded: 409, policy.TakeoverLimit: 429, policy.Overloaded: 503, policy.Contended: 503,
	}
	s.status, s.mediaType = statuses[why], "application/json"
	s.retryAfter = strconv.Itoa(int((retry + policy.Second - 1) / policy.Second))
	s.body = fmt.Sprintf("{\"reason\":%q}\n", why.String())
}

// goodbye is the event of the filter's own.
func goodbye(why string, retry policy.Millis) string {
	event := fmt.Sprintf("event: streamlatch\ndata: {\"reason\":%q}\n\n", why)
	if retry > 0 {
		event = fmt.Sprintf("retry: %d\n", retry) + event
	}
	return event
}

// respond is the backend's answer on its way to the client.
func (s *plainStream) respond(a answer) error {
	status, headers, body, all, err := a.response()
	if err != nil {
		return err
	}
	w, now := s.worker, s.worker.plain.now
	mediaType := headers[0][1]
	if s.rule != nil {
		switch stream := status == 200 && mediaType == "text/event-stream"; {
		case stream && s.rule.ClaimAt == config.AtResponse:
			if err := s.claim(); err != nil || s.end != 0 {
				return err
			}
		case !stream:
			if s.claimed {
				s.forget()
				if _, err := w.Release(&s.Stream); err != nil {
					return err
				}
			}
			s.rule = nil
		}
	}
	if s.rule != nil {
		s.openedAt, s.activeAt = now, now
		s.canAppend = s.rule.GoodbyeGrace > 0 && len(headers) == 1
		s.count("opened")
	}
	s.status, s.mediaType = status, mediaType
	if all {
		s.body = body
		return s.done(finished, "")
	}
	return s.chunk(body)
}

// chunk is bytes of an event stream on their way to the client.
func (s *plainStream) chunk(bytes string) error {
	if s.end != 0 || s.said {
		return nil
	}
	s.body += bytes
	if s.rule == nil {
		return nil
	}
	s.activeAt = s.worker.plain.now
	if _, part := parse(s.body); s.leaving == "" || part != "" {
		return nil
	}
	retry := s.rule.Retry
	if s.leaving == "expired" {
		retry = 0
	}
	s.body += goodbye(s.leaving, retry)
	s.said = true
	return s.worker.Recall(s.worker.plain.now, &s.Stream)
}

// withdraw ends a stream that has no place in the registry any more, or has said goodbye.
func (s *plainStream) withdraw() error {
	switch why := s.Why(); {
	case s.said:
		return s.done(reset, s.leaving)
	case why == registry.BySuccessor:
		return s.leave("superseded")
	case why == registry.ByItself:
		return s.done(reset, "superseded")
	case why == registry.ByOperator:
		s.count("dismissed")
		return s.leave("dismissed")
	case why == registry.ByRefusal:
		return s.leave("refused_" + s.refusal.String())
	}
	return s.leave("unregistered")
}

// leave ends a stream at once, or with a goodbye if there can be one.
func (s *plainStream) leave(why string) error {
	switch {
	case why == "dismissed", why == "idle", !s.canAppend:
		return s.done(reset, why)
	case s.leaving != "":
		s.leaving = why
	default:
		s.leaving, s.leaveBy = why, s.worker.plain.now+int64(s.rule.GoodbyeGrace)
	}
	return nil
}

// timeUp looks whether a stream's time is up.
func (s *plainStream) timeUp() error {
	now := s.worker.plain.now
	lifetime, silence := int64(s.rule.MaxLifetime), int64(s.rule.IdleTimeout)
	switch {
	case s.openedAt == 0 || s.leaving == "" && (s.limit != "" || s.Why() != 0):
		return nil
	case s.leaving != "":
		if now < s.leaveBy {
			return nil
		}
		return s.done(reset, s.leaving)
	case lifetime > 0 && now >= s.openedAt+lifetime:
		s.limit = "expired"
	case silence > 0 && now >= s.activeAt+silence:
		s.limit = "idle"
	default:
		return nil
	}
	s.count(s.limit)
	if !s.Enforce {
		s.claimed = false
		s.forget()
		_, err := s.worker.Release(&s.Stream)
		return err
	}
	return s.leave(s.limit)
}

func (s *plainStream) forget() {
	s.worker.streams = slices.DeleteFunc(s.worker.streams, func(other *plainStream) bool { return other == s })
}

// done is the end of a stream.
func (s *plainStream) done(how ending, why string) error {
	if s.end != 0 {
		return nil
	}
	s.end, s.reason = how, why
	if s.rule == nil || !s.claimed {
		return nil
	}
	s.forget()
	held, err := s.worker.Release(&s.Stream)
	if held && s.openedAt > 0 && s.limit == "" {
		s.count("released")
	}
	if errors.Is(err, registry.ErrContended) {
		return nil
	}
	return err
}
