package main_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// A configuration that is far too large is refused by one line that names the limit. Envoy keeps
// the old one. Only the main thread reads it, and the workers' memory does not grow.
func TestConfigurationIsTooLarge(t *testing.T) {
	t.Parallel()
	const rule = `{"name": "events", "client": [{"header": "x-client-id"}]},`
	rules := func(n int, rule string) string {
		return `{"rules": [` + strings.Repeat(rule, n-1) + rule[:len(rule)-1] + `]}`
	}
	for name, c := range map[string]struct{ config, want string }{
		"5 MB":                        {events + strings.Repeat(" ", 5<<20), "want at most 262144"},
		"100,000 rules":               {rules(100_000, rule), "want at most 262144"},
		"80,000 rules with no fields": {rules(80_000, "{},"), "rules: found 80000 items, want 1 to 64"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEdge(t, host.Config{})
			s := e.open(0, "alice")
			before := e.Worker(0).MemoryBytes()
			began := time.Now()
			_, err := e.AddListener([]byte(c.config))
			took := time.Since(began)
			var refused *host.StartError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want it refused", err)
			}
			lines := e.Logs().AtLeast(host.LogError).Containing("configuration refused: ")
			if len(lines) != 1 || !strings.Contains(lines[0].Message, c.want) || len(lines[0].Message) > 8<<10 {
				t.Errorf("the log says %.300v, want one line with %q", lines, c.want)
			}
			if strings.Contains(e.Logs().String(), "panic") {
				t.Error("the filter panics")
			}
			if grown := e.Worker(0).MemoryBytes() - before; grown > 0 {
				t.Errorf("the worker's memory has grown by %d bytes", grown)
			}
			t.Logf("refused after %v", took)
			e.live(s, true)
			e.open(1, "alice")
			e.Run()
			e.superseded(s)
		})
	}
}
