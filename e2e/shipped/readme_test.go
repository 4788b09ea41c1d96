// Package shipped runs the shipped configuration files, and the examples of the README, in a real
// Envoy.
package shipped

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/envoy"
)

// The README's parts of an Envoy configuration are pasted where the first line of each says.
// Together with the README's first recipe for the filter they allow each user one stream, by JWT.
func TestReadmeEnvoyParts(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "envoy", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(t.TempDir(), "jwks.json")
	issued := rigtest.NewTokens(t)
	if err := os.WriteFile(keys, []byte(issued.Keys()), 0o600); err != nil {
		t.Fatal(err)
	}
	var edits []rig.Edit
	var loggers, written []string // access loggers, and a line that each writes
	for _, block := range strings.Split(string(readme), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		where, part, _ := strings.Cut(block, "\n")
		part = strings.ReplaceAll(part, "jwks.json", keys)
		switch where {
		case "# http_filters, before streamlatch":
			edits = append(edits, rigtest.Before(rigtest.Indent(part, 10)))
		case "# http_filters, after streamlatch":
			edits = append(edits, rigtest.After(rigtest.Indent(part, 10)))
		case "# routes, before event-streams":
			edits = append(edits, rigtest.BeforeRoute(rigtest.Indent(part, 14)))
		case "# listener":
			edits = append(edits, rig.Replace("  - name: "+rig.Edge+"\n    address:\n", "  - name: "+rig.Edge+"\n"+rigtest.Indent(part, 4)+"    address:\n"))
		case "# the match of the route event-streams":
			if anyPath, err := rig.AnyPath(envoy.Config); err != nil || !strings.Contains(anyPath, "match:\n"+rigtest.Indent(part, 18)+"                route:") {
				t.Errorf("README.md: got a match that differs from the tests' (%v)\n%s", err, part)
			}
		case "# http_connection_manager":
			edits = append(edits, rig.Replace("          stat_prefix: "+rig.Edge+"\n", "          stat_prefix: "+rig.Edge+"\n"+rigtest.Indent(part, 10)))
		default:
			if example, ok := strings.CutPrefix(where, "# access_log, "); ok {
				_, line, _ := strings.Cut(example, ": ")
				loggers, written = append(loggers, rigtest.Indent(part, 10)), append(written, line)
				continue
			}
			t.Errorf("README.md: got a block of YAML that begins with %q, want a place where it belongs", where)
		}
	}
	if len(edits) < 3 {
		t.Fatalf("README.md: got %d blocks of YAML, want at least 3", len(edits))
	}
	const shipped = "          access_log:\n"
	_, shippedLogger, _ := strings.Cut(envoy.Config, shipped)
	shippedLogger, _, _ = strings.Cut(shippedLogger, "\n\n")
	if len(loggers) != 2 || strings.TrimSpace(loggers[1]) != strings.TrimSpace(shippedLogger) {
		t.Fatalf("README.md: got the access loggers\n%s\nwant one for text, and the shipped one\n%s", strings.Join(loggers, "\n"), shippedLogger)
	}
	edits = append(edits, rig.Replace(shipped, shipped+loggers[0])) // two loggers: the shipped one stays
	_, recipe, _ := strings.Cut(string(readme), "```json\n")
	recipe, _, _ = strings.Cut(recipe, "```")
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: recipe, Edits: edits})
	stranger := rigtest.Get("any", "alice")
	if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP2, 0), stranger); got.Status != 401 {
		t.Errorf("without a token: got status %d, want 401", got.Status)
	}
	alice := rigtest.Bearer("any", issued.Token(t, `"sub": "alice"`))
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), alice)
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), alice)
	rigtest.WantEnd(t, first, rig.Reset)
	rigtest.WantFlow(t, r, second)
	second.Close()
	rigtest.WantCounts(t, r, "user", rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, example := range written {
		want := withoutNumbers(example)
		if !slices.ContainsFunc(r.Access.Lines(), func(line string) bool { return withoutNumbers(line) == want }) {
			t.Errorf("access log: want a line like README.md's\n%s\ngot\n%s", example, strings.Join(r.Access.Lines(), "\n"))
		}
	}
}

// withoutNumbers replaces the numbers in a log line, because times differ.
func withoutNumbers(line string) string {
	return regexp.MustCompile(`[0-9]+`).ReplaceAllString(line, "0")
}
