//go:build prometheus

package operators

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// program returns the path of prometheus or promtool. Debian's package prometheus has both.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is not on PATH: apt-get install prometheus", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Prometheus's own checks of the shipped files, and its unit tests of the alerts.
func TestPromtool(t *testing.T) {
	for _, arguments := range []string{
		"check config --lint-fatal " + configFile,
		"check rules --lint-fatal " + alertsFile,
		"test rules " + alertsTest,
	} {
		output, err := exec.CommandContext(t.Context(), program(t, "promtool"), strings.Fields(arguments)...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", arguments, err, output)
		}
	}
}
