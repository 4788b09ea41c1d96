package host

import (
	"math"
	"testing"
)

func TestBufferWrite(t *testing.T) {
	tests := []struct {
		name          string
		start, length uint32
		want          Status
		then          string
	}{
		{"start 0, length 0 prepends", 0, 0, StatusOk, "newbody"},
		{"start 0, the exact length replaces", 0, 4, StatusOk, "new"},
		{"start 0, a greater length replaces", 0, math.MaxUint32, StatusOk, "new"},
		{"start 0, a smaller length replaces the first bytes", 0, 3, StatusOk, "newy"},
		{"start at the end appends", 4, 0, StatusOk, "bodynew"},
		{"start beyond the end appends, whatever the length", 100, 7, StatusOk, "bodynew"},
		{"start in the middle", 2, 2, StatusBadArgument, "body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &buffer{data: []byte("body")}
			data := []byte("new")
			if got := b.write(tt.start, tt.length, data); got != tt.want {
				t.Errorf("got the status %v, want %v", got, tt.want)
			}
			data[0] = 'X'
			if string(b.data) != tt.then {
				t.Errorf("got the buffer %q, want %q", b.data, tt.then)
			}
		})
	}
	readOnly := &buffer{data: []byte("config"), readOnly: true}
	if got := readOnly.write(0, 0, []byte("x")); got != StatusBadArgument || string(readOnly.data) != "config" {
		t.Errorf("read-only buffer: got %v and %q, want BadArgument and config", got, readOnly.data)
	}
}

func TestBufferReadClamps(t *testing.T) {
	b := &buffer{data: []byte("body")}
	tests := []struct {
		start, length uint32
		want          string
	}{
		{0, 4, "body"},
		{1, 2, "od"},
		{2, 100, "dy"},
		{4, 1, ""},
		{100, 100, ""},
		{1, 0, ""},
		{math.MaxUint32, math.MaxUint32, ""},
		{1, math.MaxUint32, "ody"}, // the sum does not fit into 32 bits, and Envoy computes it in 64
	}
	for _, tt := range tests {
		got := b.read(tt.start, tt.length)
		if string(got) != tt.want {
			t.Errorf("read(%d, %d): got %q, want %q", tt.start, tt.length, got, tt.want)
		}
	}
	b.read(0, 4)[0] = 'X'
	if string(b.data) != "body" {
		t.Errorf("got the buffer %q after a change of what read returned, want body", b.data)
	}
}
