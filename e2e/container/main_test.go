//go:build container

// Package container tests the plugin as an image, and Envoy in a container. It needs docker or
// podman, and therefore a build tag: make e2e-container.
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
	// envoyImage is the Envoy of these tests. All other images of these tests are made FROM it or
	// from scratch.
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

// call runs the engine and returns its output.
func call(t *testing.T, args ...string) string {
	t.Helper()
	output, err := engine.Output(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s %s: %v", engine, strings.Join(args, " "), err)
	}
	return output
}

// newTag returns the name for a new image. The end of the test removes the image.
func newTag(t *testing.T, name string) string {
	tag := "localhost/streamlatch-test/" + name + ":" + strings.ToLower(rand.Text())
	t.Cleanup(func() {
		ctx := context.Background() // that of the test has ended
		if !engine.Has(ctx, tag) {
			return
		}
		if _, err := engine.Output(ctx, "rmi", tag); err != nil {
			t.Errorf("remove %s: %v", tag, err)
		}
	})
	return tag
}

// takenPort returns a port on which the test listens until its end.
func takenPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
