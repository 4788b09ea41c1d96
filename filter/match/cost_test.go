package match_test

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/filter/match"
)

// headers is a Request that does nothing but look up, so benchmarks measure First alone.
type headers map[string]string

func (h headers) Header(name string) (string, bool) {
	value, ok := h[name]
	return value, ok
}

func TestFirstAllocatesNothing(t *testing.T) {
	s := newSet(t, streams, match.Conditions{
		Path:    path(match.Regex, "/v[0-9]+/events"),
		Headers: []match.Header{{Name: "accept", Op: match.Prefix, Value: "text/event-stream"}},
	})
	for _, test := range []struct {
		about string
		req   headers
	}{
		{"no match at the gate", headers{"accept": "text/html", ":path": "/"}},
		{"no match behind the gate", headers{"accept": "text/event-stream", ":path": "/other", ":method": "GET"}},
		{"matched", headers{"accept": "text/event-stream", ":path": "/v2/events", ":method": "POST"}},
	} {
		if allocs := testing.AllocsPerRun(100, func() { s.First(test.req) }); allocs != 0 {
			t.Errorf("%s: First allocates %v times, want 0", test.about, allocs)
		}
	}
}

// First works with more headers than it keeps on its stack.
func TestManyHeaders(t *testing.T) {
	var rules []match.Conditions
	for i := range 100 {
		rules = append(rules, header(fmt.Sprintf("x-%d", i), match.Present, ""))
	}
	req := requestWith("x-99", "")
	if i, ok := first(newSet(t, rules...), req); i != 99 || !ok {
		t.Errorf("got %d, %v, want rule 99", i, ok)
	}
	if len(req.reads) != 100 {
		t.Errorf("%d headers read, want 100", len(req.reads))
	}
}

func BenchmarkFirst(b *testing.B) {
	for about, req := range map[string]headers{
		"no match at the gate": {"accept": "text/html", ":path": "/index.html", ":method": "GET"},
		"matched":              {"accept": "text/event-stream", ":path": "/events?a=1", ":method": "GET"},
	} {
		b.Run(about, func(b *testing.B) {
			s := newSet(b, streams)
			b.ReportAllocs()
			for b.Loop() {
				s.First(req)
			}
		})
	}
}
