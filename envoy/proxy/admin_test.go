package proxy

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// adminWith returns an admin interface that gives every request the same response.
func adminWith(t *testing.T, status int, body string) *Admin {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return &Admin{URL: server.URL}
}

// liveAdmin returns an admin interface that reports LIVE. The workers have started if started is
// "1".
func liveAdmin(t *testing.T, started string) *Admin {
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("LIVE\n")) })
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"stats":[{"name":"listener_manager.workers_started","value":` + started + `}]}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &Admin{URL: server.URL}
}

// The response is a shortened one of Envoy 1.40.
func TestStats(t *testing.T) {
	admin := adminWith(t, 200, `{"stats":[
		{"name":"wasmcustom.streamlatch.events.superseded","value":18446744073709551615},
		{"name":"a.text","value":"12"},
		{"histograms":{"supported_percentiles":[0,100],"details":[
			{"name":"h","totals":[{"lower_bound":2200,"width":100,"count":3},{"lower_bound":5000,"width":1000,"count":4}],"intervals":[],"percentiles":[{"cumulative":2250,"interval":null}]},
			{"name":"empty","totals":[],"intervals":[],"percentiles":[]}]}}]}`)
	got, err := admin.Stats(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	want := Stats{
		Values: map[string]uint64{"wasmcustom.streamlatch.events.superseded": 18446744073709551615},
		Histograms: map[string]Histogram{
			"h":     {Count: 7, Buckets: []Bucket{{2200, 100, 3}, {5000, 1000, 4}}},
			"empty": {Buckets: []Bucket{}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Envoy reports LIVE a moment before its workers accept connections.
func TestNotReadyBeforeTheWorkersStart(t *testing.T) {
	for started, want := range map[string]string{"0": "workers have not started", "1": ""} {
		got := ""
		if err := liveAdmin(t, started).Ready(t.Context()); err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) || (want == "" && got != "") {
			t.Errorf("workers started: %s: got %q, want %q", started, got, want)
		}
	}
}

func TestReady(t *testing.T) {
	for name, test := range map[string]struct {
		admin *Admin
		want  string
	}{
		"not yet":       {adminWith(t, 503, "PRE_INITIALIZING\n"), "PRE_INITIALIZING"},
		"another state": {adminWith(t, 200, "DRAINING\n"), "DRAINING"},
		"no Envoy":      {&Admin{URL: "http://127.0.0.1:1"}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.admin.Ready(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestResponseThatIsNotJSON(t *testing.T) {
	_, err := adminWith(t, 200, "<html>").Listeners(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/listeners?format=json") {
		t.Errorf("got %v, want one that names the path", err)
	}
}
