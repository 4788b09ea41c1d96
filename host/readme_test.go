package host_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// blocks returns what stands in the code blocks of a language in a part of host/README.md.
func blocks(t *testing.T, heading, language string) (found []string) {
	t.Helper()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(page), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("README.md has no heading %q", heading)
	}
	if end := regexp.MustCompile(`(?m)^##+ `).FindStringIndex(part); end != nil {
		part = part[:end[0]]
	}
	for _, m := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)```\n").FindAllStringSubmatch(part, -1) {
		found = append(found, m[1])
	}
	return found
}

// The first test of README.md, from an empty folder, as it is written there: it finds the lost
// update, and passes with the mended filter.
func TestReadmeFromAnEmptyFolder(t *testing.T) {
	t.Parallel()
	const section = "### In Go"
	shell, code := blocks(t, section, "sh"), blocks(t, section, "go")
	if len(shell) != 2 || len(code) != 3 {
		t.Fatalf("README.md has %d blocks of sh and %d of go, want 2 and 3", len(shell), len(code))
	}
	clone, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shell[1], "/path/to/your/clone") {
		t.Fatalf("the commands do not say where the clone is:\n%s", shell[1])
	}
	dir := t.TempDir()
	run := func(in, commands string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", commands)
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	write := func(file, text string) {
		if err := os.WriteFile(filepath.Join(dir, "hits", file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(dir, shell[0]); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	write("main.go", code[0])
	write("main_test.go", code[1])
	out, err := run(filepath.Join(dir, "hits"), strings.ReplaceAll(shell[1], "/path/to/your/clone", clone))
	if err == nil || !strings.Contains(out, "main_test.go:36: hits is 1 after 2 requests; log:\nFAIL\n") {
		t.Fatalf("%v\n%s\nwant a failed test and a lost hit", err, out)
	}
	lossy := strings.Index(code[0], "func (*hit) OnHttpRequestHeaders")
	write("main.go", code[0][:lossy]+code[2])
	if out, err := run(filepath.Join(dir, "hits"), "go test ."); err != nil || !strings.HasPrefix(out, "ok ") {
		t.Fatalf("the mended filter: %v\n%s", err, out)
	}
}
