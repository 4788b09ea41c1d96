package main

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// A stream is one request for an event stream, as its client sees it.
type stream struct {
	id     int64       // names the stream to the backend
	key    string      // of the client, for the filter
	flood  bool        // the backend never stops sending
	extra  [][2]string // more headers of the request
	sent   time.Time
	status int          // of the response
	watch  watcher      // nil: nobody watches
	leave  func()       // makes the client hang up; a transport sets it
	news   atomic.Int64 // bytes of the body so far
}

// A watcher is told what becomes of a stream: first answered, unless there is no answer, and then
// ended. The calls come from the goroutine that reads the connection.
type watcher interface {
	answered(*stream, verdict)
	ended(*stream, time.Time)
}

// A verdict is what the response's headers say.
type verdict int

const (
	letIn   verdict = iota + 1
	refused         // by the filter
	failed          // anything else
)

// answer tells the watcher of the response's headers.
func (s *stream) answer(status int, header func(string) string) {
	s.status = status
	if s.watch != nil {
		s.watch.answered(s, judge(status, header))
	}
}

func judge(status int, header func(string) string) verdict {
	switch {
	case header("x-streamlatch-refused") != "" || status == http.StatusConflict || status == http.StatusTooManyRequests:
		return refused
	case status == http.StatusOK && header("content-type") == "text/event-stream":
		return letIn
	default:
		return failed
	}
}

// A transport is how clients reach Envoy. If send returns an error, the stream's watcher is not
// called.
type transport interface{ send(*stream) error }

var lastID atomic.Int64

func newStream(key string, w watcher) *stream {
	return &stream{id: lastID.Add(1), key: key, watch: w}
}

// The headers in which a stream talks to the backend. The filter looks at none of them.
const (
	headerID    = "x-load-id"
	headerFlood = "x-load-flood"
)

// fields returns the request's headers, without the pseudo headers. They are those of a browser's
// EventSource, so a refusal is an event stream, too.
func (s *stream) fields() [][2]string {
	return append([][2]string{
		{"accept", "text/event-stream"},
		{"cache-control", "no-cache"},
		{"pragma", "no-cache"},
		{"user-agent", "Mozilla/5.0 (load)"},
		{headerID, fmt.Sprint(s.id)},
		{headerFlood, fmt.Sprint(s.flood)},
	}, s.extra...)
}

func (s *stream) path() string { return "/events?client=" + s.key }

func (s *stream) onEnd() {
	if s.watch != nil {
		s.watch.ended(s, time.Now())
	}
}
