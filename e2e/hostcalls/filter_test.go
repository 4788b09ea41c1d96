package hostcalls

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// dialogueOf is a dialogue of a request without a body.
func dialogueOf(name string, scripts ...string) dialogue {
	return dialogue{name: name, scripts: scripts}
}

// stepsOf is a dialogue with steps. They are separated by semicolons.
func stepsOf(name, steps string, scripts ...string) dialogue {
	return dialogue{name: name, scripts: scripts, steps: strings.Split(steps, "; ")}
}

const answer = "; respond 200 x-r=1; data one; data two; finish"

// Shared data of one VM.
func TestSharedData(t *testing.T) {
	compare(t, []dialogue{
		dialogueOf("absent", "request-headers", "get k; set k a 77; get k"),
		dialogueOf("cas 0 overwrites", "request-headers", "set k b 0; get k; set k c $; get k"),
		dialogueOf("another cas", "request-headers", "get k; set k d 9999; get k; set k e 4294967295; get k"),
		dialogueOf("create if absent", "request-headers", "set n a 4294967295; set n b 4294967295; get n"),
		dialogueOf("one counter for all keys", "request-headers", "set p a 0; get p; set q a 0; get q; set p b 0; get p"),
		dialogueOf("empty values and keys", "request-headers", "set v _ 0; get v; get _; set _ x 0; get _"),
		dialogueOf("a stale cas", "request-headers", "set s a 0; get s; set s b 0; set s c $; get s"),
	})
}

// Shared queues, whose listener is the same plugin.
func TestQueues(t *testing.T) {
	const wakes = "dequeue 1; dequeue 1"
	compare(t, []dialogue{
		dialogueOf("before there is one", "request-headers", "resolve _ q; dequeue 0; dequeue 1; enqueue 1 x; enqueue 0 x"),
		dialogueOf("registered twice", "request-headers", "register q; register q; resolve _ q; resolve nope q; dequeue $; register r; resolve _ r"),
		dialogueOf("a wake-up for each item", "request-headers", "enqueue 1 a; enqueue 1 b; enqueue 1 _; return 1",
			"plugin-queue-ready", "dequeue $; effective $id; continue 0"),
		dialogueOf("the items are gone before the wake-up", "request-headers", "enqueue 1 a; dequeue 1; dequeue 1; return 1",
			"plugin-queue-ready", wakes+"; effective $id; continue 0"),
		dialogueOf("registering again keeps the items", "request-headers", "enqueue 1 a; register q; dequeue 1; return 1",
			"plugin-queue-ready", wakes+"; effective $id; continue 0"),
		dialogueOf("what a wake-up can reach", "request-headers", "enqueue 2 a; return 1",
			"plugin-queue-ready", "header 0 :path; body 0 0 9; property request/path; reply 403 _ _; effective $id; header 0 :path; continue 0"),
		dialogueOf("a stream is reset in a wake-up", "request-headers", "enqueue 2 a; return 1", "plugin-queue-ready", "effective $id; close 0; header 0 :path"),
		dialogueOf("a reply is sent in a wake-up", "request-headers", "enqueue 2 a; return 1", "plugin-queue-ready", "effective $id; reply 403 det no"),
	})
}

// Timers. The clock goes on while a stream waits.
func TestTimers(t *testing.T) {
	compare(t, []dialogue{
		stepsOf("a tick", "wait", "request-headers", "tick 20; return 1", "plugin-tick", "tick 0; effective $id; reply 200 _ _"),
		stepsOf("the newest period counts", "wait", "request-headers", "tick 100000; tick 20; return 1", "plugin-tick", "tick 0; effective $id; reply 200 _ _"),
		stepsOf("what a tick can reach", "wait", "request-headers", "tick 20; return 1", "plugin-tick",
			"tick 0; header 0 :path; pairs 0; property request/path; setproperty a b; close 0; continue 0; effective 9999; effective 0; effective 1; effective $id; header 0 :path; continue 0"),
		stepsOf("stopped before it ticks", "wait; leave", "request-headers", "tick 20; tick 0; return 1"),
	})
}

