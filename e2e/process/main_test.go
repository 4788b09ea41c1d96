// Package process tests how the programs of this repository start, watch and stop an Envoy, with a
// real one.
package process

import (
	"bytes"
	"path/filepath"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// plain is a configuration without the filter, with which Envoy starts ten times faster.
const plain = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: plain
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config: {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 204}}]}
`

// realEnvoy returns the path of the Envoy that these tests run.
func realEnvoy(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	path, err := proxy.Find(t.Context(), filepath.Join(root, "build"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// start starts an Envoy that the end of the test stops.
func start(t *testing.T, o proxy.Options) *proxy.Process {
	t.Helper()
	p, err := proxy.Start(t.Context(), proxy.Binary(realEnvoy(t)), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	return p
}

// synced is a buffer that may be written and read at the same time.
type synced struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
