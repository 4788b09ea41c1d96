//go:build sdks

package sdks

import (
	"fmt"
	"os"
	"testing"
)

// The rig builds the filter and finds Envoy from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
