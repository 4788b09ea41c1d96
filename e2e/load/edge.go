package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy"
)

// An edge is an Envoy and the backend behind it. It is the shipped configuration, except that there
// is no access log, that the backend speaks HTTP/2, because with HTTP/1.1 every stream needs a file
// of its own, and that the cluster's circuit breakers leave room for what comes twice.
type edge struct {
	*rig.Rig
	backend  *backend
	setup    setup
	dir      string         // of files that Envoy reads while it runs
	settings envoy.Settings // of the configuration
	peeker   string         // the address of the listener that reads the registry
}

// A setup says which edge to start. The zero value is one with the filter, and two workers.
type setup struct {
	workers int                    // 0: two
	bare    bool                   // without the filter
	module  func() ([]byte, error) // nil: the filter
	edits   []rig.Edit             // more changes to Envoy's configuration
	peek    bool                   // with a listener for edge.registry
	ecds    bool                   // the filter's configuration is in a file that Envoy watches
}

const workers = 2

func (s setup) start(ctx context.Context) (_ *edge, err error) {
	e := &edge{setup: s}
	if e.backend, err = startBackend(); err != nil {
		return nil, err
	}
	if e.dir, err = os.MkdirTemp("", "streamlatch-load-"); err != nil {
		return nil, errors.Join(err, e.backend.stop())
	}
	e.Rig, err = rig.Start(ctx, rig.Options{
		Concurrency: cmp.Or(s.workers, workers),
		Module:      s.module,
		Base:        e.render,
		Edits:       append(e.edits(), s.edits...),
	})
	if err == nil && s.peek {
		var listeners map[string]string
		listeners, err = e.Envoy().Admin().Listeners(ctx)
		e.peeker = listeners["peek"]
	}
	if err != nil {
		return nil, errors.Join(err, e.stop())
	}
	return e, nil
}

func (e *edge) stop() error {
	err := errors.Join(e.backend.stop(), os.RemoveAll(e.dir))
	if e.Rig != nil {
		err = errors.Join(err, e.Rig.Stop())
	}
	return err
}

// render returns Envoy's configuration, for the backend of e. It keeps the modules.
func (e *edge) render(settings envoy.Settings) (string, error) {
	module, err := os.ReadFile(settings.Wasm)
	if err == nil && e.setup.peek {
		var peek []byte
		if peek, err = peekModule(); err == nil {
			err = os.WriteFile(e.file("peek.wasm"), peek, 0o600)
		}
	}
	settings.Backend, settings.Wasm = e.backend.port, e.file("filter.wasm")
	if err := errors.Join(err, os.WriteFile(settings.Wasm, module, 0o600)); err != nil {
		return "", err
	}
	e.settings = settings
	if !e.setup.ecds {
		return envoy.Render(settings)
	}
	config, filter, err := envoy.RenderECDS(settings, e.file("streamlatch.yaml"))
	if err != nil {
		return "", err
	}
	return config, e.deliver(filter)
}

// deliver replaces the file that Envoy watches, by a rename.
func (e *edge) deliver(filter string) error {
	if err := os.WriteFile(e.file("next"), []byte(filter), 0o600); err != nil {
		return err
	}
	return os.Rename(e.file("next"), e.file("streamlatch.yaml"))
}

func (e *edge) file(name string) string { return filepath.Join(e.dir, name) }

func (e *edge) edits() []rig.Edit {
	const clusters, connect = "\n  clusters:\n", "    connect_timeout: 1s\n"
	edits := []rig.Edit{
		rig.Remove("          access_log:\n", clusters), // and the listener for operators, if there is one
		rig.Replace(connect, connect+`    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`),
		rig.Replace("max_pending_requests: 100000, max_requests: 100000", "max_pending_requests: 1000000, max_requests: 1000000"),
	}
	if e.setup.bare {
		return append(edits,
			rig.Remove("          - name: envoy.filters.http.wasm\n", "          - name: envoy.filters.http.router\n"),
			rig.Remove("                typed_per_filter_config:\n", "              - name: other\n"))
	}
	if !e.setup.peek {
		return edits
	}
	return append(edits, rig.Replace(clusters, fmt.Sprintf(peekListener, e.file("peek.wasm"))+clusters))
}

var peekModule = rig.Guest("peek")

const peekListener = `
  - name: peek
    address:
      socket_address: {address: 127.0.0.1, port_value: 0}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: peek
          http_filters:
          - name: envoy.filters.http.wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                name: peek
                vm_config:
                  vm_id: streamlatch
                  runtime: envoy.wasm.runtime.v8
                  code: {local: {filename: %q}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            name: peek
            virtual_hosts:
            - name: peek
              domains: ["*"]
              routes:
              - match: {prefix: /}
                direct_response: {status: 404}
`

// registry returns how many buckets and slots the registry has, and their bytes, with the keys. It
// asks for few at a time, so that no worker is held up for long.
func (e *edge) registry(ctx context.Context) (keys, bytes int, err error) {
	const step = 512
	for kind, all := range map[string]int{"b": 16_384, "w": 1024} {
		for first := 0; first < all; first += step {
			body, err := get(ctx, fmt.Sprintf("http://%s/%s?%d-%d", e.peeker, kind, first, first+step))
			var k, n int
			if err == nil {
				_, err = fmt.Sscan(body, &k, &n)
			}
			if err != nil {
				return 0, 0, fmt.Errorf("read the registry: %w", err)
			}
			keys, bytes = keys+k, bytes+n
		}
	}
	return keys, bytes, nil
}

func get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	return string(body), err
}
