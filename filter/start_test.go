package main_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// Envoy starts the plugin on every worker, and twice on the main thread. The plugin logs one start
// line at info, and takes no slot before a stream comes.
func TestStart(t *testing.T) {
	t.Parallel()
	e := newEdge(t, host.Config{Workers: 4})
	lines := e.Logs().AtLeast(host.LogInfo)
	want := `started version=test config={"rules":[{"name":"events","match":{},"client":[{"header":"x-client-id"}],"max_streams":1,"on_duplicate":"reset_previous","claim_at":"response","takeover_limit":{"max_tokens":5,"tokens_per_fill":1,"fill_interval":"30s"},"retry":"15s","goodbye_grace":"0s","max_lifetime":"0s","lifetime_jitter_percent":10,"idle_timeout":"0s","mode":"enforce","scope":"envoy","on_unavailable":"allow"}],"max_total_streams":0,"on_contention":"allow","admin_path":""}`
	if len(lines) != 1 || lines[0].Message != want {
		t.Errorf("start-up log at info:\n%v\nwant one line:\n%s", lines, want)
	}
	if n := len(e.Logs().Containing("started version=")); n != 6 {
		t.Errorf("the plugin logged %d starts, want 6: 2 on the main thread, and 1 on each of 4 workers", n)
	}
	if keys := workerKeys(e); keys != 0 {
		t.Errorf("%d worker slots are taken before any stream, want 0", keys)
	}
	if e.Tick() != 0 {
		t.Error("a timer runs before any stream")
	}
	e.open(2, "alice")
	if keys := workerKeys(e); keys != 1 {
		t.Errorf("%d worker slots are taken after one stream, want 1", keys)
	}
}

func workerKeys(e *edge) int {
	n := 0
	for key := range e.SharedData() {
		if strings.HasPrefix(key, "streamlatch/3/w/") {
			n++
		}
	}
	return n
}

func TestRefusedConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ config, want string }{
		"none":   {"", `empty configuration, want an object with "rules"`},
		"typo":   {`{"rules": [{"name": "a", "cleint": [{"header": "x"}]}]}`, `rules[0]: unknown field "cleint"`},
		"faults": {`{"rules": [{"name": "a", "client": [{"header": "x"}], "max_streams": 65, "mode": "off"}]}`, `rules[0].max_streams: found 65, want a whole number from 1 to 64`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := compiled()
			if err != nil {
				t.Fatal(err)
			}
			_, err = host.NewWorld(m, host.Config{PluginConfig: []byte(c.config)})
			var refused *host.StartError
			if !errors.As(err, &refused) {
				t.Fatalf("error %v, want the configuration refused", err)
			}
			lines := refused.Logs.AtLeast(host.LogError)
			if len(lines) == 0 || !strings.Contains(lines.String(), c.want) {
				t.Errorf("the log says\n%v\nwant it to say %s", lines, c.want)
			}
		})
	}
}

// A raw client key must be in no log line and nowhere in shared data.
func TestNoRawKeys(t *testing.T) {
	t.Parallel()
	const secret = "alice@example.org"
	e := newEdge(t, host.Config{})
	e.open(0, secret)
	e.open(1, secret).End()
	e.Run()
	e.Tick()
	if lines := e.Logs().Containing(secret); len(lines) > 0 {
		t.Errorf("the log names a client:\n%v", lines)
	}
	for key, value := range e.SharedData() {
		if strings.Contains(key+string(value.Bytes), secret) {
			t.Errorf("shared data %s names a client", key)
		}
	}
	if len(e.Logs().Containing("client=")) == 0 {
		t.Error("no log line has a client's hash, so the test looked at the wrong lines")
	}
}
