package session

import (
	"fmt"

	"github.com/streamlatch/streamlatch/filter/config"
)

// What tells an operator that the settings around the filter do not fit: nothing fails then, but
// nobody is limited, or streams end that should not. A line of a kind comes at once the first time,
// and then once a minute at most.

// countNoKey counts and logs a request that matches the rule, and lacks the source with this index.
func (w *Worker) countNoKey(r *rule, missing int, request Request) {
	r.countMatched(w) // a worker that never had a stream has no tick
	w.add(r.metrics.noKey, 1)
	if missing > 0 {
		w.add(r.metrics.noKeyLater[missing-1], 1)
	}
	if !r.missed[missing].allow(w.host.Now(), minute) {
		return
	}
	line := fmt.Sprintf("no_key rule=%s missing=client[%d] source=%s", r.Name, missing, config.SourceString(r.Client[missing]))
	if why := r.Client.WhyMissing(missing, request); why != "" {
		line += fmt.Sprintf(" hint=%q", why)
	}
	w.host.Log(Warn, line)
}

// countMatched brings the count of requests up to date. Each tick does it: a call out of the VM for
// each request would be felt by those that are no event streams.
func (r *rule) countMatched(w *Worker) {
	if r.matched > 0 {
		w.add(r.metrics.matched, r.matched)
		r.matched = 0
	}
}

// tellCut logs which of Envoy's settings has cut the stream, if it was one. Envoy is asked once a
// second at most, because most streams end in another way.
func (s *Stream) tellCut() {
	if s.phase != open && s.phase != observed {
		return
	}
	w, now := s.rule.worker, s.rule.worker.host.Now()
	if !w.asked.allow(now, second) {
		return
	}
	details := w.host.Details()
	hint := hintAgainst(details)
	if hint == "" || !s.rule.cut.allow(now, minute) {
		return
	}
	w.host.Log(Warn, fmt.Sprintf("cut rule=%s client=%s duration_ms=%d by=%s hint=%q",
		s.rule.Name, s.place.Client.Short(), now-s.openedAt, details, hint))
}

// hintAgainst returns what lets streams live that Envoy has ended with these details, or "".
//
// Envoy: envoy/stream_info/stream_info.h, ResponseCodeDetailValues.
func hintAgainst(details string) string {
	switch details {
	case "response_timeout":
		return "the route needs timeout: 0s"
	case "stream_idle_timeout":
		return "the route needs idle_timeout: 0s"
	}
	return ""
}
