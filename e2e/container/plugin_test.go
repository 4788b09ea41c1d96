//go:build container

package container

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// makeImage calls `make image`, as a user does, and returns the output.
func makeImage(t *testing.T, tag string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", "--no-print-directory", "image", "IMAGE="+tag)
	cmd.Dir = root
	cmd.Env = withoutMake(os.Environ())
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make image: %v\n%s", err, output)
	}
	if !strings.Contains(string(output), tag+": plugin.wasm, ") {
		t.Errorf("make image: got the output %q, want the name of the image and what is in it", output)
	}
	return string(output)
}

// withoutMake removes the flags of the make that runs this test.
func withoutMake(environment []string) []string {
	return slices.DeleteFunc(environment, func(v string) bool {
		return strings.HasPrefix(v, "MAKEFLAGS=") || strings.HasPrefix(v, "MFLAGS=") || strings.HasPrefix(v, "MAKEOVERRIDES=")
	})
}

// git calls git in the repository and returns its output.
func git(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = root
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(output))
}

// only returns the only file of the only layer of an image.
func only(t *testing.T, i image) (header *tar.Header, data []byte) {
	t.Helper()
	if len(i.Layers) != 1 {
		t.Fatalf("got %d layers, want 1", len(i.Layers))
	}
	reader := tar.NewReader(bytes.NewReader(i.Layers[0]))
	for {
		h, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header != nil {
			t.Fatalf("the layer: got %s and %s, want one file", header.Name, h.Name)
		}
		if header = h; err == nil {
			data, err = io.ReadAll(reader)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if header == nil {
		t.Fatal("the layer: got no file, want one")
	}
	return header, data
}

// `make image` makes an image that Istio and Envoy Gateway can read: one layer with plugin.wasm at
// its root. Envoy runs this file, and the filter reports the version on the label. Making it again
// from the same commit gives the same layer.
func TestPluginImage(t *testing.T) {
	tag, again := newTag(t, "plugin"), newTag(t, "plugin")
	printed := makeImage(t, tag)
	first := saved(t, tag)
	header, wasm := only(t, first)

	t.Run("one file", func(t *testing.T) {
		if header.Name != "plugin.wasm" || header.Typeflag != tar.TypeReg || header.Mode&0o777 != 0o644 || header.Uid != 0 || header.Gid != 0 {
			t.Errorf("the file: got %q of type %q, mode %o, owner %d:%d; want the file plugin.wasm, 644, 0:0", header.Name, header.Typeflag, header.Mode, header.Uid, header.Gid)
		}
		if !bytes.HasPrefix(wasm, []byte("\x00asm")) {
			t.Errorf("the file: got %q at its beginning, want a WebAssembly module", wasm[:min(4, len(wasm))])
		}
		if c := first.Config.Config; len(c.Entrypoint) > 0 {
			t.Errorf("got the entrypoint %q, want none", c.Entrypoint)
		}
	})
	version := git(t, "describe", "--tags", "--always", "--dirty")
	t.Run("labels", func(t *testing.T) {
		got := maps.Clone(first.Config.Config.Labels)
		maps.DeleteFunc(got, func(key, value string) bool { return !strings.HasPrefix(key, "org.opencontainers.image.") })
		want := map[string]string{
			"org.opencontainers.image.title":       "streamlatch",
			"org.opencontainers.image.description": "One live event stream per client, in Envoy: a proxy-wasm filter",
			"org.opencontainers.image.version":     version,
			"org.opencontainers.image.revision":    git(t, "rev-parse", "HEAD"),
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.source":      "https://github.com/streamlatch/streamlatch",
		}
		if !maps.Equal(got, want) {
			t.Errorf("labels\n got %q\nwant %q", got, want)
		}
	})
	t.Run("made again", func(t *testing.T) {
		makeImage(t, again)
		second := saved(t, again)
		if got, want := second.Config.RootFS.DiffIDs, first.Config.RootFS.DiffIDs; !slices.Equal(got, want) {
			t.Errorf("got the layers %q, want %q as the first time", got, want)
		}
		if second.ID != first.ID {
			t.Errorf("got the image %s, want %s as the first time", second.ID, first.ID)
		}
	})
	t.Run("mounted", func(t *testing.T) {
		r := start(t, rig.Options{Launcher: envoyImage, LogLevel: "wasm:info", Base: envoy.Render, Module: func() ([]byte, error) { return wasm, nil }})
		wantVersion(t, r, version)
		wantTakeover(t, r)
	})
	t.Run("carried", func(t *testing.T) {
		const carried = "/etc/envoy/streamlatch.wasm"
		both := newTag(t, "envoy-with-plugin")
		recipe := "ARG ENVOY\nFROM ${ENVOY}\n" + copyLine(t, printed, carried) + "\n"
		build := container.Build{Dir: t.TempDir(), Recipe: recipe, Tag: both, Args: map[string]string{"ENVOY": envoyImage.Image}}
		if err := engine.Build(t.Context(), build); err != nil {
			t.Fatal(err)
		}
		r := start(t, rig.Options{
			Launcher: proxy.Container{Engine: engine, Image: both}, LogLevel: "wasm:info",
			// Envoy must not load the module of the rig, so this is not a module.
			Module: func() ([]byte, error) { return []byte("this one is not meant"), nil },
			Base: func(s envoy.Settings) (string, error) {
				s.Wasm = carried
				return envoy.Render(s)
			},
		})
		wantVersion(t, r, version)
		wantTakeover(t, r)
	})
}

// copyLine returns the line in the output of `make image` that copies the plugin into an image of
// Envoy.
func copyLine(t *testing.T, printed, to string) string {
	t.Helper()
	for line := range strings.Lines(printed) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "COPY ") && strings.HasSuffix(line, " "+to) {
			return line
		}
	}
	t.Fatalf("make image: want a COPY of the plugin to %s in the output, got\n%s", to, printed)
	return ""
}

// start starts an Envoy that the end of the test stops.
func start(t *testing.T, o rig.Options) *rig.Rig {
	t.Helper()
	r, err := rig.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// wantVersion checks the version in the filter's status and in the log.
func wantVersion(t *testing.T, r *rig.Rig, version string) {
	t.Helper()
	c, err := r.DialListener(t.Context(), rig.HTTP1, rig.Internal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer, err := c.Do(t.Context(), rig.Request{Path: "/streamlatch"})
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Version string }
	if err := json.Unmarshal([]byte(answer.Body), &status); err != nil || status.Version != version {
		t.Errorf("status: got version %q (%v), want %q", status.Version, err, version)
	}
	if started := r.Log.Containing("started version=" + version + " config="); len(started) == 0 {
		t.Errorf("log: got %q, want the start of version %s", r.Log.Containing("started version"), version)
	}
}

// wantTakeover opens two streams of a client, and checks that the second supersedes the first.
func wantTakeover(t *testing.T, r *rig.Rig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	streams := make([]*rig.Stream, 2)
	for i := range streams {
		c, err := r.Dial(ctx, rig.HTTP1)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if streams[i], err = c.Open(ctx, rig.Request{Client: "alice", Path: "/events?client=alice"}); err != nil {
			t.Fatal(err)
		}
	}
	if end, err := streams[0].End(ctx); err != nil || end.How != rig.Reset {
		t.Errorf("the first stream: got %v, %v; want a reset", end.How, err)
	}
	if !streams[1].Live() {
		t.Error("the second stream: got its end, want it open")
	}
}
