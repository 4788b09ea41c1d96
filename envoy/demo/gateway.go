package demo

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/streamlatch/streamlatch/envoy"
)

// Filter is the configuration of the filter for which the page is made. A page names itself, and is
// told when it has lost its place. Three takeovers in a row are free, so that a fourth shows what a
// refusal is.
const Filter = `{` + rules + `}
`

const rules = `"rules": [{
  "name": "events",
  "match": {"path": {"prefix": "/events"}},
  "client": [{"query": "client"}],
  "instance": [{"query": "tab"}],
  "goodbye_grace": "2s",
  "takeover_limit": {"max_tokens": 3, "fill_interval": "10s"},
  "retry": "5s"
}]`

// FleetFilter is [Filter] for each of several Envoys. The secret is that of the shipped file. The
// long timeout is for a busy machine: after it, an Envoy decides alone.
const FleetFilter = `{` + rules + `,
"fleet": {"clusters": ["etcd"], "secret": "00000000000000000000000000000000", "timeout": "2s"}}
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
func Render(s envoy.Settings) (string, error) { return render(envoy.Render, s, Filter) }

// RenderFleet is [envoy.RenderFleet], with [FleetFilter] unless the settings have another one, and
// with the routes that the page needs.
func RenderFleet(s envoy.Settings) (string, error) {
	return render(envoy.RenderFleet, s, FleetFilter)
}

func render(shipped func(envoy.Settings) (string, error), s envoy.Settings, filter string) (string, error) {
	s.Filter = cmp.Or(s.Filter, filter)
	config, err := shipped(s)
	if err != nil {
		return "", err
	}
	const place = "            - name: everyone\n              domains: [\"*\"]\n              routes:\n"
	if n := strings.Count(config, place); n != 1 {
		return "", fmt.Errorf("render the demo: found %q in the shipped file %d times, want once", place, n)
	}
	return strings.Replace(config, place, place+routes, 1), nil
}

// A Gateway is an Envoy in front of the backend: host and port of its listener for clients, and of
// the one for operators.
type Gateway struct{ Edge, Internal string }

// gateways are the Envoys in front of the backend.
type gateways struct {
	mu  sync.Mutex
	all []Gateway
}

// at returns the Envoy that a request's query asks for: envoy=1 is the second one. Without it, that
// is the first. It returns false if there is none.
func (g *gateways) at(query url.Values) (Gateway, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, err := strconv.Atoi(cmp.Or(query.Get("envoy"), "0"))
	if err != nil || n < 0 || n >= len(g.all) {
		return Gateway{}, false
	}
	return g.all[n], true
}

// Behind tells the backend which Envoys are in front of it. The page needs them. With two, its
// devices are at one each.
func (b *Backend) Behind(all ...Gateway) {
	b.gateways.mu.Lock()
	defer b.gateways.mu.Unlock()
	b.gateways.all = all
}

// envoys tells the page how many Envoys there are.
func (b *Backend) envoys(w http.ResponseWriter, _ *http.Request) {
	b.gateways.mu.Lock()
	defer b.gateways.mu.Unlock()
	writeJSON(w, http.StatusOK, len(b.gateways.all))
}

const unknownEnvoy = "the demo does not know the address of this Envoy"

// kick ends a client's streams as an operator does, and passes the filter's answer on.
func (b *Backend) kick(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	gateway, known := b.gateways.at(query)
	if !known {
		http.Error(w, unknownEnvoy, http.StatusServiceUnavailable)
		return
	}
	address := "http://" + gateway.Internal + "/streamlatch/streams/events/" + url.PathEscape(query.Get("client"))
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
