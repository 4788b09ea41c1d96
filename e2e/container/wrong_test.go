//go:build container

package container

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// imageOf makes an image whose envoy is this Go program, given without its package clause.
func imageOf(t *testing.T, name, main string) string {
	t.Helper()
	source, dir := t.TempDir(), t.TempDir()
	for file, text := range map[string]string{"go.mod": "module envoy\n", "main.go": "package main\n\n" + main} {
		if err := os.WriteFile(filepath.Join(source, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "envoy"), ".")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	tag := newTag(t, name)
	err := engine.Build(t.Context(), container.Build{Dir: dir, Recipe: "FROM scratch\nCOPY envoy /usr/bin/envoy\nENV PATH=/usr/bin\n", Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	return tag
}

// A wrong ENVOY_IMAGE gives an error of one line that says what is wrong and what is wanted.
func TestWrongImages(t *testing.T) {
	plugin := newTag(t, "plugin")
	makeImage(t, plugin)
	old := imageOf(t, "old-envoy", `import "os"

func main() { os.Stdout.WriteString("\nenvoy  version: 0abc/1.32.1/Clean/RELEASE/BoringSSL\n\n") }`)
	for name, test := range map[string]struct{ image, want string }{
		// What the engine says of a name is its own business.
		"nothing that can be had": {"localhost:1/nonsense:v0", `.+ cannot pull ENVOY_IMAGE "localhost:1/nonsense:v0": .+; set it to the full name, with the registry, of an image of Envoy`},
		"no name of an image":     {"Not:a:Name", `.+ cannot pull ENVOY_IMAGE "Not:a:Name": .*invalid reference format.*; set it to the full name, with the registry, of an image of Envoy`},
		"a flag":                  {"--help", `.+ cannot pull ENVOY_IMAGE "--help": .*invalid reference format.*; set it to the full name, with the registry, of an image of Envoy`},
		"the plugin's image":      {plugin, `cannot use ENVOY_IMAGE ".+": the image has no envoy; set it to an image of Envoy 1\.33\.0 or newer`},
		"an Envoy too old":        {old, `cannot use ENVOY_IMAGE ".+": its version is 1\.32\.1, and the filter needs 1\.33\.0 or newer; set it to an image of Envoy 1\.33\.0 or newer`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(proxy.ImageVariable, test.image)
			_, err := proxy.FindImage(t.Context(), t.TempDir())
			if err == nil || !regexp.MustCompile("^"+test.want+"$").MatchString(err.Error()) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			t.Log(err)
			if list, err := left(os.Getpid()); err != nil || len(list) > 0 {
				t.Errorf("left behind: got %q (%v), want nothing", list, err)
			}
		})
	}
}

// The container neither answers nor ends at SIGTERM. It ends when the question is cancelled.
func TestAnImageThatHangs(t *testing.T) {
	t.Setenv(proxy.ImageVariable, imageOf(t, "hanging-envoy", `import ("os/signal"; "syscall"; "time")

func main() { signal.Ignore(syscall.SIGTERM); time.Sleep(time.Hour) }`))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := make(chan error, 1)
	go func() {
		_, err := proxy.FindImage(ctx, t.TempDir())
		found <- err
	}()
	wait.Until(t, func() error {
		list, err := left(os.Getpid())
		if err == nil && !strings.Contains(strings.Join(list, "\n"), ": Up") {
			err = errors.New("want a running container")
		}
		return err
	})
	cancel()
	if err := wait.For(t, "the answer", found); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "\n") {
		t.Errorf("FindImage: got the error %v, want %v", err, context.Canceled)
	}
	if list, err := left(os.Getpid()); err != nil || len(list) > 0 {
		t.Errorf("left behind: got %q (%v), want nothing", list, err)
	}
}
