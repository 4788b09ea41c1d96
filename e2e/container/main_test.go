//go:build container

// Package container tells what those see who take the plugin as an image, and who run Envoy in a container. It needs
// docker or podman, so it stands behind a build tag of its own: make e2e-container.
package container

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

var (
	engine container.Engine
	// envoyImage is the Envoy of these tests; everything that is tried besides is made FROM it, or of nothing.
	envoyImage proxy.Container
	root       string // of the repository
)

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		program()
		return
	}
	if err := find(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "container:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func find(ctx context.Context) (err error) {
	if root, err = rig.Root(); err != nil {
		return err
	}
	if envoyImage, err = proxy.FindImage(ctx, filepath.Join(root, "build")); err != nil {
		return err
	}
	engine = envoyImage.Engine
	return nil
}

// call calls the engine for a test.
func call(t *testing.T, args ...string) string {
	t.Helper()
	output, err := engine.Output(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s %s: %v", engine, strings.Join(args, " "), err)
	}
	return output
}

// newTag returns the name of an image that the test is about to make, and that its end removes.
func newTag(t *testing.T, name string) string {
	tag := "localhost/streamlatch-test/" + name + ":" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx := context.Background() // the test's has ended
		if !engine.Has(ctx, tag) {
			return
		}
		if _, err := engine.Output(ctx, "rmi", tag); err != nil {
			t.Errorf("remove %s: %v", tag, err)
		}
	})
	return tag
}

// takenPort returns a port on which somebody listens until the test ends.
func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
