package hostcalls

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/host"
)

//go:embed testdata/tcp.yaml
var tcpYAML string

// A tcpDialogue is a connection and what the guest does about it.
type tcpDialogue struct {
	name    string
	scripts string   // lines "callback: script" of the connection
	steps   []string // what the client does: a text that it sends, or end, or reset
}

// The upstream of all dialogues answers each piece of data with the same bytes, and the end with
// its end. It says something first where the guest's scripts begin with "greet".
var tcpDialogues = []tcpDialogue{
	{name: "data and ends", scripts: "downstream-data: body 2 0 100; bodystatus 2; body 3 0 9\nupstream-data: body 3 0 100; body 2 0 9\nnew-connection: body 2 0 9; property request/time/x",
		steps: []string{"hello", "again", "end"}},
	{name: "reset by the client", steps: []string{"hello", "reset"}},
	{name: "changed data", scripts: "downstream-data: setbody 2 0 0 new+; body 2 0 100\nupstream-data: setbody 3 0 1 X; setbody 3 99 0 !", steps: []string{"hello", "more", "reset"}},
	{name: "held data", scripts: "downstream-data: body 2 0 100; return 1", steps: []string{"one", "two", "reset"}},
	{name: "held, and let go in the same callback", scripts: "downstream-data: continue 2; return 1", steps: []string{"one", "two", "end"}},
	{name: "held data of the upstream", scripts: "upstream-data: body 3 0 100; return 1", steps: []string{"one", "two", "reset"}},
	{name: "closed on data", scripts: "downstream-data: close 2; close 3; header 0 x; property wasm.x", steps: []string{"hello"}},
	{name: "closed on new", scripts: "new-connection: close 2", steps: nil},
	{name: "closed on the answer", scripts: "upstream-data: close 3", steps: []string{"hello"}},
	{name: "stopped when it is new", scripts: "new-connection: return 1\ndownstream-data: body 2 0 9", steps: []string{"hello", "end"}},
	{name: "stopped when it is new, and let go", scripts: "new-connection: continue 2; return 1\ndownstream-data: body 2 0 9", steps: []string{"hello", "end"}},
	{name: "attributes", scripts: "downstream-data: " + tcpAttributes(), steps: []string{"hello", "end"}},
	{name: "other hostcalls", scripts: "downstream-data: continue 0; continue 1; continue 3; close 0; close 1; reply 403 _ _; setproperty p v; property p; pairs 0; effective 1; effective 0; foreign clear_route_cache _",
		steps: []string{"hello", "end"}},
	{name: "at the end", scripts: "upstream-close: body 3 0 9; close 2\nlog: body 2 0 9; property connection/mtls\ndone: close 2\ndelete: body 2 0 9\ndownstream-close: body 3 0 9; close 3", steps: []string{"hello", "end"}},
	{name: "a trap", scripts: "downstream-data: panic ouch", steps: []string{"hello"}},
}

// tcpAttributes is a script that reads all attributes, without those that differ anyway.
func tcpAttributes() string {
	script := ""
	for _, a := range attributes {
		if !slices.Contains(differing, a) {
			script += "property " + a + "; "
		}
	}
	return script
}

