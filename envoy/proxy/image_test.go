package proxy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/container"
)

// engine puts a podman on PATH that has some images and can pull others. To run a container it runs
// the script run, in which $image is the name of the image.
func (m *machine) engine(has, gets []string, run string) {
	script.Write(m.t, filepath.Join(m.path, "podman"), `
for image; do case $image in *:*) break;; esac; done
is() { case " $1 " in *" $image "*) ;; *) echo "Error: $image: $2" >&2; exit 125;; esac; }
case $1 in
--version) echo podman version 4.3.1;;
image) is '`+strings.Join(has, " ")+`' 'image not known';;
pull) is '`+strings.Join(gets, " ")+`' 'no such host';;
run) echo "$*" >>'`+m.dir+`/run'
`+run+`
;;
build) for dir; do :; done; cd "$dir" && list . >'`+m.dir+`/built';;
rm) echo "$*" >>'`+m.dir+`/removed';;
esac
`)
}

// newEnvoy is a script that prints the version of Envoy, and fails for any other arguments.
const newEnvoy = `case $* in *--version) echo 'envoy  version: 0abc/1.40.0/Clean/RELEASE/BoringSSL';; *) exit 1;; esac`

func (m *machine) findImage(ctx context.Context) (Container, error) {
	return Finder{Dir: m.build, Say: func(s string) { m.said = append(m.said, s) }}.FindImage(ctx)
}

func TestFindImageOrder(t *testing.T) {
	for name, test := range map[string]struct {
		variable  string
		has, gets []string
		want      string
		says      string
	}{
		"ENVOY_IMAGE, if the engine has it":  {variable: "my/envoy:1", has: []string{"my/envoy:1", OfficialImage}, want: "my/envoy:1"},
		"ENVOY_IMAGE, from its registry":     {variable: "my/envoy:1", has: []string{OfficialImage}, gets: []string{"my/envoy:1"}, want: "my/envoy:1"},
		"the official one":                   {has: []string{builtImage, OfficialImage}, want: OfficialImage},
		"the official one from its registry": {has: []string{builtImage}, gets: []string{OfficialImage}, want: OfficialImage, says: "Pulling " + OfficialImage + " (only once)."},
		"one that was built earlier":         {has: []string{builtImage}, want: builtImage, says: "Cannot pull it (" + OfficialImage + ": no such host). Using " + builtImage + ", which was built earlier."},
		"one that is built now":              {want: builtImage, says: "Cannot pull it (" + OfficialImage + ": no such host). Building " + builtImage + " from the pinned Envoy."},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			t.Setenv(ImageVariable, test.variable)
			m.engine(test.has, test.gets, newEnvoy)
			m.downloaded()
			library := script.Write(t, filepath.Join(m.dir, "lib", "libc.so.6"), "")
			script.Write(t, filepath.Join(m.path, "ldd"), "echo '	libc.so.6 => "+library+" (0x00007f)'\n")
			got, err := m.findImage(t.Context())
			if err != nil || got.Image != test.want {
				t.Fatalf("got %q, %v, want %q", got, err, test.want)
			}
			if got := strings.Join(m.said, "\n"); !strings.Contains(got, test.says) || (test.says == "" && got != "") {
				t.Errorf("it says %q, want %q", got, test.says)
			}
			if test.want != builtImage || test.has != nil {
				return
			}
			built := strings.Fields(contents(t, filepath.Join(m.dir, "built")))
			slices.Sort(built)
			if want := []string{library[1:], "usr/local/bin/envoy"}; !slices.Equal(built, want) {
				t.Errorf("the image has %q, want %q", built, want)
			}
		})
	}
}

// Every error is one sentence that says what the user can do.
func TestFindImageErrors(t *testing.T) {
	const image = "my/envoy:1"
	for name, test := range map[string]struct {
		has  []string
		run  string
		want string
	}{
		"an image that cannot be pulled": {nil, newEnvoy,
			`ENGINE cannot pull ENVOY_IMAGE "my/envoy:1": my/envoy:1: no such host; set it to the full name, with the registry, of an image of Envoy`},
		"an image without an Envoy": {[]string{image}, `
echo 'Error: runc: runc create failed: unable to start container process: exec: "envoy": executable file not found in $PATH: OCI runtime attempted to invoke a command that was not found' >&2; exit 127`,
			`cannot use ENVOY_IMAGE "my/envoy:1": the image has no envoy; set it to an image of Envoy 1.33.0 or newer`},
		"an image without an Envoy, in docker's words": {[]string{image}, `
echo 'docker: Error response from daemon: failed to create task for container: OCI runtime create failed: exec: "envoy": executable file not found in $PATH: unknown' >&2
echo >&2; echo "Run 'docker run --help' for more information" >&2; exit 127`,
			`cannot use ENVOY_IMAGE "my/envoy:1": the image has no envoy; set it to an image of Envoy 1.33.0 or newer`},
		"an Envoy that is too old": {[]string{image}, `echo 'envoy  version: 0abc/1.32.0/Clean/RELEASE/BoringSSL'`,
			`cannot use ENVOY_IMAGE "my/envoy:1": its version is 1.32.0, and the filter needs 1.33.0 or newer; set it to an image of Envoy 1.33.0 or newer`},
		"an Envoy without V8": {[]string{image}, `case $* in *--version) echo 'envoy  version: 0abc/1.38.3/Clean/RELEASE/BoringSSL';; *) echo 'Envoy was compiled without support for it' >&2; exit 1;; esac`,
			`cannot use ENVOY_IMAGE "my/envoy:1": it was built without V8, which runs the filter; set it to an image of Envoy 1.33.0 or newer`},
		"limits that this machine does not allow": {[]string{image}, `
echo 'Error: runc: runc create failed: unable to start container process: error during container init: error setting rlimits for ready process: error setting rlimit type 7: operation not permitted: OCI permission denied' >&2; exit 126`,
			`cannot use ENVOY_IMAGE "my/envoy:1": the container engine sets limits that are above this user's: set lower default_ulimits, nofile and nproc, in containers.conf; set it to an image of Envoy 1.33.0 or newer`},
		"an engine that cannot run anything": {[]string{image}, `
echo 'time="now" level=warning msg="look out"' >&2; echo 'Error: crun: writing file: permission denied' >&2; exit 126`,
			`cannot use ENVOY_IMAGE "my/envoy:1": my/envoy:1 --version: exit status 126: crun: writing file: permission denied; set it to an image of Envoy 1.33.0 or newer`},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			t.Setenv(ImageVariable, image)
			m.engine(test.has, nil, test.run)
			_, err := m.findImage(t.Context())
			if want := strings.ReplaceAll(test.want, "ENGINE", filepath.Join(m.path, "podman")); err == nil || err.Error() != want {
				t.Errorf("got %v\nwant %s", err, want)
			}
		})
	}
}

