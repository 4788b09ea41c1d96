package host_test

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// transcript is a list of guest commands, each with the result that the guest must log.
type transcript []string

// script returns the commands without the results.
func (d transcript) script() string {
	commands := make([]string, len(d))
	for i, line := range d {
		commands[i], _, _ = strings.Cut(line, " -> ")
	}
	return strings.Join(commands, ";")
}

// Every hostcall, with every status that it can return.
func TestHostcalls(t *testing.T) {
	tests := []struct {
		name  string
		phase string // the callback that makes the calls
		lines transcript
	}{
		{"shared data", "request-headers", transcript{
			`get k -> NotFound`,
			`set k _ 4294967295 -> Ok`, // a new key may have any cas
			`get k -> Ok "" cas 1`,
			`set k two 4294967295 -> CasMismatch`,
			`set k two $ -> Ok`,
			`set k three $ -> CasMismatch`,
			`get k -> Ok "two" cas 2`,
			`set k four 0 -> Ok`,
			`get k -> Ok "four" cas 3`,
			`set _ empty-key 0 -> Ok`,
			`get _ -> Ok "empty-key" cas 4`,
		}},
		{"shared queues", "request-headers", transcript{
			`resolve _ jobs -> NotFound`,
			`enqueue 1 item -> NotFound`,
			`dequeue 1 -> NotFound`,
			`register jobs -> Ok 1`,
			`register more -> Ok 2`,
			`register jobs -> Ok 1`,
			`resolve _ jobs -> Ok 1`,
			`resolve my-vm jobs -> Ok 1`,
			`resolve other-vm jobs -> NotFound`,
			`dequeue 1 -> Empty`,
			`enqueue 1 item -> Ok`,
			`enqueue 1 _ -> Ok`,
			`dequeue 1 -> Ok "item"`,
			`dequeue 1 -> Ok ""`,
			`dequeue 1 -> Empty`,
		}},
		{"header maps", "request-headers", transcript{
			`header 0 :method -> Ok "GET"`,
			`header 0 :METHOD -> Ok "GET"`,
			`header 0 x -> NotFound`,
			`add 0 X one -> Ok`,
			`add 0 x two -> Ok`,
			`header 0 x -> Ok "one"`,
			`replace 0 x three -> Ok`,
			`remove 0 x -> Ok`,
			`remove 0 x -> Ok`,
			`header 0 x -> NotFound`,
			`setpairs 0 a=1 B=2 a=3 -> Ok`,
			`mapsize 0 -> Ok 6`,
			`pairs 0 -> Ok "\x03\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00a\x001\x00b\x002\x00a\x003\x00"`,
			`raw setpairs 0 0 1 -> Ok`, // malformed input: an empty map
			`mapsize 0 -> Ok 0`,
			`pairs 0 -> Ok ""`,
			// maps that are not available now
			`header 2 x -> BadArgument`,
			`add 2 x y -> BadArgument`,
			`replace 1 x y -> BadArgument`,
			`remove 3 x -> BadArgument`,
			`setpairs 2 a=1 -> BadArgument`,
			`mapsize 6 -> BadArgument`,
			`header 7 x -> BadArgument`,
			`pairs 2 -> Ok ""`,
			// map types that do not exist
			`header 8 x -> BadArgument`,
			`add 8 x y -> BadArgument`,
			`replace 8 x y -> BadArgument`,
			`remove 8 x -> BadArgument`,
			`pairs 8 -> BadArgument`,
			`setpairs 8 -> BadArgument`,
			`mapsize 8 -> BadArgument`,
		}},
		{"the response callbacks cannot reach the request", "response-headers", transcript{
			`header 0 :method -> BadArgument`,
			`property request/path -> NotFound`,
			`header 2 :status -> Ok "200"`,
			`property response/code -> Ok "\xc8\x00\x00\x00\x00\x00\x00\x00"`,
		}},
		{"on_log can read everything and change nothing", "log", transcript{
			`header 0 :method -> Ok "GET"`,
			`header 2 :status -> Ok "200"`,
			`header 1 x -> NotFound`, // in other callbacks BadArgument
			`header 3 x -> NotFound`,
			`property request/path -> Ok "/events?tab=1"`,
			`add 0 x y -> BadArgument`,
		}},
		{"buffers", "response-body", transcript{
			`bodystatus 1 -> Ok 4`,
			`body 1 0 100 -> Ok "body"`,
			`body 1 1 2 -> Ok "od"`,
			`body 1 4294967295 4294967295 -> Ok ""`,
			`setbody 1 0 0 pre -> Ok`,
			`setbody 1 100 0 post -> Ok`,
			`body 1 0 100 -> Ok "prebodypost"`,
			`setbody 1 1 1 x -> BadArgument`,
			`setbody 1 0 11 all -> Ok`,
			`body 1 0 100 -> Ok "all"`,
			// a body that is not available reads as empty and cannot be written
			`body 0 0 100 -> Ok ""`,
			`bodystatus 0 -> Ok 0`,
			`setbody 0 0 0 x -> BadArgument`,
			`body 4 0 1 -> NotFound`,
			`setbody 4 0 0 x -> NotFound`,
			`bodystatus 4 -> NotFound`,
			`body 6 0 100 -> Ok "say hi"`,
			`setbody 6 0 0 x -> BadArgument`,
			`body 7 0 1 -> NotFound`, // available only in on_context_create and on_configure
			`body 9 0 1 -> BadArgument`,
			`setbody 9 0 0 x -> BadArgument`,
			`bodystatus 9 -> BadArgument`,
		}},
		{"metrics", "request-headers", transcript{
			`define 3 x -> BadArgument`,
			`define 0 c -> Ok 4`,
			`define 0 c -> Ok 8`,
			`define 1 g -> Ok 5`,
			`define 2 h -> Ok 6`,
			`increment 4 0 -> BadArgument`,
			`increment 4 2 -> Ok`,
			`record 8 3 -> Ok`,
			`metric 4 -> Ok 5`,
			`increment 5 7 -> Ok`,
			`increment 5 -3 -> Ok`,
			`metric 5 -> Ok 4`,
			`record 6 9 -> Ok`,
			`metric 6 -> BadArgument`,
			`increment 6 1 -> BadArgument`,
			`metric 12 -> NotFound`,
			`record 10 1 -> NotFound`,
		}},
		{"properties", "request-headers", transcript{
			`property request/path -> Ok "/events?tab=1"`,
			`property request/url_path -> Ok "/events"`,
			`property request/query -> Ok "tab=1"`,
			`property request/method -> Ok "GET"`,
			`property request/host -> Ok "example.test"`,
			`property request/headers/:scheme -> Ok "http"`,
			`property request/headers/x -> NotFound`,
			`property request/nonsense -> NotFound`,
			`property response/code -> NotFound`,
			`property plugin_vm_id -> Ok "my-vm"`,
			`property source/address -> Ok "10.0.0.1:5000"`, // from Config.Properties
			`property connection/id -> Ok "stream's"`,       // from Stream.SetProperty
			`property _ -> SerializationFailure`,
			`property request -> SerializationFailure`,
			`property filter_state -> SerializationFailure`,
			`property plugin_name/x -> NotFound`,
			`property request/time -> Ok "\x00\x00\xfa\xedQr\x86\x18"`,
			`setpairs 0 :path=/ -> Ok`,
			`property request/headers -> Ok "\x01\x00\x00\x00\x05\x00\x00\x00\x01\x00\x00\x00:path\x00/\x00"`,
			`property request/method -> NotFound`,
			`property mine -> NotFound`,
			`setproperty mine value -> Ok`,
			`property mine -> Ok "value"`,
			`property mine/x -> NotFound`,
			`property filter_state/wasm.mine -> Ok "value"`,
			`setproperty a/b value -> Ok`,
			`property a/b -> NotFound`, // its name has a NUL in it, and paths are looked up by element
		}},
		{"streams and contexts", "request-headers", transcript{
			`continue 2 -> Ok`,
			`continue 3 -> Unimplemented`,
			`continue 4 -> BadArgument`,
			`close 2 -> Ok`,
			`close 4 -> BadArgument`,
			`effective 99 -> BadArgument`,
			`effective 1 -> Ok`,
			`header 0 :method -> BadArgument`, // a plugin context has no maps
			`setproperty a b -> NotFound`,
			`close 0 -> Ok`, // although there is nothing to close
			`effective 0 -> Ok`,
			`header 0 :method -> Ok "GET"`,
			`done -> NotFound`,
			`raw log 6 0 0 -> BadArgument`,
			`loglevel -> Ok 3`,
			`time -> Ok 1767225600000000000`,
		}},
		{"WASI", "request-headers", transcript{
			`write 1 ab c -> 3`,
			`write 3 ab -> errno 8`,
			`clock 0 -> 1767225600000000000`,
			`clock 2 -> errno 58`,
			`environ -> 0`,
			`poll -> 0`,
			`random 65537 -> errno 28`,
			`exit -> returned`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, host.Config{
				VMID: "my-vm", VMConfig: []byte("say hi"), LogLevel: host.LogWarn,
				Properties: map[string][]byte{host.PropertyPath("source", "address"): []byte("10.0.0.1:5000")},
			})
			s := w.Worker(0).Open(request(tt.phase, tt.lines.script()))
			s.SetProperty([]byte("stream's"), "connection", "id")
			s.RequestHeaders(true)
			s.ResponseHeaders(host.Response(200), false)
			s.ResponseBody([]byte("body"), true)
			wantLog(t, w.Logs().OfWorker(0), tt.lines...)
		})
	}
}

func TestFilterStateNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", "setproperty one x; setproperty two/parts y")
	got := s.FilterState()
	if got["wasm.one"] != "x" || got["wasm.two\x00parts"] != "y" || len(got) != 2 {
		t.Errorf("got the filter state %q, want wasm.one and wasm.two\\x00parts", got)
	}
}

func TestStdoutAndStderrAreLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	open(w.Worker(0), "request-headers", "write 1 out|; write 2 err||; write 2 _")
	for _, want := range []struct {
		level   host.LogLevel
		message string
	}{{host.LogInfo, "out"}, {host.LogError, "err\n"}} {
		found := 0
		for _, entry := range w.Logs() {
			if entry.Level == want.level && entry.Message == want.message {
				found++
			}
		}
		if found != 1 {
			t.Errorf("got %d lines %q at level %v, want 1:\n%s", found, want.message, want.level, w.Logs())
		}
	}
	if empty := w.Logs().AtLeast(host.LogError); len(empty) != 1 {
		t.Errorf("want one error line, because an empty write is not logged, got\n%s", empty)
	}
}

// Each pointer of each hostcall, out of bounds in turn. The address 0xfffffff0 is beyond any
// guest's memory.
func TestPointersOutOfBounds(t *testing.T) {
	t.Parallel()
	const setup = `set k v 0; register q; enqueue 1 i; enqueue 1 i; enqueue 1 i; define 0 m;`
	calls := []string{
		"log 2 0xfffffff0 1", "log 2 0xffffffff 0xffffffff", "loglevel 0xfffffff0",
		"get 0xfffffff0 1 0 0 0", "set 0xfffffff0 1 0 0 0", "set 0 0 0xfffffff0 1 0",
		"register 0xfffffff0 1 0", "register 0 0 0xfffffff0",
		"resolve 0xfffffff0 1 0 0 0", "resolve 0 0 0xfffffff0 1 0",
		"enqueue 1 0xfffffff0 1", "dequeue 1 0xfffffff0 0", "dequeue 1 0 0xfffffff0",
		"header 0 0xfffffff0 1 0 0", "add 0 0xfffffff0 1 0 0", "add 0 0 0 0xfffffff0 1",
		"replace 0 0xfffffff0 1 0 0", "replace 0 0 0 0xfffffff0 1", "remove 0 0xfffffff0 1",
		"pairs 0 0xfffffff0 0", "pairs 0 0 0xfffffff0", "setpairs 0 0xfffffff0 4", "mapsize 0 0xfffffff0",
		"body 6 0 9 0xfffffff0 0", "body 6 0 9 0 0xfffffff0", "setbody 0 0 0 0xfffffff0 1",
		"bodystatus 6 0xfffffff0 0", "bodystatus 6 0 0xfffffff0",
		"time 0xfffffff0", "define 0 0xfffffff0 1 0", "define 0 0 0 0xfffffff0", "metric 4 0xfffffff0",
		"property 0xfffffff0 1 0 0", "setproperty 0xfffffff0 1 0 0", "setproperty 0 0 0xfffffff0 1",
		"reply 200 0xfffffff0 1 0 0 0 0 0", "reply 200 0 0 0xfffffff0 1 0 0 0", "reply 200 0 0 0 0 0xfffffff0 1 0",
	}
	w := newWorld(t, host.Config{VMConfig: []byte("say hi")})
	var script strings.Builder
	script.WriteString(setup)
	var want []string
	for _, call := range calls {
		script.WriteString("raw " + call + ";")
		want = append(want, "raw "+call+" -> InvalidMemoryAccess")
	}
	s := open(w.Worker(0), "request-headers", script.String())
	wantLog(t, w.Logs().OfWorker(0), want...)

	// No call had an effect.
	if s.Ended() || s.LocalReply() != nil {
		t.Errorf("got local reply %+v, ended %v; want no reply and an open stream", s.LocalReply(), s.Ended())
	}
	if data := w.SharedData(); len(data) != 1 || string(data["k"].Bytes) != "v" {
		t.Errorf("got the shared data %v, want only k = v", data)
	}
	if n := len(s.ToUpstream().Headers); n != 5 {
		t.Errorf("got %d request headers, want the 5 of the client:\n%v", n, s.ToUpstream().Headers)
	}
}
