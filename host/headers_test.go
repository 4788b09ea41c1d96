package host

import (
	"slices"
	"strings"
	"testing"
)

func TestHeaders(t *testing.T) {
	start := Headers{{":path", "/"}, {"cookie", "a=1"}, {"accept", "*/*"}, {"cookie", "b=2"}}
	tests := []struct {
		name   string
		change func(h *Headers)
		want   Headers
	}{
		{"add appends", func(h *Headers) { h.add("Cookie", "c=3") },
			Headers{{":path", "/"}, {"cookie", "a=1"}, {"accept", "*/*"}, {"cookie", "b=2"}, {"cookie", "c=3"}}},
		{"replace leaves one entry, in the first place", func(h *Headers) { h.replace("COOKIE", "c=3") },
			Headers{{":path", "/"}, {"cookie", "c=3"}, {"accept", "*/*"}}},
		{"replace adds a missing entry", func(h *Headers) { h.replace("X", "1") },
			Headers{{":path", "/"}, {"cookie", "a=1"}, {"accept", "*/*"}, {"cookie", "b=2"}, {"x", "1"}}},
		{"remove removes all entries of a name", func(h *Headers) { h.remove("Cookie") },
			Headers{{":path", "/"}, {"accept", "*/*"}}},
		{"remove of a missing entry", func(h *Headers) { h.remove("x") }, start},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := slices.Clone(start)
			tt.change(&got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if got, ok := start.Get("Cookie"); !ok || got != "a=1" {
		t.Errorf("Get: got %q, %v, want the first value a=1", got, ok)
	}
	if got := start.Values("cookie"); !slices.Equal(got, []string{"a=1", "b=2"}) {
		t.Errorf("Values: got %q, want a=1 and b=2", got)
	}
	if got, want := start.byteSize(), uint32(len(":path/cookiea=1accept*/*cookieb=2")); got != want {
		t.Errorf("byteSize: got %d, want %d", got, want)
	}
}

func TestRequestWithOddPairsPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("got no panic for a name without a value, want one")
		}
	}()
	Request("GET", "/", strings.Fields("accept")...)
}

// A pseudo header of the test takes the place of the one that Request makes.
func TestRequestPseudoHeaders(t *testing.T) {
	t.Parallel()
	h := Request("GET", "/", ":authority", "a.test", "accept", "x", "accept", "y", ":scheme", "https")
	want := Headers{{":method", "GET"}, {":path", "/"}, {":scheme", "https"}, {":authority", "a.test"}, {"accept", "x"}, {"accept", "y"}}
	if !slices.Equal(h, want) {
		t.Errorf("got %q, want %q", h, want)
	}
}
