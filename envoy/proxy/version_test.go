package proxy

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for output, want := range map[string]Version{
		"\nenvoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL\n\n": {1, 40, 0},
		"/usr/bin/envoy  version: 0123abcd/1.33.10/Modified/DEBUG/BoringSSL-FIPS":                       {1, 33, 10},
		"envoy  version: 0/2.0.1-dev/Clean/RELEASE/BoringSSL":                                           {2, 0, 1},
	} {
		got, err := parseVersion(output)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", output, got, err, want)
		}
	}
	for _, output := range []string{"", "1.40.0", "envoy  version: abc/1.40/Clean/RELEASE/x", "version: zz/1.40.0/Clean", "version: 0/1.40.99999999999999999999/Clean/"} {
		if got, err := parseVersion(output); err == nil {
			t.Errorf("%q: got %v, want an error", output, got)
		}
	}
}

func TestVersionsAreOrdered(t *testing.T) {
	order := []Version{{0, 99, 99}, {1, 0, 1}, {1, 9, 5}, {1, 33, 0}, {1, 33, 2}, {1, 40, 0}, {2, 0, 0}}
	for i, v := range order {
		for j, w := range order {
			if v.Less(w) != (i < j) {
				t.Errorf("%v.Less(%v) is %t", v, w, v.Less(w))
			}
		}
	}
}

func TestPinnedVersionIsInRequirements(t *testing.T) {
	if want := fmt.Sprintf("\nenvoy-server==%s ", pinnedVersion); !strings.Contains(requirements, want) {
		t.Errorf("requirements.txt has no %q", want)
	}
	if hashes := strings.Count(requirements, "--hash=sha256:"); hashes != len(pinnedFor) {
		t.Errorf("requirements.txt has %d hashes for %d platforms", hashes, len(pinnedFor))
	}
}
