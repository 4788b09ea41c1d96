//go:build container

package container

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/container"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// left lists what a program has left behind: processes, and containers in any state.
func left(pid int) ([]string, error) {
	label := "streamlatch.program=" + strconv.Itoa(pid)
	var found []string
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, file := range commands {
		if text, _ := os.ReadFile(file); bytes.Contains(text, []byte(label+"\x00")) {
			found = append(found, "process "+strings.Split(file, "/")[2])
		}
	}
	list, err := engine.Output(context.Background(), "ps", "--all", "--filter", "label="+label, "--format", "{{.Names}}: {{.Status}}")
	if err != nil || list == "" {
		return found, err
	}
	return append(found, strings.Split(list, "\n")...), nil
}

// asProgram makes the test binary a program that starts an Envoy in a container. It prints a line
// before the start and another one when Envoy serves.
const asProgram = "STREAMLATCH_TEST_AS_PROGRAM"

// program does not return, and handles no signals: what it has started must end with it because of
// how it was started. The last argument is the file of the filter.
func program() {
	engine, err := container.Find(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	launcher := proxy.Container{Engine: engine, Image: os.Getenv(proxy.ImageVariable)}
	config, err := envoy.Render(envoy.Settings{Backend: 1, Wasm: os.Args[len(os.Args)-1]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("starts")
	if _, err := proxy.Start(context.Background(), launcher, proxy.Options{Config: config, Concurrency: 1}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("serves")
	select {}
}

// started is a program that was started.
type started struct {
	t       *testing.T
	cmd     *exec.Cmd
	printed *bufio.Scanner
	stderr  bytes.Buffer
}

// startProgram starts the program and returns when it starts its Envoy.
func startProgram(t *testing.T, filter []byte) *started {
	t.Helper()
	temporary := t.TempDir()
	file := filepath.Join(temporary, "filter.wasm")
	if err := os.WriteFile(file, filter, 0o644); err != nil {
		t.Fatal(err)
	}
	s := &started{t: t, cmd: exec.Command(os.Args[0], file)}
	s.cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+temporary, proxy.ImageVariable+"="+envoyImage.Image)
	s.cmd.Stderr = &s.stderr
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.printed = bufio.NewScanner(stdout)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.says("starts")
	return s
}

func (s *started) says(what string) {
	s.t.Helper()
	if !s.printed.Scan() || s.printed.Text() != what {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.t.Fatalf("the program: got the line %q, want %q; stderr: %s", s.printed.Text(), what, s.stderr.String())
	}
}

// end sends a signal. It checks that the signal ends the program, and that everything it has
// started ends too.
func (s *started) end(signal syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatal(err)
	}
	s.cmd.Wait()
	if state := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !state.Signaled() || state.Signal() != signal {
		s.t.Errorf("the program: got the end %v, want %v; stderr: %s", s.cmd.ProcessState, signal, s.stderr.String())
	}
	wait.Until(s.t, func() error {
		if list, err := left(s.cmd.Process.Pid); err != nil || len(list) > 0 {
			return fmt.Errorf("left behind: got %q (%v), want nothing", list, err)
		}
		return nil
	})
}

// containerRuns waits until a container of the program runs, so Envoy has started.
func containerRuns(t *testing.T, pid int) {
	t.Helper()
	wait.Until(t, func() error {
		list, err := left(pid)
		if err != nil || !strings.Contains(strings.Join(list, "\n"), ": Up") {
			return fmt.Errorf("want a running container, got %q, %v", list, err)
		}
		return nil
	})
}

// A signal ends a program that does not handle it. Its Envoy must end too, while it compiles the
// filter and when it serves.
func TestAProgramEnds(t *testing.T) {
	wasm, err := rig.Filter()
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT, syscall.SIGTERM} {
		t.Run("starting, "+signal.String(), func(t *testing.T) {
			s := startProgram(t, wasm)
			containerRuns(t, s.cmd.Process.Pid)
			s.end(signal)
		})
		t.Run("serving, "+signal.String(), func(t *testing.T) {
			s := startProgram(t, wasm)
			s.says("serves")
			s.end(signal)
		})
	}
}

// makingTakes is the time that podman needs to create a container on an idle machine.
const makingTakes = 250 * time.Millisecond

// While the engine creates the container there is nothing yet that could be ended. The container
// must end all the same, whenever the program ends.
func TestAProgramEndsAsTheContainerIsMade(t *testing.T) {
	const moments = 6
	for moment := range time.Duration(moments) {
		after := moment * makingTakes / moments
		t.Run(after.String(), func(t *testing.T) {
			s := startProgram(t, nil)
			time.Sleep(after)
			s.end(syscall.SIGKILL)
		})
	}
}

// A cancelled start leaves nothing behind. It does not wait for an Envoy that is compiling the
// filter, although its Grace is an hour here.
func TestAStartIsGivenUp(t *testing.T) {
	wasm, err := rig.Filter()
	if err != nil {
		t.Fatal(err)
	}
	filter := filepath.Join(t.TempDir(), "filter.wasm")
	if err := os.WriteFile(filter, wasm, 0o644); err != nil {
		t.Fatal(err)
	}
	config, err := envoy.Render(envoy.Settings{Backend: 1, Wasm: filter})
	if err != nil {
		t.Fatal(err)
	}
	for name, await := range map[string]func(t *testing.T){
		"at once":                        func(t *testing.T) {},
		"while the container is created": func(t *testing.T) { time.Sleep(makingTakes / 3) },
		"while the container is started": func(t *testing.T) { time.Sleep(makingTakes * 2 / 3) },
		"while Envoy starts":             func(t *testing.T) { containerRuns(t, os.Getpid()) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				p, err := proxy.Start(ctx, envoyImage, proxy.Options{Config: config, Concurrency: 1, Grace: time.Hour})
				if err == nil {
					p.Stop()
				}
				ended <- err
			}()
			await(t)
			cancel()
			// nil: Envoy had started before the cancellation, and was stopped
			if err := wait.For(t, "the start's end", ended); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("Start: got the error %v, want %v", err, context.Canceled)
			}
			if list, err := left(os.Getpid()); err != nil || len(list) > 0 {
				t.Errorf("left behind: got %q (%v), want nothing", list, err)
			}
		})
	}
}

