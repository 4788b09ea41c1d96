// Package quickstart runs `make run` like its user: it reads the output, runs the printed commands
// and presses Ctrl-C.
package quickstart

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// patience is longer than wait.Patience, because the quick start may have to download Envoy.
const patience = 5 * time.Minute

var folder string // where the program is built

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "streamlatch-quickstart-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// quickstart builds the program, once.
var quickstart = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(folder, "quickstart")
	output, err := exec.Command("go", "build", "-o", path, "github.com/streamlatch/streamlatch/envoy/cmd/quickstart").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, output)
	}
	return path, err
})

// program is a running quick start.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout *bufio.Scanner
	stderr strings.Builder
	log    string
	tmp    string // the folder for its temporary files
	exit   chan error

	envoy                int // the process id of Envoy
	url, admin, internal string

	others []int    // process ids of what else it has started
	urls   []string // of all that it serves, but the backend
}

// launch starts a quick start in the root of the repository, on free ports, with these additional
// environment variables and flags.
func launch(t *testing.T, environment []string, flags ...string) *program {
	p := &program{t: t, log: filepath.Join(t.TempDir(), "envoy.log"), tmp: t.TempDir(), exit: make(chan error, 1)}
	wasm, err := rig.Filter()
	if err != nil {
		t.Fatal(err)
	}
	path, err := quickstart()
	if err != nil {
		t.Fatal(err)
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	filter := filepath.Join(t.TempDir(), "filter.wasm")
	if err := os.WriteFile(filter, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd = exec.Command(path, append(flags, "-wasm", filter, "-listen", "0", "-internal", "0", "-admin", "0", "-backend", "0", "-log", p.log)...)
	p.cmd.Dir = root
	p.cmd.Env = append(append(os.Environ(), "TMPDIR="+p.tmp), environment...)
	p.cmd.Stderr = &p.stderr
	r, w := io.Pipe()
	p.cmd.Stdout, p.stdout = w, bufio.NewScanner(r)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		err := p.cmd.Wait()
		w.Close()
		p.exit <- err
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		go io.Copy(io.Discard, r)
	})
	return p
}

var serves = regexp.MustCompile(`(?m)^Envoy 1\.\d+\.\d+ runs \(pid (\d+)\)\.

  demo page     (http://127\.0\.0\.1:\d+)/
  Envoy admin   (http://127\.0\.0\.1:\d+)
  Envoy log     `)

var statusCommand = regexp.MustCompile(`(?m)^  curl (http://127\.0\.0\.1:\d+)/streamlatch$`)

// start launches a quick start and waits until it serves. It also returns the output until then.
func start(t *testing.T) (*program, string) {
	p := launch(t, nil)
	printed := p.read("Press Ctrl-C to stop everything.")
	found, status := serves.FindStringSubmatch(printed), statusCommand.FindStringSubmatch(printed)
	if found == nil || status == nil {
		t.Fatalf("output: want the addresses of Envoy and a command for the status, got %s", printed)
	}
	p.envoy, _ = strconv.Atoi(found[1])
	p.url, p.admin, p.internal = found[2], found[3], status[1]
	p.urls = []string{p.url, p.admin, p.internal}
	return p, printed
}

// read reads the output up to the first line that contains text.
func (p *program) read(text string) string {
	p.t.Helper()
	watchdog := time.AfterFunc(patience, func() { p.cmd.Process.Kill() })
	defer watchdog.Stop()
	printed := ""
	for p.stdout.Scan() {
		printed += p.stdout.Text() + "\n"
		if strings.Contains(p.stdout.Text(), text) {
			return printed
		}
	}
	<-p.exit
	p.t.Fatalf("output: want a line with %q, got the end after %s%s", text, printed, p.stderr.String())
	return ""
}

// end waits until the program has ended. It checks the exit code, that everything it started has
// ended too, and that it printed nothing more.
func (p *program) end(code int) {
	p.t.Helper()
	rest := make(chan string, 1)
	go func() {
		printed := ""
		for p.stdout.Scan() {
			printed += p.stdout.Text() + "\n"
		}
		rest <- printed
	}()
	wait.For(p.t, "its end", p.exit)
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("got exit code %d, want %d; stderr: %s", got, code, p.stderr.String())
	}
	if printed := <-rest; printed != "" {
		p.t.Errorf("got the output %q at its end, want none", printed)
	}
	for _, pid := range append(p.others, p.envoy) {
		if wait.Runs(pid) {
			p.t.Errorf("process %d still runs: want it ended", pid)
		}
	}
	for _, url := range p.urls {
		if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
			conn.Close()
			p.t.Errorf("%s is still served: want it closed", url)
		}
	}
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *program) get(path string) *http.Response {
	p.t.Helper()
	return p.open(p.url + path)
}

func (p *program) open(url string) *http.Response {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), wait.Patience)
	p.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { response.Body.Close() })
	return response
}

// ask sends a request to the listener for operators and returns the body of the response.
func (p *program) ask(method, path string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), wait.Patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, p.internal+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(body)
}

