package hostcall

import (
	"errors"
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
		"ResetStream":       ResetStream(),
		"EffectiveLogLevel": second(EffectiveLogLevel()),
		"DefineMetric":      second(DefineMetric(Counter, "")),
		"IncrementMetric":   IncrementMetric(1, 1),
		"RecordMetric":      RecordMetric(1, 1),
		"MetricValue":       second(MetricValue(1)),
	} {
		if !errors.Is(err, Unimplemented) {
			t.Errorf("%s without a host: %v, want %v", name, err, Unimplemented)
		}
	}
}

func second[T any](_ T, err error) error { return err }
