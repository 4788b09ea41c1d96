package host_test

import (
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// The callbacks at the end of a stream over HTTP/3. Over HTTP/1.1 and HTTP/2 on_log comes first in
// every row. e2e/http3 plays the same streams on Envoy and on this host, and compares the
// callbacks.
func TestEndsOverHTTP3(t *testing.T) {
	t.Parallel()
	upstreamEnds := func(s *host.Stream) {
		s.RequestHeaders(true)
		s.ResponseHeaders(host.Response(200), false)
		s.ResponseBody([]byte("x"), true)
	}
	requestOpen := func(s *host.Stream) {
		s.RequestHeaders(false)
		s.ResponseHeaders(host.Response(200), true)
	}
	clientLeaves := func(s *host.Stream) {
		s.RequestHeaders(true)
		s.ResponseHeaders(host.Response(200), false)
		s.End()
	}
	tests := []struct {
		name    string
		scripts []string // the stream's scripts
		play    func(*host.Stream)
		want    []string // the callbacks at its end
	}{
		{"the upstream ends it", nil, upstreamEnds, []string{"2 done", "2 delete"}},
		{"a reply to the request", []string{"request-headers", "reply 409 _ x"}, upstreamEnds, []string{"2 done", "2 delete"}},
		{"a reply to the response", []string{"response-headers", "reply 409 _ x"}, upstreamEnds, []string{"2 done", "2 delete"}},
		{"the response is over before the request", nil, requestOpen, []string{"2 log", "2 done", "2 delete"}},
		{"a reply before the request is over", []string{"request-headers", "reply 409 _ x"}, requestOpen, []string{"2 log", "2 done", "2 delete"}},
		{"the client leaves", nil, clientLeaves, []string{"2 log", "2 done", "2 delete"}},
		{"the filter resets it", []string{"response-headers", "close 1"}, upstreamEnds, []string{"2 log", "2 done", "2 delete"}},
		{"a reset and a reply", []string{"response-headers", "close 0; reply 409 _ x"}, upstreamEnds, []string{"2 log", "2 done", "2 delete"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{})
			s := w.Worker(0).Open(request(tt.scripts...))
			s.SetProtocol(host.HTTP3)
			tt.play(s)
			got := callbacks(w.Logs().OfWorker(0))
			got = slices.DeleteFunc(got, func(c string) bool {
				return !slices.Contains([]string{"2 log", "2 done", "2 delete"}, c)
			})
			if !slices.Equal(got, tt.want) {
				t.Errorf("got the callbacks %q, want %q:\n%s", got, tt.want, w.Logs())
			}
			if n := w.Worker(0).Contexts(); n != 1 {
				t.Errorf("got %d contexts, want only the plugin's", n)
			}
		})
	}
}

// Each of these makes Envoy 1.40 crash with a segmentation fault over HTTP/3. Over HTTP/1.1 and
// HTTP/2 they are harmless.
func TestSecondResetOverHTTP3(t *testing.T) {
	t.Parallel()
	for _, scripts := range [][]string{
		{"response-headers", "close 0; close 1"},
		{"response-headers", "reply 409 _ x; close 0"},
		{"response-headers", "close 0", "done", "close 0"},
		{"response-headers", "close 0", "delete", "close 0"},
		{"done", "close 0"},
		{"delete", "close 0"},
	} {
		for protocol, want := range map[host.Protocol]bool{host.HTTP1: false, host.HTTP2: false, host.HTTP3: true} {
			w := newWorld(t, host.Config{})
			s := w.Worker(0).Open(request(scripts...))
			s.SetProtocol(protocol)
			s.RequestHeaders(true)
			s.ResponseHeaders(host.Response(200), false)
			s.ResponseBody(nil, true)
			if logged := len(w.Logs().Containing("Envoy crashes here")) > 0; w.Worker(0).Failed() != want || logged != want {
				t.Errorf("%q over %v: got failed %v, want %v, and a line that says so only then:\n%s", scripts, protocol, w.Worker(0).Failed(), want, w.Logs())
			}
		}
	}
}

// A filter that waits for on_log can find in its tick that the stream is gone.
func TestContextIsGoneOverHTTP3(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{}, "configure: tick 1000", "tick: effective 2")
	s := w.Worker(0).Open(request())
	s.SetProtocol(host.HTTP3)
	s.RequestHeaders(true)
	s.ResponseHeaders(host.Response(200), false)
	w.Worker(0).Tick()
	s.ResponseBody(nil, true)
	w.Worker(0).Tick()
	wantLog(t, w.Logs(), "effective 2 -> Ok", "2 done", "2 delete", "effective 2 -> BadArgument")
}

func TestProtocolProperty(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	for _, p := range []host.Protocol{0, host.HTTP1, host.HTTP2, host.HTTP3} {
		s := w.Worker(0).Open(request("request-headers", "property request/protocol"))
		if p != 0 {
			s.SetProtocol(p)
		}
		s.RequestHeaders(true)
	}
	wantLog(t, w.Logs(),
		`property request/protocol -> Ok "HTTP/1.1"`, `property request/protocol -> Ok "HTTP/1.1"`,
		`property request/protocol -> Ok "HTTP/2"`, `property request/protocol -> Ok "HTTP/3"`)
}