// Metrics.
func TestMetrics(t *testing.T) {
	compare(t, []dialogue{
		dialogueOf("a counter", "request-headers", "define 0 c; increment $ 5; metric $; increment 0x4 1"),
		dialogueOf("counters go up", "request-headers", "define 0 c; increment $ 0; increment $ -1; record $ 3; metric $"),
		dialogueOf("a gauge", "request-headers", "define 1 g; increment $ 5; increment $ -2; metric $; record $ 17; metric $; increment $ 0"),
		dialogueOf("a histogram", "request-headers", "define 2 h; increment $ 5; record $ 17; metric $"),
		dialogueOf("defined again", "request-headers", "define 0 c; metric $; define 0 c; metric $; increment $ 1; metric $"),
		dialogueOf("no such metric, no such type", "request-headers", "define 3 x; define 4294967295 x; metric 4000; increment 4000 1; record 4000 1; metric 3; increment 3 1; record 3 1"),
		dialogueOf("an empty name", "request-headers", "define 0 _; increment $ 1; metric $"),
	})
}

// Properties that the guest sets, and their paths.
func TestProperties(t *testing.T) {
	compare(t, []dialogue{
		dialogueOf("set and read", "request-headers", "setproperty k v; property k; property wasm.k; property filter_state/wasm.k; setproperty k w; property k"),
		dialogueOf("two elements", "request-headers", "setproperty a/b v; property a/b; property a; setproperty a x; property a; property a/b"),
		dialogueOf("empty", "request-headers", "setproperty k _; property k; setproperty _ v; property _"),
		dialogueOf("in every callback", "request-headers", "setproperty k v", "response-headers", "property k; setproperty k w", "log", "property k; setproperty k x", "done", "property k",
			"delete", "property k"),
		dialogueOf("without a stream", "request-headers", "enqueue 1 a; register q; enqueue $ a; return 1",
			"plugin-queue-ready", "setproperty k v; property k; property request/path; property plugin_name; property plugin_root_id; property node; effective $id; continue 0"),
	})
}

// Header maps.
func TestHeaderMaps(t *testing.T) {
	two := host.Headers{{Name: "x-a", Value: "1"}, {Name: "x-a", Value: "2"}, {Name: "x-empty", Value: ""}}
	const (
		change = "header %m x-a; header %m X-A; header %m nope; add %m x-a 3; header %m x-a; replace %m x-a 4; header %m x-a; add %m X-New 5; header %m x-new; " +
			"remove %m x-a; header %m x-a; remove %m nope; replace %m x-b 6; header %m x-b"
		set = "setpairs %m x-z=1 X-Y=2 x-z=3; pairs %m; mapsize %m; setpairs %m; pairs %m; mapsize %m"
	)
	all := ""
	for _, m := range "0123456789" {
		all += "header %m x-a; add %m x-t b; replace %m x-t b; remove %m x-q; "
		if m != '0' { // the size of real request headers differs
			all += "mapsize %m; "
		}
		all = strings.ReplaceAll(all, "%m", string(m))
	}
	pairs := "pairs 1; pairs 3; pairs 4; pairs 5; pairs 6; pairs 7; pairs 8; pairs 9; setpairs 8 a=b; setpairs 3 a=b; setpairs 6 a=b"
	of := func(script, m string) string { return strings.ReplaceAll(script, "%m", m) }
	with := func(d dialogue, h host.Headers) dialogue {
		d.headers = h
		return d
	}
	dialogues := []dialogue{
		with(stepsOf("of the request", "end"+answer, "request-headers", of(change, "0")), two),
		stepsOf("of the response", "end; respond 200 x-a=1 x-a=2; data one; finish", "response-headers", of(change, "2")+"; "+of(set, "2")+"; add 2 :status 201"),
		stepsOf("of the request's trailers", "body hello; trailers x-a=1 x-t=2"+answer, "request-trailers", of(change, "1")+"; "+of(set, "1")),
		stepsOf("of the response's trailers", "end; respond 200; data one; close x-a=1 x-t=2", "response-trailers", of(change, "3")+"; "+of(set, "3")),
		stepsOf("response headers in the request", "end"+answer, "request-headers", "header 2 :status; pairs 2; add 2 x-a b; mapsize 2"),
		stepsOf("request headers in the response", "end"+answer, "response-headers", "header 0 :path; header 1 x; add 0 x-a b; replace 0 x-a b; remove 0 x-a; setpairs 0 x=y; pairs 0; mapsize 0"),
		stepsOf("too many pairs", "body hello; trailers x-t=1"+answer, "request-trailers", "setmany 1 1024; mapsize 1; setmany 1 1025; mapsize 1; pairs 1"),
		with(stepsOf("an empty value", "end"+answer, "request-headers", "header 0 x-empty; add 0 x-e _; header 0 x-e; replace 0 x-a _; header 0 x-a"), two),
	}
	for _, phase := range []string{"request-headers", "request-body", "request-trailers", "response-headers", "response-body", "response-trailers", "log", "done", "delete"} {
		dialogues = append(dialogues, with(stepsOf("every map in "+phase, "body hello; trailers x-t=1; respond 200 x-a=1; data one; close x-u=1", phase, all+pairs), two))
	}
	compare(t, dialogues)
}

