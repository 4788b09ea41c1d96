package module

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// What is written is read back, whatever is in memory.
func TestDataRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var memory []byte
		for range rapid.IntRange(0, 20).Draw(t, "runs") {
			memory = append(memory, make([]byte, rapid.IntRange(0, 200).Draw(t, "zeros"))...)
			memory = append(memory, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")...)
		}
		section := appendData(nil, memory)
		got, err := readData(section)
		if err != nil {
			t.Fatal(err)
		}
		if want := bytes.TrimRight(memory, "\x00"); !bytes.Equal(got, want) {
			t.Fatalf("memory\n got %x\nwant %x", got, want)
		}
	})
}

func TestAppendData(t *testing.T) {
	for _, c := range []struct{ name, memory, want string }{
		{"nothing", "", "\x00"},
		{"zeros only", "\x00\x00", "\x00"},
		{"a gap too short to leave out", "a\x00\x00\x00\x00\x00\x00\x00b", "\x01\x00\x41\x00\x0b\x09a\x00\x00\x00\x00\x00\x00\x00b"},
		{"a gap left out", "a\x00\x00\x00\x00\x00\x00\x00\x00b", "\x02\x00\x41\x00\x0b\x01a\x00\x41\x09\x0b\x01b"},
		{"an address that needs two bytes", string(make([]byte, 64)) + "a", "\x01\x00\x41\xc0\x00\x0b\x01a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := appendData(nil, []byte(c.memory)); string(got) != c.want {
				t.Errorf("section\n got %q\nwant %q", got, c.want)
			}
		})
	}
}