// When ctx ends, FindImage kills and removes a container that hangs.
func TestImageHangs(t *testing.T) {
	m := newMachine(t)
	t.Setenv(ImageVariable, "my/envoy:1")
	m.engine([]string{"my/envoy:1"}, nil, `echo $$ >'`+m.dir+`/pid'; exec sleep 300`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := make(chan error, 1)
	go func() {
		_, err := m.findImage(ctx)
		found <- err
	}()
	wait.Until(t, func() error { return script.Written(filepath.Join(m.dir, "pid")) })
	cancel()
	err := wait.For(t, "the answer", found)
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	m.removedWhatRan()
	pid, err := strconv.Atoi(contents(t, filepath.Join(m.dir, "pid")))
	if err != nil {
		t.Fatal(err)
	}
	wait.Gone(t, pid)
}

// The container is removed in every case, because the engine's exit status does not tell whether it
// still exists.
func TestContainerIsRemoved(t *testing.T) {
	for name, run := range map[string]string{
		"one that has ended":  "exit 0",
		"one that has failed": "exit 3",
		// What podman does when it is told to end while it makes the container.
		"one that was never begun": `trap 'exit 0' TERM; kill -TERM $PPID; while :; do sleep 0.01; done`,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.engine(nil, nil, run)
			engine, err := container.Find(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Start(t.Context(), Container{engine, "my/envoy:1"}, Options{}); err == nil {
				t.Fatal("it started")
			}
			m.removedWhatRan()
		})
	}
}

// The options of the engine. Most of them make a difference only on another machine: with an image
// of the Envoy project, with SELinux, or with an engine that pulls images or keeps logs by default.
func TestContainerOptions(t *testing.T) {
	m := newMachine(t)
	m.engine(nil, nil, newEnvoy)
	engine, err := container.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := Container{engine, "my/envoy:1"}
	if _, err := VersionOf(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), c, Options{}); err == nil {
		t.Fatal("it started")
	}
	calls := strings.Split(strings.TrimSpace(contents(t, filepath.Join(m.dir, "run"))), "\n")
	if len(calls) != 2 {
		t.Fatalf("the engine was called with %q, want a query and a server", calls)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"run --rm ", " --pull never ", " --label " + Label() + " ", " --log-driver none ", " --pid host ", " --entrypoint envoy "}
	for i, want := range [][]string{
		append(all, " --network none ", " my/envoy:1 --version"),
		append(all, " --network host ", " --user 0:0 ", " --security-opt label=disable ", " --workdir "+here+" ",
			" --volume "+os.TempDir()+":"+os.TempDir()+" ", " my/envoy:1 --config-path "),
	} {
		for _, option := range want {
			if !strings.Contains(calls[i], option) {
				t.Errorf("the engine was called with %s\nwant %q", calls[i], option)
			}
		}
	}
}

// A container that is shutting down gets no second SIGTERM at once: it could kill the container.
func TestContainerCanShutDown(t *testing.T) {
	m := newMachine(t)
	m.engine(nil, nil, `trap 'trap - TERM; sleep 1; exit 7' TERM; kill -TERM $PPID; while :; do sleep 0.01; done`)
	engine, err := container.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), Container{engine, "my/envoy:1"}, Options{})
	if err == nil || !strings.Contains(err.Error(), "exit status 7") {
		t.Errorf("got %v, want its own exit status, 7", err)
	}
}

// podman ignores a SIGTERM just after it has created the container, so the signal is repeated.
func TestSIGTERMIsRepeated(t *testing.T) {
	m := newMachine(t)
	begun := filepath.Join(m.dir, "begun")
	m.engine(nil, nil, "deaf=yes; trap '[ $deaf = no ] && exit 0; deaf=no' TERM; echo >"+begun+"; while :; do sleep 0.01; done")
	engine, err := container.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := Start(ctx, Container{engine, "my/envoy:1"}, Options{Grace: time.Hour})
		ended <- err
	}()
	wait.Until(t, func() error { return script.Written(begun) })
	cancel()
	wait.For(t, "the end", ended)
	m.removedWhatRan()
}

// removedWhatRan checks that each container that the engine had to run was removed.
func (m *machine) removedWhatRan() {
	m.t.Helper()
	removed := contents(m.t, filepath.Join(m.dir, "removed"))
	for line := range strings.Lines(contents(m.t, filepath.Join(m.dir, "run"))) {
		_, rest, _ := strings.Cut(line, " --name ")
		name, _, _ := strings.Cut(rest, " ")
		if !strings.Contains(removed, "rm --force --volumes "+name) || name == "" {
			m.t.Errorf("container %q was not removed, only: %s", name, removed)
		}
	}
}