// Bodies.
func TestBuffers(t *testing.T) {
	every := ""
	for _, b := range "0123456789" {
		every += strings.ReplaceAll("body %b 0 9; bodystatus %b; setbody %b 0 0 x; ", "%b", string(b))
	}
	dialogues := []dialogue{
		stepsOf("reading", "body hello; end"+answer, "request-body", "body 0 0 100; body 0 2 2; body 0 5 1; body 0 99 1; body 0 0 0; body 0 4294967295 1; body 0 1 4294967295; bodystatus 0"),
		stepsOf("prepend", "body hello; end"+answer, "request-body", "setbody 0 0 0 ab; body 0 0 100"),
		stepsOf("replace the first bytes", "body hello; end"+answer, "request-body", "setbody 0 0 2 XYZ; body 0 0 100"),
		stepsOf("replace all", "body hello; end"+answer, "request-body", "setbody 0 0 4294967295 new; body 0 0 100"),
		stepsOf("replace all by nothing", "body hello; end"+answer, "request-body", "setbody 0 0 5 _; body 0 0 100"),
		stepsOf("append", "body hello; end"+answer, "request-body", "setbody 0 5 0 -a; setbody 0 99 0 -b; setbody 0 99 7 -c; body 0 0 100"),
		stepsOf("in the middle", "body hello; end"+answer, "request-body", "setbody 0 2 1 X; setbody 0 1 99 X; body 0 0 100"),
		stepsOf("the response's", "end"+answer, "response-body", "body 1 0 100; setbody 1 0 0 <; setbody 1 99 0 >; bodystatus 1; body 0 0 9"),
		stepsOf("held and shown whole", "body one; body two; end"+answer, "request-body", "body 0 0 100; return 1"),
		stepsOf("held, changed and let go", "body one; body two; wait; leave", "request-body", "body 0 0 100; setbody 0 0 3 X; return 1"),
	}
	for _, phase := range []string{"request-headers", "request-body", "response-headers", "response-body", "log"} {
		dialogues = append(dialogues, stepsOf("every buffer in "+phase, "body hello; end"+answer, phase, every))
	}
	compare(t, dialogues)
}

