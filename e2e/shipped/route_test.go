package shipped

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// The shipped route is chosen by path alone. No header that a client leaves out, and no other
// spelling of the path, gets it a second stream. Requests for other paths do not enter the filter.
func TestShippedRoute(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1})
	for _, c := range []struct{ method, path, accept string }{
		{"GET", "/events", ""},
		{"GET", "/events", "*/*"},                                  // curl
		{"POST", "/events", "application/json"},                    // OpenAI's and Anthropic's libraries
		{"POST", "/events", "application/json, text/event-stream"}, // MCP
		{"GET", "/events/more", ""},
		{"GET", "//events", ""},
		{"GET", "/x/../events", ""},
		{"GET", "/%65vents", ""},
	} {
		client := rigtest.NewClient()
		open := func(method, path, accept string) *rig.Stream {
			return rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{
				Client: client, Method: method, Path: path + "?client=" + client, Header: map[string]string{"Accept": accept}})
		}
		first := open("GET", "/events", "text/event-stream")
		second := open(c.method, c.path, c.accept)
		rigtest.WantEnd(t, first, rig.Reset)
		rigtest.WantLive(t, r, client, second)
		third := open("GET", "/events", "text/event-stream")
		rigtest.WantEnd(t, second, rig.Reset)
		rigtest.WantLive(t, r, client, third)
	}

	before := rigtest.Metrics(t, r)
	for _, path := range []string{"/", "/other", "/x/events"} {
		for _, accept := range []string{"", "text/event-stream", "application/json"} {
			got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Path: path, Answer: rig.Brief, Header: map[string]string{"Accept": accept}})
			if got.Status != 200 {
				t.Errorf("%s with accept %q: got status %d, want 200", path, accept, got.Status)
			}
		}
	}
	// In the filter, the rule would apply to them, and count that they have no key.
	if got, want := rigtest.Metrics(t, r)["events.no_key"], before["events.no_key"]; got != want {
		t.Errorf("no_key: got %d, want %d: requests for other paths enter the filter", got, want)
	}
	rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Path: "/events", Answer: rig.JSON})
	if got, want := rigtest.Metrics(t, r)["events.no_key"], before["events.no_key"]+1; got != want {
		t.Errorf("no_key: got %d after a request for the path, want %d", got, want)
	}
}

// A backend that ignores case gets a route that does, too.
func TestRouteThatIgnoresCase(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Edits: []rig.Edit{
		rig.Replace("match: {prefix: /events}", "match: {prefix: /events, case_sensitive: false}"),
		rig.Replace("          merge_slashes: true\n", "          merge_slashes: true\n          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT\n"),
	}})
	client := rigtest.NewClient()
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Client: client, Path: "/events?client=" + client})
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Client: client, Path: "/Events?client=" + client})
	rigtest.WantEnd(t, first, rig.Reset)
	rigtest.WantLive(t, r, client, second)
	got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Client: client, Path: "/x%2F..%2Fevents?client=" + client})
	if got.Status != 307 || got.Header.Get("location") != "/events?client="+client {
		t.Errorf("got status %d to %q, want a redirect to the plain path", got.Status, got.Header.Get("location"))
	}
}