// TCP connections, on the test host and in Envoy.
func TestTCP(t *testing.T) {
	configs := make([]string, len(tcpDialogues))
	for i, d := range tcpDialogues {
		for _, line := range strings.Split(d.scripts, "\n") {
			if line != "" {
				configs[i] += "connection-" + line + "\n"
			}
		}
		configs[i] += "say: " + d.name // each is another plugin
	}
	original := startTCP(t, configs)
	wasm, err := guest()
	if err != nil {
		t.Fatal(err)
	}
	module, err := host.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer module.Close(context())
	world, err := host.NewWorld(module, host.Config{PluginConfig: []byte(configs[0])})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	listeners := world.Listeners()
	for _, config := range configs[1:] {
		l, err := world.AddListener([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	seen := len(world.Logs().OfWorker(0))
	for i, d := range tcpDialogues {
		t.Run(d.name, func(t *testing.T) {
			lines := func() (lines []string) {
				for _, entry := range world.Logs().OfWorker(0)[seen:] {
					lines = append(lines, entry.Message)
				}
				return lines
			}
			remote := original.dial(t, i)
			c := listeners[i].Connect(0)
			original.await(t, len(lines()))
			answered, ended := 0, false
			for _, step := range d.steps {
				remote.do(t, step)
				switch step {
				case "end":
					c.DownstreamData(nil, true)
				case "reset":
					c.Reset()
				default:
					c.DownstreamData([]byte(step), false)
				}
				if sent, end := c.ToUpstream(); len(sent) > answered || end && !ended {
					if len(sent) > answered {
						c.UpstreamData(sent[answered:], false)
						answered = len(sent)
					}
					if end && !ended && !c.Closed() {
						c.UpstreamData(nil, true)
						ended = true
					}
				}
				original.await(t, len(lines()))
			}
			remote.Close()
			if !c.Closed() {
				c.Reset()
			}
			want := lines()
			if d.name == "a trap" {
				want = want[:2]
			}
			got := original.await(t, len(want))
			if d.name == "a trap" {
				got = got[:2]
			}
			scores.count(groupOf(t), d.name, got, want)
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Error(differences(got, want))
			}
			original.seen += len(original.lines())
			seen += len(lines())
		})
	}
}

// tcpEnvoy is a real Envoy with a listener for each dialogue.
type tcpEnvoy struct {
	rig  *rig.Rig
	seen int
}

// tcpClient is the client's end of a connection.
type tcpClient struct{ *net.TCPConn }

func startTCP(t *testing.T, configs []string) *tcpEnvoy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c) // the end, too: Copy returns, and Close follows
			}()
		}
	}()
	var listeners strings.Builder
	for i, config := range configs {
		fmt.Fprintf(&listeners, `
  - name: %s
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.wasm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm
          config:
            vm_config:
              runtime: envoy.wasm.runtime.v8
              code: {local: {filename: WASM}}
            configuration: {"@type": type.googleapis.com/google.protobuf.StringValue, value: %q}
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: app
`, listenerName(i), config)
	}
	r := rigtest.Start(t, rig.Options{
		Concurrency: 1, Module: guest, LogLevel: "wasm:trace",
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		Base: func(s envoy.Settings) (string, error) {
			text := strings.ReplaceAll(tcpYAML, "LISTENERS", listeners.String())
			return strings.NewReplacer("WASM", s.Wasm, "UPSTREAM", fmt.Sprint(l.Addr().(*net.TCPAddr).Port)).Replace(text), nil
		},
	})
	return &tcpEnvoy{rig: r, seen: linesOfStart(t, r, len(configs))}
}

func listenerName(i int) string {
	if i == 0 {
		return rig.Edge
	}
	return fmt.Sprint("tcp", i)
}

func (e *tcpEnvoy) dial(t *testing.T, i int) tcpClient {
	t.Helper()
	c, err := e.rig.DialListenerTCP(t.Context(), listenerName(i))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return tcpClient{c.(*net.TCPConn)}
}

func (c tcpClient) do(t *testing.T, step string) {
	t.Helper()
	var err error
	switch step {
	case "end":
		err = c.CloseWrite()
	case "reset":
		c.SetLinger(0)
		err = c.TCPConn.Close()
	default:
		_, err = c.Write([]byte(step))
	}
	if err != nil {
		t.Error(err)
	}
}

// Close resets the connection, if it is open.
func (c tcpClient) Close() {
	c.SetLinger(0)
	c.TCPConn.Close()
}

// await returns what the guest has logged, once there are so many lines.
func (e *tcpEnvoy) await(t *testing.T, lines int) (log []string) {
	t.Helper()
	for range 40 {
		if log = e.lines(); len(log) >= lines {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return log
}

func (e *tcpEnvoy) lines() []string { return guestLog(e.rig)[e.seen:] }
