// Package restart ends a real Envoy while streams are open: by a hot restart, a drain, a signal.
package restart

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// Each test of this file is one row of the table of live streams in envoy/UPGRADING.md.

// A hot restart begins with an empty registry, and the old process keeps its streams until the
// parent shutdown time is over. So a client that comes back has two streams until then. The two
// processes must share memory, so this test runs binaries even if other tests run containers.
func TestHotRestart(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	path, err := proxy.Find(t.Context(), filepath.Join(root, "build"))
	if err != nil {
		t.Fatal(err)
	}
	var config string
	dir := t.TempDir()
	args := func(epoch string) []string {
		return []string{"--base-id", fmt.Sprint(os.Getpid()), "--restart-epoch", epoch, "--drain-time-s", "1", "--parent-shutdown-time-s", "8"}
	}
	r, err := rig.Start(t.Context(), rig.Options{
		Launcher: proxy.Binary(path), Concurrency: 2, Filter: rigtest.RuleOf("restart", ""), Args: args("0"),
		Base: func(s envoy.Settings) (string, error) {
			var err error
			if s.Wasm, err = rig.KeepModule(s.Wasm, dir, "filter.wasm"); err != nil {
				return "", err
			}
			if config, err = envoy.Render(s); err != nil {
				return "", err
			}
			if config, err = rig.AnyPath(config); err != nil {
				return "", err
			}
			// The new process adds the counters of the old one at each flush.
			config, err = rig.Remove("  - name: internal\n", "\n  clusters:\n")(config + "stats_flush_interval: 1s\n")
			return config, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Stop()
		os.Remove(fmt.Sprintf("/dev/shm/envoy_shared_memory_%d0", os.Getpid())) // Envoy does not delete it
	})
	rigtest.Explain(t, r)
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("restart", client))
	oldH2 := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("restart", rigtest.NewClient()))
	rigtest.WantCounts(t, r, "restart", rigtest.Counts{Opened: 2, Active: 2})

	_, port, _ := strings.Cut(r.Address(), ":")
	same := strings.Replace(config, "name: edge\n    address:\n      socket_address: {address: 127.0.0.1, port_value: 0}",
		"name: edge\n    address:\n      socket_address: {address: 127.0.0.1, port_value: "+port+"}", 1)
	if same == config {
		t.Fatalf("want the port of the listener edge in the configuration, got %s", config)
	}
	child, err := proxy.Start(t.Context(), proxy.Binary(path), proxy.Options{Config: same, Concurrency: 2, Args: args("1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := child.Stop(); err != nil {
			t.Error(err)
		}
	})
	conn, err := r.Dial(t.Context(), rig.HTTP1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	newer := rigtest.Open(t, conn, rigtest.Get("restart", client))
	rigtest.WantFlow(t, r, old)
	rigtest.WantLive(t, r, client, old, newer) // the backend has both streams of the client

	rigtest.WantLost(t, old)
	rigtest.WantLost(t, oldH2)
	<-r.Envoy().Done()
	var exit *proxy.ExitError
	if err := r.Envoy().Err(); !errors.As(err, &exit) || exit.Status != nil {
		t.Errorf("the old process: got the error %v, want an end by itself with status 0", err)
	}
	rigtest.WantFlow(t, r, newer)
	rigtest.WantLive(t, r, client, newer)
	wait.Until(t, func() error {
		stats, err := child.Admin().Stats(t.Context(), `^wasmcustom\.streamlatch\.restart\.`)
		if err != nil {
			return err
		}
		if v := stats.Values; v["wasmcustom.streamlatch.restart.active"] != 1 || v["wasmcustom.streamlatch.restart.opened"] != 3 {
			return fmt.Errorf("the new process: got the metrics %v, want active 1, and opened 3 with those of the old process", v)
		}
		return nil
	})
}

// Draining ends no streams. It asks clients to leave with the next response on a connection, and an
// event stream has had its response. So streams live until their max_lifetime.
func TestDrainLeavesStreams(t *testing.T) {
	for _, drain := range []string{"/drain_listeners?graceful", "/healthcheck/fail"} {
		t.Run(strings.TrimPrefix(drain, "/"), func(t *testing.T) {
			t.Parallel()
			filter := `{"rules": [` + rigtest.OneRule("drain", "") + `, ` + rigtest.OneRule("bounded", `, "max_lifetime": "4s", "lifetime_jitter_percent": 0`) + `]}`
			r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: filter, Args: []string{"--drain-time-s", "1", "--drain-strategy", "immediate"}})
			h1, h2 := rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Dial(t, r, rig.HTTP2, 0)
			idle := rigtest.Dial(t, r, rig.HTTP1, 0)
			one, two := rigtest.Open(t, h1, rigtest.Get("drain", rigtest.NewClient())), rigtest.Open(t, h2, rigtest.Get("drain", rigtest.NewClient()))
			bounded := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("bounded", rigtest.NewClient()))
			rigtest.Ask(t, r, http.MethodPost, drain)
			rigtest.WantFlow(t, r, one)
			rigtest.WantFlow(t, r, two)
			// The next response asks the client to leave: in a header of HTTP/1.1, or with GOAWAY
			// in HTTP/2.
			answer := rigtest.Do(t, idle, rig.Request{Path: "/", Answer: rig.JSON})
			wait.Until(t, func() error {
				if idle.Usable() {
					answer = rigtest.Do(t, idle, rig.Request{Path: "/", Answer: rig.JSON})
					return fmt.Errorf("HTTP/1.1: want the connection closed, got a response with %v", answer.Header)
				}
				return nil
			})
			wait.Until(t, func() error {
				if h2.Usable() {
					rigtest.Do(t, h2, rig.Request{Path: "/", Answer: rig.JSON})
					return errors.New("HTTP/2: want a connection that takes no more requests")
				}
				return nil
			})
			rigtest.WantEnd(t, bounded, rig.Reset) // after the drain time, because of its max_lifetime
			rigtest.WantFlow(t, r, one)
			rigtest.WantFlow(t, r, two)
		})
	}
}

// After SIGTERM Envoy does not drain. Streams end with the process.
func TestTerminationEndsStreams(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Filter: rigtest.RuleOf("term", ""), Args: []string{"--drain-time-s", "600"}})
	one := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("term", rigtest.NewClient()))
	two := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("term", rigtest.NewClient()))
	if err := r.Envoy().Stop(); err != nil {
		t.Fatal(err)
	}
	rigtest.WantLost(t, one)
	rigtest.WantLost(t, two)
}
