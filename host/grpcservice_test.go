package host

import (
	"fmt"
	"testing"
	"time"
)

func TestParseGRPCService(t *testing.T) {
	const cluster = "\x0a\x05\x0a\x03abc" // envoy_grpc {cluster_name: "abc"}
	tests := []struct {
		name, bytes string
		want        string // empty: not a message
	}{
		{"a cluster", cluster, `"abc" "" true false []`},
		{"with an authority", "\x0a\x08\x0a\x03abc\x12\x01x", `"abc" "x" true false []`},
		{"with metadata", cluster + "\x2a\x06\x0a\x01K\x12\x01v", `"abc" "" true false [{k v}]`},
		{"with raw bytes for a value", cluster + "\x2a\x06\x0a\x01K\x1a\x01\xff", `"abc" "" true false [{k }]`},
		{"with a time-out and retries", cluster + "\x1a\x02\x08\x01\x32\x00", `"abc" "" true false []`},
		{"with fields that do not exist", cluster + "\x70\x01\x7d1234", `"abc" "" true false []`},
		{"of Google's library", "\x12\x05\x0a\x03abc", `"" "" false true []`},
		{"the last target counts", "\x12\x05\x0a\x03abc" + cluster, `"abc" "" true false []`},
		{"nothing", "", `"" "" false false []`},
		{"text that is a message", "h2", `"" "" false false []`},
		{"text that is none", "refused", ""},
		{"half a message", cluster[:5], ""},
		{"half an inner message", "\x0a\x02\x0a\x03", ""},
		{"a name that is not UTF-8", "\x0a\x03\x0a\x01\xff", ""},
		{"metadata that are not UTF-8", cluster + "\x2a\x03\x12\x01\xff", ""},
		{"a faulty time-out", cluster + "\x1a\x01\x08", ""},
		{"a faulty retry policy", "\x0a\x03\x1a\x01\x08", ""},
		{"a faulty Google service", "\x12\x01\x08", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if s, ok := parseGRPCService([]byte(tt.bytes)); ok {
				got = fmt.Sprintf("%q %q %v %v %v", s.cluster, s.authority, s.isEnvoy, s.isGoogle, s.metadata)
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Measured on Envoy 1.40 up to the seconds.
func TestGRPCTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0m", 250 * time.Millisecond: "250m", 99_999_999 * time.Millisecond: "99999999m", 100_000_000 * time.Millisecond: "100000S",
		4294967295 * time.Millisecond: "4294967S", 200_000_000 * time.Second: "3333333M", 100_000_000 * time.Minute: "1666666H",
	} {
		if got := grpcTimeout(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}