// Actions, and continue_stream.
func TestActions(t *testing.T) {
	compare(t, []dialogue{
		stepsOf("continue", "body one; trailers x-t=1"+answer),
		stepsOf("headers stop, and the body waits", "body one; body two; leave", "request-headers", "return 1"),
		stepsOf("headers stop and go on later", "body one; other continue 0; body two; end"+answer, "request-headers", "return 1"),
		stepsOf("headers stop and go on with trailers", "body one; trailers x-t=1; other continue 0 | header 0 :path | body 0 0 9"+answer, "request-headers", "return 1"),
		stepsOf("headers stop and continue in one", "body one; end"+answer, "request-headers", "continue 0; header 0 :path; return 1"),
		stepsOf("body stops and goes on later", "body one; body two; other body 0 0 9 | continue 0 | body 0 0 9; body three; end; other continue 0"+answer, "request-body", "return 1"),
		stepsOf("a buffer that is changed from outside", "body one; other setbody 0 0 0 x | body 0 0 9; end; other body 0 0 9 | continue 0"+answer, "request-body", "return 1"),
		stepsOf("body stops without a buffer", "body one; body two; leave", "request-body", "body 0 0 9; return 4"),
		stepsOf("body stops with other numbers", "body one; body two; leave", "request-body", "body 0 0 9; return 3"),
		stepsOf("headers stop with 2", "body one; leave", "request-headers", "return 2"),
		dialogueOf("headers stop with 2, and nothing follows", "request-headers", "return 2; header 0 :path"),
		stepsOf("response headers stop with 2", "end; respond 200 x-r=1; data one; finish", "response-headers", "return 2"),
		stepsOf("headers stop with 3", "body one; leave", "request-headers", "return 3"),
		stepsOf("headers stop with 4", "body one; leave", "request-headers", "return 4"),
		stepsOf("headers stop with 5", "body one; leave", "request-headers", "return 5"),
		stepsOf("trailers stop and go on later", "body one; trailers x-t=1; other header 1 x-t | continue 0"+answer, "request-trailers", "return 1"),
		stepsOf("response headers stop and go on later", "end; respond 200 x-r=1; data one; other header 2 x-r | continue 1; data two; finish", "response-headers", "return 1"),
		stepsOf("response body stops and goes on later", "end; respond 200 x-r=1; data one; data two; other body 1 0 9 | setbody 1 0 0 x | continue 1; finish; other continue 1", "response-body", "body 1 0 9; return 1"),
		stepsOf("response trailers stop and go on later", "end; respond 200; data one; close x-t=1; other header 3 x-t | add 3 x-u 2 | continue 1", "response-trailers", "return 1"),
		stepsOf("no such stream type", "end"+answer, "request-body", "continue 2; continue 3; continue 4; continue 4294967295"),
		stepsOf("other streams are out of reach", "body one; other header 0 :path | close 0", "request-headers", "return 1"),
		stepsOf("trailers that the guest adds", "body one; end"+answer, "request-body", "add 1 x-t 1; header 1 x-t"),
		stepsOf("an unknown context", "end"+answer, "request-headers", "effective 9999; effective 1; header 0 :path; effective $id; header 0 :path; effective 0"),
	})
}

// How streams end.
func TestEndings(t *testing.T) {
	compare(t, []dialogue{
		stepsOf("complete", "body one; end"+answer),
		stepsOf("the client leaves while the request waits", "body one; leave", "request-headers", "return 1"),
		stepsOf("the client leaves in the response", "end; respond 200; data one; leave"),
		stepsOf("the response is complete first", "body one; respond 200; data one; finish"),
		stepsOf("reset at once", "end", "request-headers", "close 0; header 0 :path; body 0 0 9"),
		stepsOf("reset by the other type", "end", "request-headers", "close 1"),
		stepsOf("reset in the request's body", "body one", "request-body", "close 0; body 0 0 9"),
		stepsOf("reset in the response's headers", "end; respond 200", "response-headers", "close 1"),
		stepsOf("reset in the response's body loses the chunk", "end; respond 200; data one", "response-body", "close 1; body 1 0 9"),
		stepsOf("other types", "end"+answer, "request-headers", "close 2; close 3; close 4; close 4294967295"),
		stepsOf("a reply to the request", "end", "request-headers", "reply 403 det no x-l=1; header 0 :path", "response-headers", "header 2 x-l; header 2 :status; add 2 x-m 2", "response-body", "body 1 0 9"),
		stepsOf("a reply to the body", "body one", "request-body", "reply 403 det no", "response-headers", "header 2 :status"),
		stepsOf("a reply without a body", "end", "request-headers", "reply 204 _ _ x-l=1"),
		stepsOf("a reply in place of the response", "end; respond 200 x-r=1", "response-headers", "reply 403 det no x-l=1"),
		stepsOf("a reply that comes too late", "end; respond 200 x-r=1; data one", "response-body", "reply 403 det no"),
		stepsOf("a reply and a continue", "end", "request-headers", "reply 403 det no; continue 0"),
		stepsOf("hostcalls in on_log", "end"+answer, "log", "close 2; continue 0; body 1 0 9"),
		stepsOf("the context is gone", "wait", "request-headers", "tick 20; close 0", "plugin-tick", "tick 0; effective $id"),
		stepsOf("a reset and a reply", "end", "request-headers", "close 0; reply 403 det no"),
		stepsOf("two resets, later", "body one; other close 0 | close 1", "request-headers", "return 1"),
		stepsOf("two resets", "end", "request-headers", "close 0; close 1"),
		stepsOf("a reply and a reset", "end", "request-headers", "reply 403 det no; close 0"),
		stepsOf("a status of three digits", "end", "request-headers", "reply 299 det no"),
	})
}

