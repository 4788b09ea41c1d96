package session

import (
	"errors"

	"github.com/streamlatch/streamlatch/filter/admin"
	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/deadline"
	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// Stream is a request that a rule wants tracked if its response is an event stream.
type Stream struct {
	rule     *rule
	place    registry.Stream // in the registry
	fleet    *fleetPlace     // in the fleet; nil: it has none
	openedAt int64           // time of the response; 0: not an event stream, or not yet
	timing   *timing         // nil: nothing is to happen to it at a certain time

	phase   phase
	tooLong bool // see Worker.tooLong
	reader  reply.Reader
	refusal policy.Refusal // of a claim that a tick made
}

// timing is what only a stream has that ends, or goes on, at a certain time. Most streams have no
// limit and say no goodbye, and a worker may have a hundred thousand.
type timing struct {
	timer     deadline.Timer[*Stream] // the next of its limits, or the end of its wait or grace
	activeAt  int64                   // time of the last bytes from the backend, if the rule has an idle_timeout
	expiresAt int64                   // 0: never
	goodbye   *goodbye                // nil: none can be said
}

// timed returns the stream's timing, and makes it first if there is none.
func (s *Stream) timed() *timing {
	if s.timing == nil {
		s.timing = &timing{}
		s.timing.timer.Value = s
	}
	return s.timing
}

// alarm sets the stream's timer.
func (s *Stream) alarm(at int64) { s.rule.worker.due.Schedule(&s.timed().timer, at) }

// noAlarm cancels the timer.
func (s *Stream) noAlarm() {
	if s.timing != nil {
		s.rule.worker.due.Cancel(&s.timing.timer)
	}
}

// mostWaitMs is how long a request waits for the streams that it superseded to end. Their owners
// may have died, and then nobody says that they have ended.
const mostWaitMs = 1000

// Request is called for every request, with Envoy's id of its context. endOfStream: no body comes.
// It returns nil if no more need be known of the request. The client's key must be read here, as
// the request's headers cannot be read later; only a hash of it is kept.
func (w *Worker) Request(context uint32, endOfStream bool) (*Stream, Action) {
	request := &w.reading
	request.Request = w.host.Request()
	request.from = request.Request
	defer request.forget()
	if w.matched {
		request.readAll()
	}
	if w.config.AdminPath != "" {
		if path, _ := request.Header(":path"); admin.Covers(w.config.AdminPath, path) {
			w.administer(request, path, context)
			return nil, Pause
		}
	}
	i, found := w.matches.First(request)
	w.matched = found != match.No
	if found == match.No {
		return nil, Continue
	}
	r := &w.rules[i]
	if found == match.TooLong {
		return w.tooLong(r, request, context), Continue
	}
	r.matched++
	key, missing := r.Client.Append(w.key[:0], request)
	if missing != identity.Complete {
		w.forget(key)
		w.countNoKey(r, missing, request)
		return nil, Continue
	}
	now := w.host.Now()
	s := w.newStream(r, key, request, context, now)
	if s == nil {
		return nil, Continue
	}
	if s.tracked() {
		return nil, Continue
	}
	if s.reader = reply.ReaderOf(request); endOfStream && s.reader == reply.Caller {
		s.reader = reply.Program
	}
	switch s.admit(request, now) {
	case refused:
		return nil, Pause
	case untracked:
		return nil, Continue
	case waits:
		return s, Pause
	}
	return s, Continue
}

// tooLong returns a stream without a client: of a request that is too long to tell whether the rule
// matches. If it did not match, a longer path would be a way around every limit. If it did, other
// requests would be refused that are for no event stream. So the response decides: an event stream
// is refused, and everything else passes.
func (w *Worker) tooLong(r *rule, request Request, context uint32) *Stream {
	return &Stream{
		rule: r, phase: asking, tooLong: true, reader: reply.ReaderOf(request),
		place: registry.Stream{Enforce: r.Mode == config.Enforce, Context: context},
	}
}

// newStream returns nil if the registry cannot be joined: the request passes, untracked. It clears
// the key.
func (w *Worker) newStream(r *rule, key []byte, request Request, context uint32, now int64) *Stream {
	if err := w.join(now); err != nil {
		w.forget(key)
		r.countMatched(w)
		w.warn(err)
		return nil
	}
	s := &Stream{
		rule:  r,
		phase: asking,
		place: registry.Stream{
			Client:  w.registry.Table().Client(r.Name, key),
			Rule:    r.id,
			Limits:  r.limits,
			Enforce: r.Mode == config.Enforce,
			// A backend that rejects a client whose old stream is still open must not see the
			// request before that stream has ended. With a goodbye it may live for long.
			Wait:    r.ClaimAt == config.AtRequest && r.GoodbyeGrace == 0,
			Context: context,
		},
	}
	s.place.Of = s
	w.fleet.enroll(s, key, context)
	if len(r.Instance) > 0 {
		var missing int
		if key, missing = r.Instance.Append(key[:0], request); missing == identity.Complete {
			if s.fleet != nil { // the registry remembers the fleet's instances
				s.fleet.Instance = w.fleet.hash().Instance(registry.ClientID(s.fleet.Client), key)
				s.place.Instance = s.fleet.Instance
			} else {
				s.place.Instance = w.registry.Table().Instance(s.place.Client, key)
			}
		}
	}
	w.forget(key)
	return s
}

// tracked reports whether another filter of the same chain has claimed a place for this request, by
// a rule of the same name. A second claim would supersede the first, and so end this very request.
// The host is asked only if a worker in this VM holds a stream of the client.
func (s *Stream) tracked() bool {
	host := s.rule.worker.host
	return host.SameRequest(func(yield func(uint32) bool) {
		for w := range host.Workers() {
			for other := range w.registry.Client(s.place.Client) {
				if other != &s.place && !yield(other.Context) {
					return
				}
			}
		}
	})
}

// forget clears the buffer of a raw key and keeps it for the next request, unless it is larger than
// any next one will need. The strings that the host gave are left to the garbage collector.
func (w *Worker) forget(key []byte) {
	const worthKeeping = 4 << 10
	key = key[:cap(key)]
	clear(key)
	if len(key) > worthKeeping {
		key = nil
	}
	w.key = key
}

// admission is what became of a stream that asked to come in.
type admission uint8

const (
	admitted  admission = iota + 1
	untracked           // it would have been refused, but its rule only observes
	refused             // it was answered
	waits               // its timer, or the end of another stream, lets it go on
)

// admit does what must be done before the backend gets the request. A rule that claims at the
// response refuses here only what is sure to become an event stream: a POST that the backend would
// answer with JSON must not be refused for the client's open streams.
func (s *Stream) admit(request Request, now int64) admission {
	accept, _ := request.Header("accept")
	method, _ := request.Header(":method")
	if s.rule.ClaimAt == config.AtRequest && !canStream(request, method) {
		return admitted
	}
	if s.rule.ClaimAt == config.AtResponse && !reply.WantsStream(method, accept) {
		return admitted
	}
	if s.fleet != nil {
		return s.tryFleet(request, now)
	}
	verdict := s.try(now)
	if verdict.Refusal != 0 && s.hold(now) {
		return waits
	}
	return s.obey(verdict, request, now)
}

// try claims the client's place, or looks whether a claim at the response would be refused.
func (s *Stream) try(now int64) policy.Verdict {
	if s.rule.ClaimAt == config.AtRequest {
		return s.claim(now)
	}
	verdict, err := s.rule.worker.registry.Peek(now, &s.place)
	s.rule.worker.warn(err)
	return verdict
}

// obey refuses the request, or makes it wait for the streams that it supersedes.
func (s *Stream) obey(v policy.Verdict, request Request, now int64) admission {
	if v.Refusal == 0 {
		return s.await(now)
	}
	if s.reader == reply.Caller && s.place.Enforce && s.place.State() == registry.Unclaimed {
		s.enter(answering)
		return admitted
	}
	return s.refuse(v, request, nil, now)
}

// await makes a request that has a place wait for the streams that it supersedes.
func (s *Stream) await(now int64) admission {
	if s.place.Awaits() > 0 {
		s.enter(paused)
		s.alarm(now + mostWaitMs)
		return waits
	}
	return admitted
}

// mostCall is the largest size in bytes of a call that is refused with its id. One that is nothing
// but brackets or numbers takes some 4 ms to read.
const mostCall = 128 << 10

// RequestBody is called with the size of the body that has come so far. If a call of MCP is to be
// refused, it decides again as soon as it knows the call's id.
func (s *Stream) RequestBody(size int, endOfStream bool) Action {
	if s.phase.holdsRequest() || s.phase == answering && !endOfStream && size <= mostCall {
		return Pause
	}
	if s.phase != answering {
		return Continue
	}
	w := s.rule.worker
	request := w.host.Request()
	body, err := request.Body(mostCall + 1)
	w.warn(err)
	message, id := reply.Unreadable, []byte(nil)
	if len(body) <= mostCall {
		message, id = reply.MessageOf(body)
	}
	if message == reply.Notice {
		s.enter(asking) // the backend may read it otherwise: an event stream wants a place all the same
		return Continue
	}
	now := w.host.Now()
	var became admission
	if s.fleet != nil {
		became = s.refuse(s.turnedAway(), request, id, now)
	} else if verdict := s.try(now); verdict.Refusal != 0 {
		became = s.refuse(verdict, request, id, now)
	} else {
		became = s.await(now)
	}
	if became == refused || became == waits {
		return Pause
	}
	return Continue
}

// hold makes a request that is to be refused wait first, if its client comes back too early.
func (s *Stream) hold(now int64) bool {
	w := s.rule.worker
	if !s.place.Enforce || s.place.State() != registry.Unclaimed || !w.brake.hold(s.caller(), now) {
		return false
	}
	s.enter(held)
	s.alarm(now + heldMs)
	return true
}

func (s *Stream) caller() caller { return caller{s.place.Client, s.place.Instance} }

// tryAgain decides about a request that was held: by now its client may have a place.
func (s *Stream) tryAgain(now int64) {
	w := s.rule.worker
	w.acted++
	if !w.host.Enter(s.place.Context) {
		s.over()
		return
	}
	s.enter(asking)
	request := w.host.Request()
	var became admission
	if s.fleet != nil {
		became = s.tryFleetAgain(request, now)
		s.reenter()
	} else {
		became = s.obey(s.try(now), request, now)
	}
	if became == admitted || became == untracked {
		w.warn(w.host.Resume())
	}
}

// canStream reports whether the response to a request can be an event stream. A claim for one that
// cannot would end a healthy stream for nothing.
func canStream(request Request, method string) bool {
	switch method {
	case "HEAD", "OPTIONS", "CONNECT", "TRACE":
		return false
	}
	_, upgrades := request.Header("upgrade")
	return !upgrades
}

// claim takes the client's place for the stream, unless the verdict is a refusal.
func (s *Stream) claim(now int64) policy.Verdict {
	w := s.rule.worker
	verdict, err := w.registry.Claim(now, &s.place)
	w.warn(err)
	if errors.Is(err, registry.ErrContended) && w.config.OnContention == config.Refuse {
		_, err := w.registry.Release(&s.place)
		w.warn(err)
		verdict.Refusal = policy.Contended
	}
	if verdict.Refusal == 0 {
		s.enter(claimed)
		w.countTakeovers(s, verdict.Superseded, now)
	}
	return verdict
}

// refuse counts that the stream may not come in, and answers it, unless its rule only observes.
// request is nil if it cannot be read any more. call is the id of a call of MCP, or nil.
func (s *Stream) refuse(v policy.Verdict, request Request, call []byte, now int64) admission {
	w := s.rule.worker
	if s.fleet != nil {
		s.leaveFleet(now)
		s.reenter()
	}
	s.enter(done)
	retry := s.rule.Retry
	if v.Refusal == policy.TakeoverLimit {
		retry = v.Wait
	}
	retry += w.jitter(retry / 4)
	w.countRefusal(s, v.Refusal, retry)
	if !s.place.Enforce {
		return untracked
	}
	w.warn(w.host.SetReason(string(refusedFor(v.Refusal))))
	w.brake.refused(s.caller(), now, retry)
	lastEventID := ""
	if request != nil && s.reader == reply.EventSource {
		lastEventID, _ = request.Header("last-event-id")
	}
	response := reply.Refusal(v.Refusal, s.reader, retry, lastEventID)
	if call != nil {
		response = reply.CallRefusal(v.Refusal, call, retry)
	}
	if err := w.host.Reply(response.Status, response.Headers, response.Body); err != nil {
		w.warn(err)
		return untracked
	}
	return refused
}

// jitter returns a random part of most, from 0 to most itself.
func (w *Worker) jitter(most policy.Millis) policy.Millis {
	return policy.Millis(w.host.Random() % (uint64(max(0, most)) + 1))
}

// resume lets a paused request go on. It changes the effective context.
func (s *Stream) resume() {
	w := s.rule.worker
	s.enter(claimed)
	s.noAlarm()
	w.acted++
	if !w.host.Enter(s.place.Context) {
		s.over()
		return
	}
	w.warn(w.host.Resume())
}
