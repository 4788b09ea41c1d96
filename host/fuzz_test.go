package host_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// phases are the callbacks in which a fuzzed guest makes hostcalls, with their types.
var phases = []function{
	{name: "proxy_on_vm_start", typ: "ii->i"}, {name: "proxy_on_configure", typ: "ii->i"},
	{name: "proxy_on_context_create", typ: "ii->"}, {name: "proxy_on_tick", typ: "i->"},
	{name: "proxy_on_request_headers", typ: "iii->i"}, {name: "proxy_on_request_body", typ: "iii->i"},
	{name: "proxy_on_response_headers", typ: "iii->i"}, {name: "proxy_on_response_body", typ: "iii->i"},
	{name: "proxy_on_queue_ready", typ: "ii->"}, {name: "proxy_on_http_call_response", typ: "iiiii->"},
	{name: "proxy_on_grpc_receive", typ: "iii->"}, {name: "proxy_on_grpc_close", typ: "iii->"},
	{name: "proxy_on_foreign_function", typ: "iii->"},
	{name: "proxy_on_new_connection", typ: "i->i"}, {name: "proxy_on_downstream_data", typ: "iii->i"},
	{name: "proxy_on_upstream_data", typ: "iii->i"}, {name: "proxy_on_downstream_connection_close", typ: "ii->"},
	{name: "proxy_on_upstream_connection_close", typ: "ii->"},
	{name: "proxy_on_request_trailers", typ: "ii->i"}, {name: "proxy_on_response_trailers", typ: "ii->i"},
	{name: "proxy_on_done", typ: "i->i"}, {name: "proxy_on_log", typ: "i->"}, {name: "proxy_on_delete", typ: "i->"},
	{name: "malloc", typ: "i->i"},
}

// words are the arguments of a fuzzed guest's hostcalls: enumerations, sizes, pointers within its
// one page of memory, at its end and beyond, and the greatest of all.
var words = []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64, 100, 1000, 0x7fff, 0xfff0, 0xfffc, 0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff}

// guestOf makes a guest of arbitrary bytes: each step is a phase, a hostcall, and its arguments.
func guestOf(data []byte) testModule {
	all := slices.Concat(hostcalls, ownHostcalls["proxy_abi_version_0_2_1"])
	m := testModule{exports: minimalExports()[:2]}
	for _, f := range all {
		m.imports = append(m.imports, function{module: "env", name: f.name, typ: f.typ})
	}
	next := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := int(data[0])
		data = data[1:]
		return b % n
	}
	bodies := make([][]byte, len(phases))
	for len(data) > 0 {
		phase, call := next(len(phases)), next(len(all))
		if phases[phase].name == "proxy_on_queue_ready" && all[call].name == "proxy_enqueue_shared_queue" {
			continue // a guest that wakes itself for ever: World.Run ends, but after 100,000 callbacks
		}
		params, results, _ := strings.Cut(all[call].typ, "->")
		body := bodies[phase]
		for _, p := range params {
			body = append(body, map[rune]byte{'i': opI32Const, 'I': opI64Const}[p])
			body = append(body, signedLEB(int64(int32(words[next(len(words))])))...)
		}
		body = append(body, opCall, byte(call))
		if results != "" {
			body = append(body, opDrop)
		}
		bodies[phase] = body
	}
	for i, p := range phases {
		p.body = bodies[i]
		if strings.HasSuffix(p.typ, "i") { // go on, be done; or memory that is within the page
			p.body = append(slices.Clone(p.body), opI32Const, 1)
		}
		m.exports = append(m.exports, p)
	}
	return m
}

func signedLEB(n int64) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// Whatever a guest asks for, in whichever callback: it gets a status, or it traps, or it does not
// start. The host does not panic, does not hang, and does not lose count of its contexts.
func FuzzHostcalls(f *testing.F) {
	all := len(hostcalls) + len(ownHostcalls["proxy_abi_version_0_2_1"])
	for phase := range phases {
		var zeros, greatest []byte
		for call := range all {
			zeros = append(append(zeros, byte(phase), byte(call)), make([]byte, 12)...)
			greatest = append(append(greatest, byte(phase), byte(call)), slices.Repeat([]byte{byte(len(words) - 1)}, 12)...)
		}
		f.Add(zeros)
		f.Add(greatest)
		f.Add(binary.BigEndian.AppendUint64(zeros[:phase], 0x0102030405060708))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const mostBytes = 1024 // so that no case takes long
		module, err := host.Compile(t.Context(), guestOf(data[:min(len(data), mostBytes)]).bytes(), host.WithInterpreter())
		if err != nil {
			t.Fatal(err)
		}
		defer module.Close(t.Context())
		w, err := host.NewWorld(module, host.Config{Workers: 2, FailurePolicy: host.FailReload})
		if err != nil {
			t.Logf("does not start: %v", err)
			return
		}
		for worker := range 2 {
			s := w.Worker(worker).Open(host.Request("POST", "/events?client=alice", "accept", "text/event-stream"))
			drive(s)
			w.Advance(20 * time.Millisecond) // a tick may come every millisecond
			s.End()
			connect(w.Worker(worker))
		}
		w.Run()
		if err := w.Close(); err != nil {
			t.Log(fmt.Errorf("close: %w", err))
		}
	})
}

// connect sends data both ways through the guest, as far as the guest lets it.
func connect(worker *host.Worker) {
	c := worker.Connect()
	if !c.Closed() {
		c.DownstreamData([]byte("hello"), false)
	}
	if data, _ := c.ToUpstream(); !c.Closed() && len(data) > 0 {
		c.UpstreamData([]byte("answer"), true)
	}
	if !c.Closed() {
		c.Reset()
	}
}

// drive sends a request and its response through the guest, as far as the guest lets it.
func drive(s *host.Stream) {
	if s.RequestHeaders(false) == host.Continue && s.Ending() == 0 {
		s.RequestBody([]byte("hello"), true)
	}
	if s.Ending() == 0 {
		s.ResponseHeaders(host.Response(200, "content-type", "text/event-stream"), false)
	}
	if s.Ending() == 0 {
		s.ResponseBody([]byte("data: hello\n\n"), false)
	}
	if s.Ending() == 0 {
		s.ResponseTrailers(host.Headers{{Name: "sum", Value: "1"}})
	}
}
