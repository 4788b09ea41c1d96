package hostcalls

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/host"
)

// proxytestStage is the SDK's own host for tests, with the guest as .wasm. It has one worker, and
// no network: callouts are not answered. A dialogue that makes it panic ends there.
type proxytestStage struct {
	wasm     []byte
	vm       proxytest.WasmVMContext
	emulator proxytest.HostEmulator
	reset    func()
	log      proxytestLog
}

// cannotPlay are commands of scripts whose hostcalls proxytest does not have, or which end the
// process.
var cannotPlay = []string{"grpc", "foreign", "compressed", "status", "httpcall"}

// canPlay reports whether proxytest has the hostcalls of a dialogue.
func canPlay(d dialogue) bool {
	for i := 1; i < len(d.scripts); i += 2 {
		for _, command := range strings.Split(d.scripts[i], ";") {
			for _, missing := range cannotPlay {
				if strings.HasPrefix(strings.TrimSpace(command), missing) {
					return false
				}
			}
		}
	}
	return true
}

func newProxytestStage(t *testing.T) *proxytestStage {
	t.Helper()
	wasm, err := guestWith("proxytest")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxytestStage{wasm: wasm}
	flags := log.Flags()
	log.SetOutput(&p.log)
	log.SetFlags(0)
	t.Cleanup(func() {
		p.close()
		log.SetOutput(os.Stderr)
		log.SetFlags(flags)
	})
	return p
}

// proxytestLog is what proxytest logs. The lines that it gives to a test are still the guest's
// memory, which changes. It panics where proxytest is about to end the process.
type proxytestLog struct{ lines []string }

func (l *proxytestLog) Write(text []byte) (int, error) {
	for _, end := range []string{"callout response unregistered", "not registered as a foreign function", "invalid context id"} {
		if bytes.Contains(text, []byte(end)) {
			panic("proxytest ends the process: " + string(text))
		}
	}
	if line, ok := strings.CutPrefix(strings.TrimSuffix(string(text), "\n"), "proxy_info_log: "); ok {
		l.lines = append(l.lines, line)
	}
	return len(text), nil
}

// start makes a new emulator with a new VM.
func (p *proxytestStage) start() error {
	vm, err := proxytest.NewWasmVMContext(p.wasm)
	if err != nil {
		return err
	}
	p.vm = vm
	p.emulator, p.reset = proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(vm))
	p.emulator.StartPlugin()
	return nil
}

func (p *proxytestStage) close() {
	if p.emulator != nil {
		p.reset()
		p.vm.Close()
		p.emulator = nil
	}
}

func (p *proxytestStage) play(t *testing.T, d dialogue, id int, _ record) (r record) {
	t.Helper()
	if p.emulator == nil {
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
	}
	seen, own := len(p.log.lines), 0
	defer func() {
		panicked := recover() != nil
		for _, line := range p.log.lines[seen:] {
			// The ids of streams count on through all emulators of a process.
			line = strings.Replace(line, fmt.Sprintf("%d ", own), fmt.Sprintf("%d ", id), 1)
			r.lines = append(r.lines, line)
		}
		if panicked {
			p.close()
		}
	}()
	own = int(p.emulator.InitializeHttpContext())
	p.converse(d, uint32(own))
	return r
}

func (p *proxytestStage) converse(d dialogue, id uint32) {
	headers := func(h host.Headers) (pairs [][2]string) {
		for _, e := range h {
			pairs = append(pairs, [2]string{e.Name, e.Value})
		}
		return pairs
	}
	e := p.emulator
	held := e.CallOnRequestHeaders(id, headers(append(host.Request("GET", "/"), d.request(int(id))...)), d.steps == nil) == types.ActionPause
	if d.steps == nil && !held && e.GetSentLocalResponse(id) == nil {
		e.CallOnResponseHeaders(id, headers(host.Response(200)), true)
	}
	for _, text := range d.steps {
		step, rest, _ := strings.Cut(text, " ")
		held = held && e.GetCurrentHttpStreamAction(id) == types.ActionPause
		switch step {
		case stepWait:
			if e.GetTickPeriod() > 0 {
				e.Tick()
			}
			continue
		case stepOther:
			other := e.InitializeHttpContext()
			script := (&others{stream: int(id)}).next(rest)
			e.CallOnRequestHeaders(other, headers(append(host.Request("GET", "/other"), script...)), true)
			e.CallOnResponseHeaders(other, headers(host.Response(200)), true)
			e.CompleteHttpContext(other)
			continue
		}
		if held || e.GetSentLocalResponse(id) != nil {
			continue
		}
		switch step {
		case stepBody:
			e.CallOnRequestBody(id, []byte(rest), false)
		case stepEnd:
			e.CallOnRequestBody(id, nil, true)
		case stepTrailers:
			e.CallOnRequestTrailers(id, headers(pairsOf(rest)))
		case stepRespond:
			status, h := respondOf(rest)
			e.CallOnResponseHeaders(id, headers(append(host.Response(status), h...)), false)
		case stepData:
			e.CallOnResponseBody(id, []byte(rest), false)
		case stepFinish:
			e.CallOnResponseBody(id, nil, true)
		case stepClose:
			e.CallOnResponseTrailers(id, headers(pairsOf(rest)))
		}
	}
	e.CompleteHttpContext(id)
}

// inCommon returns how many lines of two logs are the same, in the same order.
func inCommon(a, b []string) int {
	before := make([]int, len(b)+1)
	for _, line := range a {
		row := make([]int, len(b)+1)
		for i, other := range b {
			row[i+1] = max(row[i], before[i+1])
			if line == other {
				row[i+1] = before[i] + 1
			}
		}
		before = row
	}
	return before[len(b)]
}
