// Package http3 tests the filter behind Envoy's listener for QUIC, with a client that speaks
// HTTP/3. It is a module of its own, for that client's sake.
package http3

import (
	"fmt"
	"os"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// The rig builds the filter and finds Envoy from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// edge is an Envoy that listens for HTTP/1.1 and HTTP/2 on TCP, as shipped, and for HTTP/3 on UDP.
type edge struct {
	*rig.Rig
	certificate certificate
}

// start starts an Envoy for one test.
func start(t *testing.T, o rig.Options) edge {
	t.Helper()
	certificate := newCertificate(t)
	o.Edits = append(o.Edits, certificate.listener)
	return edge{rigtest.Start(t, o), certificate}
}
