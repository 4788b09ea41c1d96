package host

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func TestPairsLayout(t *testing.T) {
	got := encodePairs(Headers{{"a", "bc"}, {"", ""}})
	want := []byte("\x02\x00\x00\x00" + // count
		"\x01\x00\x00\x00\x02\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + // lengths
		"a\x00bc\x00" + "\x00\x00") // names and values
	if !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Envoy reads malformed input, and input above its limits, as an empty map, without an error.
func TestDecodePairs(t *testing.T) {
	good := encodePairs(Headers{{"name", "value"}})
	many := slices.Repeat(Headers{{"n", "v"}}, maxPairsCount+1)
	long := func(total int) []byte {
		return encodePairs(Headers{{"n", strings.Repeat("v", total-len(encodePairs(Headers{{"n", ""}})))}})
	}
	tests := []struct {
		name string
		in   []byte
		want int // pairs
	}{
		{"well-formed", good, 1},
		{"no input", nil, 0},
		{"half a count", good[:3], 0},
		{"no pairs", make([]byte, 4), 0},
		{"a count without lengths", good[:8], 0},
		{"the last byte is missing", good[:len(good)-1], 0},
		{"one byte too many at the end", append(slices.Clone(good), 0), 0},
		{"no NUL after the name", bytes.Replace(good, []byte("name\x00"), []byte("name!"), 1), 0},
		{"no NUL after the value", append(slices.Clone(good[:len(good)-1]), '!'), 0},
		{"a length that goes beyond the end", bytes.Replace(good, []byte("\x04\x00\x00\x00"), []byte("\xff\xff\xff\xff"), 1), 0},
		{"as many pairs as the limit", encodePairs(many[1:]), maxPairsCount},
		{"one pair above the limit", encodePairs(many), 0},
		{"as many bytes as the limit", long(maxPairsBytes), 1},
		{"one byte above the limit", long(maxPairsBytes + 1), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := decodePairs(tt.in); len(got) != tt.want {
				t.Errorf("got %d pairs, want %d", len(got), tt.want)
			}
		})
	}
}

// FuzzPairs checks that the encoding is canonical: no two inputs decode to the same map, except to
// the empty one.
func FuzzPairs(f *testing.F) {
	f.Add(encodePairs(Headers{{"name", "value"}, {"", ""}, {"name", "a\x00b"}}))
	f.Add(binary.LittleEndian.AppendUint32(nil, 1<<31))
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		pairs := decodePairs(in)
		if len(pairs) > maxPairsCount {
			t.Fatalf("got %d pairs, want at most %d", len(pairs), maxPairsCount)
		}
		if len(pairs) > 0 && !bytes.Equal(encodePairs(pairs), in) {
			t.Errorf("%q decodes to %q: got the encoding %q, want the input", in, pairs, encodePairs(pairs))
		}
	})
}
