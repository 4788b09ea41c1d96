package demo

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/streamlatch/streamlatch/envoy"
)

// Filter is the configuration of the filter for which the page is made. A page names itself, and is
// told when it has lost its place. Three takeovers in a row are free, so that a fourth shows what a
// refusal is.
const Filter = `{"rules": [{
  "name": "events",
  "match": {"path": {"prefix": "/events"}},
  "client": [{"query": "client"}],
  "instance": [{"query": "tab"}],
  "goodbye_grace": "2s",
  "takeover_limit": {"max_tokens": 3, "fill_interval": "10s"},
  "retry": "5s"
}]}
`

// routes are those that the page needs beside the shipped ones: its own requests, and the backend's
// streams without the filter.
const routes = `              - name: demo
                match: {prefix: /demo/}
                route: {cluster: backend, timeout: 0s, idle_timeout: 0s}
              - name: filter-off
                match: {prefix: /off/}
                route: {cluster: backend, timeout: 0s, idle_timeout: 0s, prefix_rewrite: /}
`

// Render is [envoy.Render], with [Filter] unless the settings have another one, and with the routes
// that the page needs.
func Render(s envoy.Settings) (string, error) {
	if s.Filter == "" {
		s.Filter = Filter
	}
	config, err := envoy.Render(s)
	if err != nil {
		return "", err
	}
	const place = "            - name: everyone\n              domains: [\"*\"]\n              routes:\n"
	if n := strings.Count(config, place); n != 1 {
		return "", fmt.Errorf("render the demo: found %q in envoy.yaml %d times, want once", place, n)
	}
	return strings.Replace(config, place, place+routes, 1), nil
}

// gateway is the Envoy in front of the backend.
type gateway struct {
	mu             sync.Mutex
	edge, internal string
}

func (g *gateway) addresses() (edge, internal string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.edge, g.internal
}

// Behind tells the backend which Envoy is in front of it: host and port of the listener for clients
// and of the one for operators. The page needs both.
func (b *Backend) Behind(edge, internal string) {
	b.gateway.mu.Lock()
	defer b.gateway.mu.Unlock()
	b.gateway.edge, b.gateway.internal = edge, internal
}

// kick ends a client's streams as an operator does, and passes the filter's answer on.
func (b *Backend) kick(w http.ResponseWriter, r *http.Request) {
	_, internal := b.gateway.addresses()
	if internal == "" {
		http.Error(w, "the demo does not know the address of Envoy", http.StatusServiceUnavailable)
		return
	}
	address := "http://" + internal + "/streamlatch/streams/events/" + url.PathEscape(r.URL.Query().Get("client"))
	request, err := http.NewRequestWithContext(r.Context(), http.MethodDelete, address, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer response.Body.Close()
	w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
	w.WriteHeader(response.StatusCode)
	io.Copy(w, response.Body)
}
