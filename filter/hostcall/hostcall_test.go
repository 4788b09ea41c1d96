package hostcall

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

// Every status but 0 is an error with its own text, and each call returns what the host answered.
func TestErrors(t *testing.T) {
	if err := ok.err(); err != nil {
		t.Errorf("status 0: %v, want no error", err)
	}
	texts := map[string]Status{}
	for s := Status(1); s <= 13; s++ {
		err := s.err()
		if !errors.Is(err, s) {
			t.Fatalf("status %d: %v, want it as an error", uint32(s), err)
		}
		if other, twice := texts[err.Error()]; twice {
			t.Errorf("statuses %d and %d are both %q", uint32(other), uint32(s), err)
		}
		texts[err.Error()] = s
	}
	for name, err := range map[string]error{
		"Header":            second(Header(RequestHeaders, "accept")),
		"AppendHeaders":     second(AppendHeaders(nil, RequestHeaders)),
		"ResetStream":       ResetStream(),
		"EffectiveLogLevel": second(EffectiveLogLevel()),
		"DefineMetric":      second(DefineMetric(Counter, "")),
		"IncrementMetric":   IncrementMetric(1, 1),
		"RecordMetric":      RecordMetric(1, 1),
		"MetricValue":       second(MetricValue(1)),
		"GRPCCall":          second(GRPCCall(nil, "", "", nil, nil, 0)),
		"GRPCStream":        second(GRPCStream(nil, "", "", nil)),
		"GRPCSend":          GRPCSend(2, nil, true),
		"GRPCClose":         GRPCClose(2),
		"GRPCCancel":        GRPCCancel(1),
		"GRPCMessage":       second(GRPCMessage(1)),
		"GRPCStatus":        func() error { _, _, err := GRPCStatus(); return err }(),
	} {
		if !errors.Is(err, Unimplemented) {
			t.Errorf("%s without a host: %v, want %v", name, err, Unimplemented)
		}
	}
}

// A header map is read and written as Envoy writes it (cpp-host, src/pairs_util.cc, marshalPairs).
// One that is cut short anywhere is an error.
func TestPairs(t *testing.T) {
	encode := func(pairs [][2]string) []byte {
		data := binary.LittleEndian.AppendUint32(nil, uint32(len(pairs)))
		for _, p := range pairs {
			data = binary.LittleEndian.AppendUint32(data, uint32(len(p[0])))
			data = binary.LittleEndian.AppendUint32(data, uint32(len(p[1])))
		}
		for _, p := range pairs {
			data = append(append(data, p[0]...), 0)
			data = append(append(data, p[1]...), 0)
		}
		return data
	}
	before := [2]string{"before", "it"}
	for _, pairs := range [][][2]string{
		nil,
		{{"accept", "text/event-stream"}},
		{{"", ""}, {":path", "/"}, {"twice", "1"}, {"twice", ""}},
	} {
		data := encode(pairs)
		if written := appendPairsOf([]byte("before"), pairs); string(written) != "before"+string(data) {
			t.Errorf("%q is written as %q, want %q", pairs, written, data)
		}
		got, err := appendPairs([][2]string{before}, data)
		if want := append([][2]string{before}, pairs...); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
		for n := 1; n < len(data); n++ {
			if got, err := appendPairs(nil, data[:n]); err == nil {
				t.Errorf("the first %d of %d bytes: %q, want an error", n, len(data), got)
			}
		}
	}
	if got, err := appendPairs(nil, nil); err != nil || got != nil {
		t.Errorf("no bytes: %q, %v; want no headers", got, err)
	}
	for _, sizes := range []uint32{1 << 31, 1<<32 - 1} {
		data := encode([][2]string{{"accept", "text/event-stream"}})
		binary.LittleEndian.PutUint32(data[4:], sizes)
		binary.LittleEndian.PutUint32(data[8:], sizes)
		if got, err := appendPairs(nil, data); err == nil {
			t.Errorf("sizes of %d: %q, want an error", sizes, got)
		}
	}
}

func second[T any](_ T, err error) error { return err }