// A user runs the commands that are printed and presses Ctrl-C.
func TestQuickStart(t *testing.T) {
	p, printed := start(t)
	command := fmt.Sprintf("  curl -N '%s/events?client=demo' -H 'accept: text/event-stream'\n", p.url)
	if !strings.Contains(printed, command) {
		t.Errorf("output: want %q, got\n%s", command, printed)
	}
	page, err := io.ReadAll(p.get("/").Body)
	if err != nil || !strings.Contains(string(page), "<title>Streamlatch demo</title>") {
		t.Errorf("the page: got %.200s (%v), want the demo", page, err)
	}

	first, second := p.get("/events?client=demo"), p.get("/events?client=demo")
	if _, err := io.ReadAll(first.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the first stream: got the end %v, want a reset", err)
	}
	line := p.read("takeover")
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d  takeover  rule events, client [0-9a-f]{8}: a new stream opened, so the previous one \(\d+\.\d s old\) was reset\n$`)
	if !want.MatchString(line) {
		t.Errorf("output: got %q, want %s", line, want)
	}
	if _, err := second.Body.Read(make([]byte, 1)); err != nil {
		t.Errorf("the second stream: got %v, want an event", err)
	}
	last := second
	for range 10 { // takeovers, until there are too many
		next := p.get("/events?client=demo")
		if next.StatusCode != http.StatusOK {
			break
		}
		last = next
	}
	line = p.read("refused")
	want = regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d  refused   rule events, client [0-9a-f]{8}: a new stream was refused \(takeover_limit\), the client may retry in \d+\.\d s\n$`)
	if !want.MatchString(line) {
		t.Errorf("output: got %q, want %s", line, want)
	}

	// The page's streams take a detour through the backend, which must know this Envoy.
	for _, path := range []string{"/demo/line/events?client=page", "/demo/line/off/events?client=page"} {
		if stream := p.get(path); stream.StatusCode != http.StatusOK || stream.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: got %s, want a stream", path, stream.Status)
		}
	}
	kick, err := http.Post(p.url+"/demo/kick?client=page", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	kicked, err := io.ReadAll(kick.Body)
	kick.Body.Close()
	if string(kicked) != "{\"streams\":1}\n" { // the other one did not enter the filter
		t.Errorf("kick: got %q (%v), want one stream ended", kicked, err)
	}
	p.read("deleted")

	if status, want := p.ask(http.MethodGet, "/streamlatch"), `"rules":[{"name":"events","active":1,`; !strings.Contains(status, want) {
		t.Errorf("got the status %s, want %s in it", status, want)
	}
	if command := fmt.Sprintf("  curl -X DELETE %s/streamlatch/streams/events/demo\n", p.internal); !strings.Contains(printed, command) {
		t.Errorf("output: want %q, got\n%s", command, printed)
	}
	if got, want := p.ask(http.MethodDelete, "/streamlatch/streams/events/demo"), "{\"streams\":1}\n"; got != want {
		t.Errorf("DELETE: got %q, want %q", got, want)
	}
	if _, err := io.ReadAll(last.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the dismissed stream: got the end %v, want a reset", err)
	}
	line = p.read("deleted")
	want = regexp.MustCompile(`^\d\d:\d\d:\d\d  deleted   rule events, client [0-9a-f]{8}: the admin path ended its streams \(1\)\n$`)
	if !want.MatchString(line) {
		t.Errorf("output: got %q, want %s", line, want)
	}

	p.signal(os.Interrupt)
	p.end(0)
	if p.stderr.Len() > 0 {
		t.Errorf("stderr: %s", p.stderr.String())
	}
	log, err := os.ReadFile(p.log)
	if err != nil || !strings.Contains(string(log), `"reason":"superseded"`) || !strings.Contains(string(log), "[info][main]") {
		t.Errorf("log (%v): want the reason of the reset and Envoy's own lines, got\n%s", err, log)
	}
}

func TestEnvoyIsKilled(t *testing.T) {
	p, _ := start(t)
	p.get("/events?client=demo") // an open stream must not delay the end
	if err := syscall.Kill(p.envoy, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.end(1)
	if want := "quickstart: envoy ended by itself: signal: killed\n"; p.stderr.String() != want {
		t.Errorf("stderr: got %q, want %q", p.stderr.String(), want)
	}
}

func TestTerminated(t *testing.T) {
	p, _ := start(t)
	p.signal(syscall.SIGTERM)
	p.end(0)
}

// The user presses Ctrl-C while Envoy starts.
func TestInterruptedAtStart(t *testing.T) {
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	envoy, err := proxy.Find(t.Context(), filepath.Join(root, "build"))
	if err != nil {
		t.Fatal(err)
	}
	// A script that writes its process id and then becomes Envoy.
	pid, wrapper := filepath.Join(t.TempDir(), "pid"), filepath.Join(t.TempDir(), "envoy")
	script := fmt.Sprintf("#!/bin/sh\ncase $* in *--config-path*) echo $$ >'%s';; esac\nexec '%s' \"$@\"\n", pid, envoy)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	p := launch(t, []string{"ENVOY=" + wrapper})
	p.read("Starting Envoy ")
	wait.Until(t, func() error {
		text, err := os.ReadFile(pid)
		if err != nil {
			return fmt.Errorf("want a process id from the script: %w", err)
		}
		p.envoy, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err
	})
	p.signal(os.Interrupt)
	p.end(0)
	if p.stderr.Len() > 0 {
		t.Errorf("stderr: %s", p.stderr.String())
	}
}
