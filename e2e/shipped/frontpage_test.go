package shipped

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// A reader of the front page applies its diff to an envoy.yaml that knows nothing of Streamlatch,
// lets Envoy check the result, and types the commands that prove that it works. So does this test.
func TestFrontPage(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	typical, err := os.ReadFile("testdata/typical.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := patch(t, string(typical), block(t, string(readme), "diff"))
	commands := block(t, string(readme), "console")

	r, err := rig.Start(t.Context(), rig.Options{
		Concurrency: 2,
		Handler:     http.HandlerFunc(ticker),
		Base: func(s envoy.Settings) (string, error) {
			here := config
			for _, edit := range []rig.Edit{ // what is another here than on the reader's machine
				rig.Replace("/etc/envoy/streamlatch.wasm", s.Wasm),
				rig.Replace("name: listener_0", "name: "+rig.Edge),
				rig.Replace("{address: 0.0.0.0, port_value: 8000}", "{address: 127.0.0.1, port_value: 0}"),
				rig.Replace("port_value: 9901", "port_value: 0"),
				rig.Replace("{address: app.internal, port_value: 8080}", fmt.Sprintf("{address: 127.0.0.1, port_value: %d}", s.Backend)),
			} {
				var err error
				if here, err = edit(here); err != nil {
					return "", err
				}
			}
			validate(t, commands, here)
			return here, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	}()

	var streams []*bufio.Scanner
	for _, line := range commandsOf(commands, "curl -N ") {
		streams = append(streams, bufio.NewScanner(curl(t, line, "http://"+r.Address())))
		if last := streams[len(streams)-1]; !last.Scan() {
			t.Fatalf("%s: no stream: %v", line, last.Err())
		}
	}
	if len(streams) != 2 {
		t.Fatalf("README.md opens %d streams, want 2", len(streams))
	}
	for streams[0].Scan() { // what had been sent, and no more
	}
	if !errors.Is(streams[0].Err(), io.ErrUnexpectedEOF) {
		t.Errorf("the first stream ends with %v, want a reset", streams[0].Err())
	}
	for range 3 {
		if !streams[1].Scan() {
			t.Fatalf("the second stream ends: %v", streams[1].Err())
		}
	}
	stats := commandsOf(commands, "curl -s ")
	if len(stats) != 1 {
		t.Fatalf("README.md reads the counter %d times, want once", len(stats))
	}
	_, want, _ := strings.Cut(commands, stats[0]+"\n")
	want, _, _ = strings.Cut(want, "\n")
	got, err := io.ReadAll(curl(t, stats[0], r.Envoy().Admin().URL))
	if err != nil || strings.TrimSpace(string(got)) != want {
		t.Errorf("%s: %q, %v; README.md says %q", stats[0], got, err, want)
	}
}

// ticker is a backend with an event stream.
func ticker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("content-type", "text/event-stream")
	for {
		if _, err := io.WriteString(w, "data: tick\n\n"); err != nil {
			return
		}
		http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// block returns the content of the page's only code block in this language.
func block(t *testing.T, page, language string) string {
	t.Helper()
	parts := strings.Split(page, "```"+language+"\n")
	if len(parts) != 2 {
		t.Fatalf("README.md has %d blocks of %s, want 1", len(parts)-1, language)
	}
	content, _, _ := strings.Cut(parts[1], "```")
	return content
}

// patch applies a diff whose hunks say in words, and not in line numbers, where they belong: the
// lines that a hunk keeps must be in the file once.
func patch(t *testing.T, file, diff string) string {
	t.Helper()
	hunks := 0
	var old, changed strings.Builder
	apply := func() {
		if old.Len() == 0 && changed.Len() == 0 {
			return
		}
		hunks++
		patched, err := rig.Replace(old.String(), changed.String())(file)
		if err != nil {
			t.Fatalf("hunk %d does not apply: %v", hunks, err)
		}
		file = patched
		old.Reset()
		changed.Reset()
	}
	for line := range strings.Lines(diff) {
		switch {
		case strings.HasPrefix(line, "@@ "):
			apply()
		case line[0] == ' ':
			old.WriteString(line[1:])
			changed.WriteString(line[1:])
		case line[0] == '+':
			changed.WriteString(line[1:])
		case line[0] == '-':
			old.WriteString(line[1:])
		default:
			t.Fatalf("no line of a diff: %q", line)
		}
	}
	apply()
	return file
}

// commandsOf returns the commands that begin so, without comments.
func commandsOf(console, begin string) []string {
	var commands []string
	for line := range strings.Lines(console) {
		command, ok := strings.CutPrefix(line, "$ ")
		command, _, _ = strings.Cut(command, "  # ")
		if command = strings.TrimSpace(command); ok && strings.HasPrefix(command, begin) {
			commands = append(commands, command)
		}
	}
	return commands
}

// validate runs the reader's command in a directory that has this envoy.yaml. An Envoy in a
// container has no such command here; it refuses a faulty file when it starts.
func validate(t *testing.T, console, config string) {
	commands := commandsOf(console, "envoy ")
	if len(commands) != 1 {
		t.Errorf("README.md runs envoy %d times, want once", len(commands))
		return
	}
	launcher, err := rig.Launcher()
	if err != nil {
		t.Error(err)
		return
	}
	binary, ok := launcher.(proxy.Binary)
	if !ok {
		return
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "envoy.yaml"), []byte(config), 0o600); err != nil {
		t.Error(err)
		return
	}
	const enough = 3 * time.Minute // Envoy compiles the module for the check, which is slow on a busy machine
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	cmd := exec.CommandContext(ctx, string(binary), strings.Fields(commands[0])[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	_, want, _ := strings.Cut(console, commands[0]+"\n")
	want, _, _ = strings.Cut(want, "\n")
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%s: %v, without %q:\n%s", commands[0], err, want, out)
	}
}

// curl sends what a curl command of the page would, to another host, and returns the body.
func curl(t *testing.T, command, host string) io.Reader {
	t.Helper()
	const enough = time.Minute // a stream that is not reset ends the test, too
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	t.Cleanup(cancel)
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, host, nil)
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(command)[1:]
	for i := 0; i < len(words); i++ {
		switch word := strings.Trim(words[i], "'"); {
		case word == "-N", word == "-s":
		case word == "-b":
			i++
			q.Header.Set("cookie", words[i])
		case strings.HasPrefix(word, "http://"):
			u, err := url.Parse(word)
			if err != nil {
				t.Fatal(err)
			}
			q.URL.Path, q.URL.RawQuery = u.Path, u.RawQuery
		default:
			t.Fatalf("%s: what would curl do with %s?", command, word)
		}
	}
	q.Header.Set("accept", "*/*")
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Body.Close() })
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %s", command, a.Status)
	}
	return a.Body
}
