package match_test

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/filter/match"
)

// plain does not count, so that only First is measured.
type plain map[string]string

func (p plain) Header(name string) (string, bool) {
	value, ok := p[name]
	return value, ok
}

func TestFirstAllocatesNothing(t *testing.T) {
	s := set(t, streams, match.Conditions{
		Path:    path(match.Regex, "/v[0-9]+/events"),
		Headers: []match.Header{{Name: "accept", Op: match.Prefix, Value: "text/event-stream"}},
	})
	for _, test := range []struct {
		about string
		req   plain
	}{
		{"stopped at the gate", plain{"accept": "text/html", ":path": "/"}},
		{"stopped behind it", plain{"accept": "text/event-stream", ":path": "/other", ":method": "GET"}},
		{"matched", plain{"accept": "text/event-stream", ":path": "/v2/events", ":method": "POST"}},
	} {
		if allocs := testing.AllocsPerRun(100, func() { s.First(test.req) }); allocs != 0 {
			t.Errorf("%s: %v allocations, want none", test.about, allocs)
		}
	}
}

// Beyond the headers that First keeps on its stack, it still works.
func TestMoreHeadersThanExpected(t *testing.T) {
	var rules []match.Conditions
	for i := range 100 {
		rules = append(rules, header(fmt.Sprintf("x-%d", i), match.Present, ""))
	}
	req := of("x-99", "")
	if i, ok := set(t, rules...).First(req); i != 99 || !ok {
		t.Errorf("got %d, %v, want rule 99", i, ok)
	}
	if len(req.reads) != 100 {
		t.Errorf("%d headers read, want 100", len(req.reads))
	}
}

func BenchmarkFirst(b *testing.B) {
	for about, req := range map[string]plain{
		"stopped at the gate": {"accept": "text/html", ":path": "/index.html", ":method": "GET"},
		"matched":             {"accept": "text/event-stream", ":path": "/events?a=1", ":method": "GET"},
	} {
		b.Run(about, func(b *testing.B) {
			s := set(b, streams)
			b.ReportAllocs()
			for b.Loop() {
				s.First(req)
			}
		})
	}
}
