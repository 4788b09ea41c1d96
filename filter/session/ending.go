package session

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// Reason is why the filter has ended or refused a stream, as the access log, the filter's log and
// the goodbye say it.
type Reason string

const (
	Superseded   Reason = "superseded"   // a newer stream of its client took its place
	Unregistered Reason = "unregistered" // it was not in the registry, and no message had said why
	Dismissed    Reason = "dismissed"    // an operator ended it
	Expired      Reason = "expired"      // its max_lifetime was over
	Idle         Reason = "idle"         // nothing passed for its idle_timeout
	Refused      Reason = "refused_"     // and the name of the refusal
)

// Reasons lists them all.
var Reasons = [...]Reason{Superseded, Expired, Idle, Dismissed, Unregistered, Refused}

func refusedFor(why policy.Refusal) Reason { return Refused + Reason(why.String()) }

// recalled is called for a stream that [registry.Worker.Wake] or Tick returns: it has lost its
// place, its wait is over, or its goodbye is written.
func (s *Stream) recalled(now int64) {
	switch s.phase {
	case parted:
		s.reset(s.goodbye().reason)
		return
	case resetting, releasing, done:
		return
	}
	switch s.place.Why() {
	case registry.BySuccessor:
		s.end(Superseded, now)
	case registry.ByOwnInstance: // the page has left this connection, and reads no goodbye
		s.reset(Superseded)
	case registry.ByOperator:
		s.rule.worker.add(s.rule.metrics.dismissed, 1)
		s.end(Dismissed, now)
	case registry.ByRefusal:
		s.end(refusedFor(s.refusal), now)
	case registry.ByLoss:
		s.end(Unregistered, now)
	default:
		if s.phase == paused {
			s.resume()
		}
	}
}

// timeUp is called when the stream's timer is due.
func (s *Stream) timeUp(now int64) {
	metrics := &s.rule.metrics
	switch {
	case s.phase == held:
		s.tryAgain(now)
	case s.phase == paused:
		s.resume()
	case s.phase == leaving || s.phase == parted:
		s.reset(s.goodbye().reason) // the backend has sent nothing that the goodbye could follow
	case s.phase != open:
	case s.place.Why() != 0: // superseded in a rule that observes; one that enforces has ended it
		s.enter(observed)
	case s.timing.expiresAt > 0 && now >= s.timing.expiresAt:
		s.rule.worker.add(metrics.expired, 1)
		s.endAtLimit(Expired, now)
	case s.rule.IdleTimeout > 0 && now >= s.timing.activeAt+int64(s.rule.IdleTimeout):
		s.rule.worker.add(metrics.idle, 1)
		s.endAtLimit(Idle, now)
	default:
		s.schedule() // bytes have come since
	}
}

// endAtLimit ends a stream for a limit of its own rule. If the rule only observes, the stream gives
// its place back as if it had ended, and goes on.
func (s *Stream) endAtLimit(why Reason, now int64) {
	if s.place.Enforce {
		s.end(why, now)
		return
	}
	s.release()
	s.enter(observed)
	if w := s.rule.worker; w.debug {
		w.host.Log(Debug, fmt.Sprintf("would end rule=%s client=%s reason=%s", s.rule.Name, s.place.Client.Short(), why))
	}
}

// schedule sets the timer to the first of the stream's limits.
func (s *Stream) schedule() {
	if s.timing == nil {
		return
	}
	at := s.timing.expiresAt
	if timeout := int64(s.rule.IdleTimeout); timeout > 0 && (at == 0 || s.timing.activeAt+timeout < at) {
		at = s.timing.activeAt + timeout
	}
	if at > 0 {
		s.alarm(at)
	}
}

// mostLeaving bounds the streams of a worker that are saying goodbye. They have no place and no
// limit counts them: no client may pile them up.
const mostLeaving = registry.EndsPerCall / 2

// end ends a stream with a goodbye if its rule wants one and there is a way to say it, and at once
// if not. An idle stream has nothing coming that a goodbye could follow; a dismissed one must go
// at once.
func (s *Stream) end(why Reason, now int64) {
	if why != Expired { // it holds its places until it has ended
		s.leaveFleet(now)
	}
	g := s.goodbye()
	switch {
	case why == Dismissed, why == Idle, g == nil, s.rule.worker.leaving >= mostLeaving:
		s.reset(why)
	case s.phase == leaving: // the last reason counts: a superseded client must wait, an expired one need not
		g.reason = why
	default:
		g.reason = why
		s.enter(leaving)
		s.alarm(now + int64(s.rule.GoodbyeGrace))
	}
}

// reset ends a stream of this worker. Envoy does it when the running callback has returned. It
// changes the effective context.
func (s *Stream) reset(why Reason) {
	w := s.rule.worker
	s.noAlarm()
	s.leaveFleet(w.host.Now())
	w.acted++
	s.enter(resetting)
	if !w.host.Enter(s.place.Context) {
		s.over()
		return
	}
	w.warn(w.host.SetReason(string(why)))
	w.warn(w.host.Reset())
	if w.debug {
		w.host.Log(Debug, fmt.Sprintf("reset rule=%s client=%s reason=%s", s.rule.Name, s.place.Client.Short(), why))
	}
}

// goodbye is what the last event of a stream needs, in a rule with goodbye_grace.
type goodbye struct {
	reason Reason // in the phases leaving and parted: why the stream ends
	tail   []byte // the last bytes of the stream so far
}

func (s *Stream) goodbye() *goodbye {
	if s.timing == nil {
		return nil
	}
	return s.timing.goodbye
}

// canAppend reports whether the filter can add bytes to the response: not if it is compressed, or
// if its length was announced.
func canAppend(h *reading) bool {
	encoding, encoded := h.Header("content-encoding")
	_, counted := h.Header("content-length")
	return (!encoded || encoding == "identity") && !counted
}

// sayGoodbye writes the goodbye after the bytes that are passing, if the stream is leaving and they
// end an event. What comes after the goodbye is dropped.
func (s *Stream) sayGoodbye(size int) {
	w, g := s.rule.worker, s.goodbye()
	response := w.host.Response()
	if s.phase == parted {
		w.warn(response.DropBody())
		return
	}
	n := min(size, reply.TailSize)
	last, err := response.Body(size-n, n)
	if err != nil {
		w.warn(err)
		return
	}
	g.tail = append(g.tail, last...)
	g.tail = append(g.tail[:0], g.tail[max(0, len(g.tail)-reply.TailSize):]...)
	if s.phase != leaving || !reply.AtEventEnd(g.tail) {
		return
	}
	retry := s.rule.Retry + w.jitter(s.rule.Retry/4)
	if g.reason == Expired {
		retry = 0 // it may come back at once
	}
	if err := response.AppendBody(reply.Goodbye(string(g.reason), retry)); err != nil {
		w.warn(err)
		return
	}
	s.enter(parted)
	// A reset in this callback would lose the bytes that are passing. If the recall is lost, the
	// timer resets the stream.
	w.warn(w.registry.Recall(w.host.Now(), &s.place))
}
