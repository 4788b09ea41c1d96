// Package dir looks at directories in tests.
package dir

import (
	"os"
	"testing"
)

// Names returns the names in a directory, in order.
func Names(t *testing.T, path string) []string {
	t.Helper()
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Temporary gives the test its own directory for temporary files, and returns a function that lists
// it.
func Temporary(t *testing.T) func() []string {
	path := t.TempDir()
	t.Setenv("TMPDIR", path)
	return func() []string { return Names(t, path) }
}