// If an Envoy ends by itself, the error says why in one line. It leaves no container, and no
// volumes even if its image declares some. No network is created for it.
func TestEnvoyEndsByItself(t *testing.T) {
	withVolume := newTag(t, "envoy-with-volume")
	build := container.Build{Dir: t.TempDir(), Tag: withVolume, Args: map[string]string{"ENVOY": envoyImage.Image},
		Recipe: "ARG ENVOY\nFROM ${ENVOY}\nVOLUME /data\n"}
	if err := engine.Build(t.Context(), build); err != nil {
		t.Fatal(err)
	}
	launcher := proxy.Container{Engine: engine, Image: withVolume}
	networks, volumes := call(t, "network", "ls", "--quiet"), call(t, "volume", "ls", "--quiet")
	for name, test := range map[string]struct{ config, want string }{
		"a configuration that Envoy refuses": {"nonsense: 1", "start envoy: envoy ended by itself: exit status 1: "},
		"a port that is taken":               {"admin: {address: {socket_address: {address: 127.0.0.1, port_value: " + takenPort(t) + "}}}", "Address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			p, err := proxy.Start(t.Context(), launcher, proxy.Options{Config: test.config, Stderr: &log})
			if err == nil {
				p.Stop()
				t.Fatal("Start: got no error, want one")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Start: got the error %q, want one line with %q", err, test.want)
			}
			if !strings.Contains(log.String(), "[critical][main]") {
				t.Errorf("log: got %q, want Envoy's critical line", log.String())
			}
		})
	}
	p, err := proxy.Start(t.Context(), launcher, proxy.Options{Config: "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"})
	if err != nil {
		t.Fatal(err)
	}
	if got := call(t, "volume", "ls", "--quiet"); got == volumes {
		t.Errorf("volumes while it runs: got %q, want one more than before: otherwise this test proves nothing", got)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if list, err := left(os.Getpid()); err != nil || len(list) > 0 {
		t.Errorf("left behind: got %q (%v), want nothing", list, err)
	}
	if got := call(t, "volume", "ls", "--quiet"); got != volumes {
		t.Errorf("volumes afterwards: got %q, want %q", got, volumes)
	}
	if got := call(t, "network", "ls", "--quiet"); got != networks {
		t.Errorf("networks afterwards: got %q, want %q", got, networks)
	}
}

// Envoy is killed in its container, as the system does when memory is short.
func TestEnvoyIsKilled(t *testing.T) {
	p, err := proxy.Start(t.Context(), envoyImage, proxy.Options{Config: "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	call(t, "kill", "--signal", "KILL", call(t, "ps", "--quiet", "--filter", "label="+proxy.Label()))
	wait.For(t, "Envoy's end", p.Done())
	if want := "envoy ended by itself: signal: killed"; p.Err() == nil || p.Err().Error() != want {
		t.Errorf("Err: got %v, want %s", p.Err(), want)
	}
	if list, err := left(os.Getpid()); err != nil || len(list) > 0 {
		t.Errorf("left behind: got %q (%v), want nothing", list, err)
	}
}