// Pointers and lengths that are outside of the guest's memory.
func TestBadPointers(t *testing.T) {
	const out, end = "4294967280", "4294967295"
	script := ""
	for _, call := range []string{
		"log 2 %o 5", "loglevel %o", "get %o 5 4 8 12", "set %o 5 4 4 0", "set 0 4 %o 5 0", "register %o 5 4", "resolve %o 5 0 4 8", "resolve 0 0 %o 5 8",
		"enqueue 1 %o 5", "header 0 %o 5 4 8", "add 0 %o 5 0 4", "add 0 0 4 %o 5", "replace 0 %o 5 0 4", "remove 0 %o 5", "pairs 0 %o 4", "pairs 0 4 %o",
		"setpairs 0 %o 5", "mapsize 0 %o", "body 0 0 9 %o 4", "setbody 0 0 0 %o 5", "bodystatus 0 %o 4", "time %o", "define 0 %o 5 4", "define 0 0 0 %o",
		"metric 4 %o", "property %o 5 4 8", "setproperty %o 5 0 4", "setproperty 0 4 %o 5", "reply 200 %o 5 0 0 0 0 0", "reply 200 0 0 %o 5 0 0 0", "reply 200 0 0 0 0 %o 5 0",
		"httpcall %o 5 0 0 0 0 0 0 0 4", "httpcall 0 0 0 0 0 0 0 0 0 %o", "status %o 4 8", "status 4 %o 8", "foreign %o 5 0 0 4 8", "foreign 0 0 %o 5 4 8",
		"grpccall %o 5 0 0 0 0 0 0 0 0 0 4", "grpcstream %o 5 0 0 0 0 0 0 4", "grpcsend 2 %o 5 0",
	} {
		script += "raw " + strings.ReplaceAll(call, "%o", out) + "; "
	}
	compare(t, []dialogue{
		dialogueOf("near the end of all memory", "request-headers", script),
		dialogueOf("at the very end", "request-headers", strings.ReplaceAll(script, out, end)),
		dialogueOf("lengths that go round", "request-headers", strings.ReplaceAll(strings.ReplaceAll(script, out, "16"), " 5", " "+end)),
	})
}

// Actions with the option allow_on_headers_stop_iteration.
func TestStopIteration(t *testing.T) {
	const path = "header 0 :path; body 0 0 9"
	compareWith(t, setup{allowStop: true}, []dialogue{
		stepsOf("the body lets the headers go", "body one; body two; end"+answer, "request-headers", "return 1", "request-body", path),
		stepsOf("the end lets the headers go", "end"+answer, "request-headers", "return 1", "request-body", path),
		stepsOf("the body is buffered, too", "body one; body two; other header 0 :path | continue 0; end; other continue 0"+answer, "request-headers", "return 1", "request-body", path+"; return 1"),
		stepsOf("continue_stream before the body", "other header 0 :path | continue 0 | header 0 :path; body one; end"+answer, "request-headers", "return 1"),
		stepsOf("trailers let the headers go", "body one; trailers x-t=1"+answer, "request-headers", "return 1", "request-body", path+"; return 1", "request-trailers", path),
		stepsOf("of the response", "end; respond 200 x-r=1; data one; data two; finish", "response-headers", "return 1", "response-body", "header 2 x-r; replace 2 x-r 2; body 1 0 9"),
		stepsOf("other numbers", "body one; leave", "request-headers", "return 3"),
		stepsOf("with a reply", "end", "request-headers", "reply 403 det no; return 1"),
	})
}
