package hostcalls

import (
	stdcontext "context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/proxy"
	"github.com/streamlatch/streamlatch/host"
)

//go:embed testdata/envoy.yaml
var envoyYAML string

// context is that of what outlives a test.
func context() stdcontext.Context { return stdcontext.Background() }

// envoyStage is a real Envoy.
type envoyStage struct {
	rig     *rig.Rig
	seen    int          // lines of the guest's log
	backend *stepBackend // the upstream of the dialogues with steps
}

func newEnvoyStage(t *testing.T, from setup) *envoyStage {
	t.Helper()
	var clusters strings.Builder
	for name, u := range upstreams {
		clusters.WriteString(cluster(name, endpoint(t, name, u)))
	}
	backend := &stepBackend{}
	r := rigtest.Start(t, rig.Options{
		Concurrency: 1, Module: from.module, LogLevel: "wasm:trace", Handler: backend,
		Base: func(s envoy.Settings) (string, error) {
			text := envoyYAML
			if from.more.Name != "" {
				text = withListeners(text, from.more, "second", "third")
			}
			return strings.NewReplacer("WASM", s.Wasm, "BACKEND", fmt.Sprint(s.Backend), "CLUSTERS", clusters.String(),
				"VM_CONFIGURATION", from.vm, "PLUGIN_CONFIGURATION", from.plugin, "ALLOW_STOP", fmt.Sprint(from.allowStop)).Replace(text), nil
		},
	})
	plugins := 1
	if from.more.Name != "" {
		plugins++
	}
	return &envoyStage{rig: r, seen: linesOfStart(t, r, plugins), backend: backend}
}

// withListeners repeats the first listener with other names, and with another plugin.
func withListeners(config string, p host.Plugin, names ...string) string {
	begin := strings.Index(config, "  - name: edge\n")
	end := strings.Index(config, "  clusters:\n")
	first := config[begin:end]
	for _, name := range names {
		listener := strings.Replace(first, "name: edge", "name: "+name, 1)
		listener = strings.Replace(listener, "              config:\n", fmt.Sprintf("              config:\n                name: %s\n                root_id: %s\n", p.Name, p.RootID), 1)
		config = config[:end] + listener + config[end:]
		end += len(listener)
	}
	return config
}

// endpoint returns the address of an upstream, and starts its server. It returns "" if the cluster
// has no endpoints.
func endpoint(t *testing.T, name string, u upstream) string {
	t.Helper()
	switch {
	case u.handler != nil:
		server := httptest.NewUnstartedServer(u.handler)
		server.Config.Protocols = new(http.Protocols)
		server.Config.Protocols.SetHTTP1(true)
		server.Config.Protocols.SetUnencryptedHTTP2(true)
		server.Start()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	case u.serve != nil:
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // so nobody listens there
		return l.Addr().String()
	}
	return ""
}

// cluster returns the configuration of a cluster that speaks HTTP/2.
func cluster(name, address string) string {
	const text = `
  - name: %s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: %s
      endpoints: [%s]
`
	endpoints := ""
	if ip, port, err := net.SplitHostPort(address); err == nil {
		endpoints = fmt.Sprintf("{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}", ip, port)
	}
	return fmt.Sprintf(text, name, name, endpoints)
}

func (e *envoyStage) play(t *testing.T, d dialogue, id int, want record) (r record) {
	t.Helper()
	if d.steps != nil {
		r.ends = e.converse(t, d, id, want)
	} else {
		ask(t, &http.Transport{DisableKeepAlives: true, DisableCompression: true}, "http://"+e.rig.Address()+"/", d.request(id))
	}
	r.lines = e.await(t, len(want.lines))
	e.seen += len(r.lines)
	return r
}

// ask sends a request without a body, and reads the response.
func ask(t *testing.T, transport http.RoundTripper, url string, headers host.Headers) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		r.Header.Add(h.Name, h.Value)
	}
	client := http.Client{Transport: transport, Timeout: wait.Patience}
	if response, err := client.Do(r); err == nil { // the guest may reset the stream
		response.Body.Close()
	}
}

// await returns what the guest has logged in this dialogue, once there are so many lines.
func (e *envoyStage) await(t *testing.T, lines int) (log []string) {
	t.Helper()
	wait.Until(t, func() error {
		if log = e.log()[e.seen:]; len(log) < lines {
			return fmt.Errorf("the guest has logged %d lines, want %d:\n%s", len(log), lines, strings.Join(log, "\n"))
		}
		return nil
	})
	return log
}

// log returns what the guest has logged.
func (e *envoyStage) log() []string { return guestLog(e.rig) }

// guestLog returns what the guests have logged, without the traces of their panics.
func guestLog(r *rig.Rig) (lines []string) {
	for _, line := range r.Log.Lines() {
		entry, ok := proxy.ParseLogEntry(line)
		message, isGuest := strings.CutPrefix(entry.Message, "wasm log")
		_, message, named := strings.Cut(message, ": ") // before it are the plugin's name and root id
		if ok && isGuest && named && entry.Logger == "wasm" && entry.Level == "info" {
			lines = append(lines, message)
		}
	}
	return lines
}

// linesOfStart waits until every plugin has been configured in each of its VMs, and returns the
// number of lines that the guest has logged by then. Envoy with one worker has three VMs: one that
// the others are made from, one of the main thread, and the worker's. Envoy says that it is ready
// before all of its log has been read.
func linesOfStart(t *testing.T, r *rig.Rig, plugins int) (lines int) {
	t.Helper()
	const vms = 3
	wait.Until(t, func() error {
		log := guestLog(r)
		configured := 0
		for _, line := range log {
			if strings.HasSuffix(line, " configure") {
				configured++
			}
		}
		if lines = len(log); configured < vms*plugins {
			return fmt.Errorf("%d configurations are logged, want %d:\n%s", configured, vms*plugins, strings.Join(log, "\n"))
		}
		return nil
	})
	return lines
}
