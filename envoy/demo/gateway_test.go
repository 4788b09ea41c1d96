package demo

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/filter/config"
)

// Render adds what the page needs, in front of the shipped routes, and changes nothing else.
func TestRender(t *testing.T) {
	type render = func(envoy.Settings) (string, error)
	for filter, test := range map[string]struct {
		shipped, demo render
		etcd          int
	}{
		Filter:      {envoy.Render, Render, 0},
		FleetFilter: {envoy.RenderFleet, RenderFleet, 2379},
	} {
		settings := envoy.Settings{Listener: 10000, Internal: 10001, Admin: 9901, Backend: 8080, Etcd: test.etcd, Filter: filter}
		shipped, err := test.shipped(settings)
		if err != nil {
			t.Fatal(err)
		}
		settings.Filter = ""
		got, err := test.demo(settings)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(got, routes); n != 1 || strings.Replace(got, routes, "", 1) != shipped {
			t.Errorf("got the routes of the page %d times, want them once, and the shipped file around them:\n%s", n, got)
		}
		if before, _, _ := strings.Cut(got, routes); !strings.HasSuffix(before, "            - name: everyone\n              domains: [\"*\"]\n              routes:\n") {
			t.Error("the routes of the page are not the first, so another one may match before them")
		}
		if _, err := test.demo(envoy.Settings{}); err == nil {
			t.Error("no error for settings without a backend")
		}
		if _, err := config.Parse([]byte(filter)); err != nil {
			t.Error(err)
		}
	}
}

// The fleet of the page is that of the shipped listener for operators, or a kick would not reach
// its streams.
func TestFleetFilterHasTheShippedSecret(t *testing.T) {
	const shipped = `"fleet": {"clusters": ["etcd"], "secret": "00000000000000000000000000000000"`
	if !strings.Contains(FleetFilter, shipped) || !strings.Contains(envoy.FleetConfig, shipped+"}}'") {
		t.Errorf("want %s in both", shipped)
	}
}

// A kick is a DELETE at Envoy's listener for operators, as curl sends it: a request that says that
// a web page sent it is refused there.
func TestKick(t *testing.T) {
	var got *http.Request
	status := http.StatusOK
	operators := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(status)
		fmt.Fprintln(w, `{"streams":1}`)
	}))
	defer operators.Close()
	b := serve(t, time.Hour)
	if got := b.post("/demo/kick?client=ann"); !strings.HasPrefix(got, "503 ") {
		t.Errorf("without Envoy: got %q", got)
	}
	b.Behind(Gateway{Internal: strings.TrimPrefix(operators.URL, "http://")})
	if got := b.post("/demo/kick?client=a%2Fb+c"); got != "200 {\"streams\":1}\n" {
		t.Errorf("got %q", got)
	}
	if got.Method != http.MethodDelete || got.URL.EscapedPath() != "/streamlatch/streams/events/a%2Fb%20c" || got.Header.Get("Origin") != "" || got.Header.Get("Sec-Fetch-Site") != "" {
		t.Errorf("the operator's request: got %s %s %v", got.Method, got.URL.EscapedPath(), got.Header)
	}
	status = http.StatusNotFound
	if got := b.post("/demo/kick?client=bob"); !strings.HasPrefix(got, "404 ") {
		t.Errorf("an unknown client: got %q", got)
	}
}

// A page of another origin cannot press the buttons.
func TestOtherOriginsCannotPressButtons(t *testing.T) {
	b := serve(t, time.Hour)
	for _, button := range []string{"cut", "over", "kick"} {
		for _, header := range [][2]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://elsewhere.example"}} {
			request, err := http.NewRequestWithContext(t.Context(), "POST", b.url+"/demo/"+button+"?client=ann", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set(header[0], header[1])
			response, err := client(t, false).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
			if response.StatusCode != http.StatusForbidden {
				t.Errorf("%s with %s: got %d, want 403", button, header, response.StatusCode)
			}
		}
	}
}
