package session

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/reply"
)

// Response is called with the headers of the response. If it is an event stream, it claims the
// client's place now, unless the rule claims at the request: an attempt that the backend turns away
// must not cost the client a healthy stream.
func (s *Stream) Response(endOfStream bool) Action {
	if s.phase > claimed { // refused, or on its way out
		return Continue
	}
	if s.phase == looking || s.phase == claiming || s.phase == joining { // Envoy itself has answered what waits
		s.release()
		s.enter(done)
		return Continue
	}
	w := s.rule.worker
	response := &w.reading
	response.from = w.host.Response()
	defer response.forget()
	if !isEventStream(response, endOfStream) {
		s.release() // a place that was claimed at the request, for nothing
		s.enter(done)
		return Continue
	}
	now := w.host.Now()
	s.noAlarm() // of a request that waited, and that Envoy itself has answered
	if s.phase < paused {
		if s.tracked() {
			s.release() // what the fleet knows of it
			s.enter(done)
			return Continue
		}
		if s.fleet != nil {
			return s.joinFleet(response, now)
		}
		verdict := policy.Verdict{Refusal: policy.TooLong}
		if !s.tooLong {
			verdict = s.claim(now)
		}
		if verdict.Refusal != 0 {
			if s.refuse(verdict, nil, nil, now) == refused {
				return Pause
			}
			return Continue
		}
	}
	s.opened(now, canAppend(response))
	return Continue
}

// joinFleet asks the fleet for a place. Until it has come, the response waits.
func (s *Stream) joinFleet(response *reading, now int64) Action {
	s.fleet.canAppend = canAppend(response)
	if s.overloads(now) {
		if s.refuse(policy.Verdict{Refusal: policy.Overloaded}, nil, nil, now) == refused {
			return Pause
		}
		return Continue
	}
	v, came := s.rule.worker.fleet.ask(s, now, false, joining)
	if !came {
		return Pause
	}
	if s.joined(*v, now) == refused {
		return Pause
	}
	return Continue
}

// opened is called when the response is an event stream, and has its place.
func (s *Stream) opened(now int64, canAppend bool) {
	w := s.rule.worker
	s.enter(open)
	s.openedAt = now
	w.add(s.rule.metrics.opened, 1)
	if lifetime := s.rule.MaxLifetime; lifetime > 0 {
		cut := w.jitter(lifetime * policy.Millis(s.rule.LifetimeJitterPercent) / 100)
		s.timed().expiresAt = now + max(1, int64(lifetime-cut))
	}
	if s.rule.GoodbyeGrace > 0 && s.place.Enforce && canAppend {
		s.timed().goodbye = &goodbye{}
	}
	if s.rule.IdleTimeout > 0 {
		s.timed().activeAt = now
	}
	s.schedule()
}

// isEventStream reports whether a response with these headers is a stream that a client can hold: a
// 200 of media type text/event-stream, with a body to come.
func isEventStream(h *reading, endOfStream bool) bool {
	if endOfStream { // an answer to HEAD
		return false
	}
	h.readAll() // of most responses several are needed
	if status, _ := h.Header(":status"); status != "200" {
		return false
	}
	if _, refusal := h.Header(reply.Marker); refusal { // by another streamlatch, behind this one
		return false
	}
	contentType, _ := h.Header("content-type")
	return reply.IsEventStream(contentType)
}

// ResponseBody sees size bytes of the body pass.
func (s *Stream) ResponseBody(size int, endOfStream bool) {
	if s.openedAt == 0 || size == 0 {
		return
	}
	if s.rule.IdleTimeout > 0 {
		s.timed().activeAt = s.rule.worker.host.Now()
	}
	if s.goodbye() != nil && (!endOfStream || s.phase == parted) {
		s.sayGoodbye(size)
	}
}

// End is called when Envoy tells that the stream has ended, for whatever reason.
func (s *Stream) End() {
	s.tellCut()
	s.over()
}

// over is the end of the stream. Only the first call does something.
func (s *Stream) over() {
	if s.phase == done || s.phase == releasing {
		return
	}
	w := s.rule.worker
	wasOpen := s.phase == open
	held, known := s.release()
	if wasOpen && !known {
		s.enter(releasing)
	} else {
		s.enter(done)
	}
	if s.openedAt == 0 { // not an event stream, or not yet
		return
	}
	if wasOpen && held {
		w.add(s.rule.metrics.released, 1)
	}
	duration := uint64(max(0, w.host.Now()-s.openedAt))
	w.record(s.rule.metrics.duration, duration)
	if w.debug {
		w.host.Log(Debug, fmt.Sprintf("ended rule=%s client=%s held=%t duration_ms=%d",
			s.rule.Name, s.place.Client.Short(), held, duration))
	}
}

// release gives the place back, if the stream has one. It reports whether it had it until now, and
// whether that is known: if not, a tick will find out.
func (s *Stream) release() (held, known bool) {
	s.noAlarm()
	s.leaveFleet(s.rule.worker.host.Now())
	held, err := s.rule.worker.registry.Release(&s.place)
	s.rule.worker.warn(err)
	return held, err == nil
}

// released says that a stream in the phase releasing held its place to its end.
func (s *Stream) released() {
	if s.phase == releasing {
		s.rule.worker.add(s.rule.metrics.released, 1)
	}
	s.enter(done)
}
