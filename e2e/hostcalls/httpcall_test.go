package hostcalls

import "testing"

// Everything that a guest can see of proxy_http_call.
func TestHTTPCall(t *testing.T) {
	const (
		// What the guest does with each answer, and then lets the stream go on.
		answered = "status; header 6 :status; header 6 x-two; header 6 content-type; header 7 sum; body 4 0 200; bodystatus 4; " +
			"effective $id; header 0 x; body 4 0 3; continue 0; header 0 x"
		to = " :method=GET :authority=auth; return 1"
	)
	call := func(name, call string) dialogue {
		return dialogue{name: name, scripts: []string{"request-headers", call, "plugin-http-call-response", answered}}
	}
	compare(t, []dialogue{
		call("answered", "httpcall backend 0 _ :path=/check?a=b x-a=1 :method=GET :authority=auth; return 1"),
		call("body and trailers", "httpcall backend 0 body :path=/ x-a=1 :method=POST :authority=auth | t=1; return 1"),
		call("an answer without a body", "httpcall backend 0 _ :path=/none"+to),
		call("no such cluster", "httpcall nope 0 _ :path=/"+to+"; return 0"),
		call("a negative time-out", "httpcall backend 4294967295 _ :path=/"+to+"; return 0"),
		call("no path", "httpcall backend 0 _ :method=GET :authority=a"),
		call("no method", "httpcall backend 0 _ :path=/ :authority=a"),
		call("no authority", "httpcall backend 0 _ :path=/ :method=GET"),
		call("no endpoints", "httpcall empty 0 _ :path=/"+to+"; return 0"),
		call("nobody listens", "httpcall refused 0 _ :path=/"+to),
		call("reset", "httpcall backend 0 _ :path=/abort"+to),
		call("reset after the headers", "httpcall backend 0 _ :path=/broken"+to),
		call("no answer in time", "httpcall silent 50 _ :path=/"+to),
		call("half an answer in time", "httpcall half 50 _ :path=/"+to),
		call("nothing is shown outside of the callback", "header 6 x; header 7 x; pairs 6; pairs 7; mapsize 6; body 4 0 1; bodystatus 4; status"),
		{name: "the answer is read-only", scripts: []string{"request-headers", "httpcall backend 0 _ :path=/" + to, "plugin-http-call-response",
			"mapsize 6; add 6 a b; replace 6 a b; remove 6 a; setpairs 6 a=b; setbody 4 0 0 x; add 7 a b; effective $id; continue 0"}},
		{name: "the stream has ended", scripts: []string{"request-headers", "httpcall backend 0 _ :path=/" + to + "; close 0", "plugin-http-call-response",
			"header 6 :status; effective $id; header 0 :path"}},
		{name: "the answer is gone when what it has caused happens", scripts: []string{"request-headers", "httpcall backend 0 _ :path=/" + to,
			"plugin-http-call-response", "header 6 x-two; effective $id; close 0", "log", "header 6 x-two; pairs 6; body 4 0 9; status"}},
		{name: "a callout from an answer", scripts: []string{"request-headers", "httpcall backend 0 _ :path=/" + to, "plugin-http-call-response",
			"header 6 x-two; httpcall empty 0 _ :path=/" + to + "; effective $id; continue 0; get k"}},
	})
}
