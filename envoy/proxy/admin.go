package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Admin is a client of Envoy's admin interface.
type Admin struct {
	URL string // for example "http://127.0.0.1:9901"
}

// Ready returns nil if Envoy serves: its workers run and its listeners are bound. Otherwise the
// error says what is missing.
func (a *Admin) Ready(ctx context.Context) error {
	state, err := a.get(ctx, "/ready")
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(state)) != "LIVE" {
		return fmt.Errorf("envoy is %q, want \"LIVE\"", strings.TrimSpace(string(state)))
	}
	// Envoy reports LIVE before its workers accept connections.
	const started = "listener_manager.workers_started"
	stats, err := a.Stats(ctx, started)
	if err != nil {
		return err
	}
	if stats.Values[started] != 1 {
		return errors.New("envoy's workers have not started")
	}
	return nil
}

// Listeners returns the address, host:port, of each listener by its name.
func (a *Admin) Listeners(ctx context.Context) (map[string]string, error) {
	var answer struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Host string `json:"address"`
					Port int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := a.getJSON(ctx, "/listeners?format=json", &answer); err != nil {
		return nil, err
	}
	listeners := make(map[string]string, len(answer.Statuses))
	for _, l := range answer.Statuses {
		listeners[l.Name] = net.JoinHostPort(l.Address.Socket.Host, strconv.Itoa(l.Address.Socket.Port))
	}
	return listeners, nil
}

// Stats holds the values of Envoy's statistics at one moment.
type Stats struct {
	Values     map[string]uint64 // counters and gauges
	Histograms map[string]Histogram
}

// A Histogram counts the values since the start of Envoy. Envoy adds new values to it only once per
// stats_flush_interval, which is five seconds by default.
type Histogram struct {
	Count   uint64
	Buckets []Bucket // in ascending order, without empty buckets
}

// A Bucket counts the values from Low (inclusive) to Low+Width (exclusive).
type Bucket struct {
	Low   float64 `json:"lower_bound"`
	Width float64 `json:"width"`
	Count uint64  `json:"count"`
}

// Stats returns the statistics with a name that matches the regular expression. The names of the
// filter's statistics begin with "wasmcustom.streamlatch.".
func (a *Admin) Stats(ctx context.Context, filter string) (Stats, error) {
	var answer struct {
		Stats []struct {
			Name       string          `json:"name"`
			Value      json.RawMessage `json:"value"`
			Histograms struct {
				Details []struct {
					Name   string   `json:"name"`
					Totals []Bucket `json:"totals"`
				} `json:"details"`
			} `json:"histograms"`
		} `json:"stats"`
	}
	query := url.Values{"format": {"json"}, "histogram_buckets": {"detailed"}, "filter": {filter}}
	if err := a.getJSON(ctx, "/stats?"+query.Encode(), &answer); err != nil {
		return Stats{}, err
	}
	stats := Stats{Values: make(map[string]uint64), Histograms: make(map[string]Histogram)}
	for _, s := range answer.Stats {
		// Text values and the entry with all histograms have no number.
		if n, err := strconv.ParseUint(string(s.Value), 10, 64); err == nil {
			stats.Values[s.Name] = n
		}
		for _, h := range s.Histograms.Details {
			histogram := Histogram{Buckets: h.Totals}
			for _, b := range h.Totals {
				histogram.Count += b.Count
			}
			stats.Histograms[h.Name] = histogram
		}
	}
	return stats, nil
}

func (a *Admin) getJSON(ctx context.Context, path string, into any) error {
	body, err := a.get(ctx, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("envoy admin %s: %w", path, err)
	}
	return nil
}

func (a *Admin) get(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("envoy admin: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("envoy admin %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("envoy admin %s: %s: %.200s", path, response.Status, body)
	}
	return body, nil
}
