// Package delivery brings the filter, its next configuration and its next version to a real Envoy
// over ECDS, while streams are open.
package delivery

import (
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
)

// deliveredFile is a file with the filter that Envoy watches, as in envoy-ecds.yaml.
type deliveredFile struct {
	path     string
	settings envoy.Settings
}

// deliver starts an Envoy with envoy-ecds.yaml.
func deliver(t *testing.T, filter string, o rig.Options) (*rig.Rig, *deliveredFile) {
	t.Helper()
	f := &deliveredFile{path: filepath.Join(t.TempDir(), "streamlatch.yaml")}
	o.Filter, o.Concurrency, o.LogLevel = filter, 2, "wasm:debug"
	o.Base = func(s envoy.Settings) (string, error) {
		var err error
		if s.Wasm, err = rig.KeepModule(s.Wasm, filepath.Dir(f.path), "filter.wasm"); err != nil {
			return "", err
		}
		f.settings = s
		config, text, err := envoy.RenderECDS(s, f.path)
		if err != nil {
			return "", err
		}
		if config, err = rig.AnyPath(config); err != nil {
			return "", err
		}
		return config, f.replace(text)
	}
	return rigtest.Start(t, o), f
}

// replace replaces the file by a rename, as its first lines tell users to.
func (f *deliveredFile) replace(text string) error {
	next := filepath.Join(filepath.Dir(f.path), "next")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}

// update writes another configuration of the filter to the file, and waits until all workers have
// it. The configuration must not have been used before.
func (f *deliveredFile) update(t *testing.T, r *rig.Rig, filter string) {
	t.Helper()
	f.settings.Filter = filter
	_, text, err := envoy.RenderECDS(f.settings, f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.awaitUpdate(t, r, func() error { return f.replace(text) })
}

// awaitUpdate calls change, which makes Envoy read the file, and waits until all workers have the
// filter in it.
func (f *deliveredFile) awaitUpdate(t *testing.T, r *rig.Rig, change func() error) {
	t.Helper()
	const (
		accepted = "update_success"
		starts   = "started version=" // logged by the canary, the main thread and each worker
	)
	before, begun := delivery(t, r), len(r.Log.Containing(starts))
	if err := change(); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, func() error {
		now, lines := delivery(t, r), len(r.Log.Containing(starts))
		if now[accepted] == before[accepted] || lines < begun+4 {
			return fmt.Errorf("want the update accepted and 4 starts of the filter, got %v and %d", now, lines-begun)
		}
		return nil
	})
}

// refuse writes a text to the file and waits until Envoy has refused it.
func (f *deliveredFile) refuse(t *testing.T, r *rig.Rig, text, count string) {
	t.Helper()
	before := delivery(t, r)
	if err := f.replace(text); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, func() error {
		if now := delivery(t, r); now[count] == before[count] {
			return fmt.Errorf("want the update refused, got %v", now)
		} else if now["update_success"] != before["update_success"] {
			t.Fatalf("want the update refused, but Envoy has accepted it: %v", now)
		}
		return nil
	})
}

// delivery returns Envoy's counters for the versions of the file.
func delivery(t *testing.T, r *rig.Rig) map[string]uint64 {
	t.Helper()
	const prefix = "extension_config_discovery.http_filter.streamlatch."
	return rigtest.StatsUnder(t, r, prefix)
}

// A change of the file changes only the filter: no listener drains, open streams and connections go
// on, and the next request on any connection has the new configuration. Old and new streams
// supersede each other.
func TestDeliveredUpdate(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("live", ""), rig.Options{})
	client := rigtest.NewClient()
	conn := rigtest.Dial(t, r, rig.HTTP2, 1)
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("live", client))
	rigtest.WantCounts(t, r, "live", rigtest.Counts{Opened: 1, Active: 1})

	file.update(t, r, rigtest.RuleOf("live", `, "max_streams": 2`))
	rigtest.WantFlow(t, r, old)
	rigtest.WantCounts(t, r, "live", rigtest.Counts{Opened: 1, Active: 1})
	second := rigtest.Open(t, conn, rigtest.Get("live", client))
	rigtest.WantLive(t, r, client, old, second)
	third := rigtest.Open(t, conn, rigtest.Get("live", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, r, client, second, third)
	rigtest.WantCounts(t, r, "live", rigtest.Counts{Opened: 3, Superseded: 1, Active: 2})

	file.update(t, r, rigtest.RuleOf("live", `, "retry": "20s"`))
	last := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("live", client))
	rigtest.WantEnd(t, second, rig.Reset)
	rigtest.WantEnd(t, third, rig.Reset)
	rigtest.WantFlow(t, r, last)
	last.Close()
	rigtest.WantCounts(t, r, "live", rigtest.Counts{Opened: 4, Superseded: 3, Released: 1})

	for _, count := range []string{"listener_modified", "listener_removed", "total_listeners_draining"} {
		if n := rigtest.StatsUnder(t, r, "listener_manager.")[count]; n != 0 {
			t.Errorf("listener_manager.%s: got %d, want 0: only the filter may change", count, n)
		}
	}
	// The filter is not called for other requests, which it would count.
	rigtest.Do(t, conn, rig.Request{Client: client, Path: "/live/", Header: map[string]string{"Accept": "application/json"}, Answer: rig.JSON})
	if n := rigtest.Metrics(t, r)["live.no_key"]; n != 0 {
		t.Errorf("no_key after a request that is not for an event stream: got %d, want 0", n)
	}
	rigtest.Do(t, conn, rig.Request{Client: client, Path: "/live/", Answer: rig.JSON})
	if n := rigtest.Metrics(t, r)["live.no_key"]; n != 1 {
		t.Errorf("no_key after a request for an event stream without a key: got %d, want 1", n)
	}
}

// A stream keeps the configuration with which it was opened, and its limits still work after an
// update.
func TestDeliveredUpdateLeavesOldStreamsTheirConfiguration(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("aging", `, "max_lifetime": "3s", "lifetime_jitter_percent": 0`), rig.Options{})
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("aging", client))
	file.update(t, r, rigtest.RuleOf("aging", ""))
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("aging", rigtest.NewClient()))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, newer)
	if n := rigtest.Metrics(t, r)["aging.expired"]; n != 1 {
		t.Errorf("expired: got %d, want 1", n)
	}
	rigtest.WantCounts(t, r, "aging", rigtest.Counts{Opened: 2, Active: 1})
}

// Envoy refuses a faulty file, logs why, and changes nothing. The next good file is accepted.
func TestFaultyDeliveryIsRefused(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("firm", ""), rig.Options{Args: []string{"--reject-unknown-dynamic-fields"}})
	client := rigtest.NewClient()
	conn := rigtest.Dial(t, r, rig.HTTP2, 1)
	old := rigtest.Open(t, conn, rigtest.Get("firm", client))

	faulty := file.settings
	faulty.Filter = rigtest.RuleOf("firm", `, "max_stream": 2`)
	_, badFilter, err := envoy.RenderECDS(faulty, file.path)
	if err != nil {
		t.Fatal(err)
	}
	_, good, err := envoy.RenderECDS(file.settings, file.path)
	if err != nil {
		t.Fatal(err)
	}
	badModule := file.settings
	if badModule.Wasm, err = rig.KeepModule(file.path, filepath.Dir(file.path), "no.wasm"); err != nil {
		t.Fatal(err)
	}
	_, badCode, err := envoy.RenderECDS(badModule, file.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ fault, text, count, log string }{
		{"a field of the filter's", badFilter, "update_rejected", `unknown field "max_stream"`},
		{"a field of Envoy's", strings.Replace(good, " vm_id: streamlatch", " vm_ids: streamlatch", 1), "update_rejected", "vm_ids"},
		{"a file that is not a module", badCode, "update_rejected", "Unable to create Wasm"},
		{"another name", strings.Replace(good, "  name: streamlatch  #", "  name: other  #", 1), "update_rejected", "Unexpected resource name"},
		{"not YAML", "resources: [", "update_failure", "Filesystem config update failure"},
	} {
		seen := len(r.Log.Containing(test.log))
		file.refuse(t, r, test.text, test.count)
		wait.Until(t, func() error {
			if len(r.Log.Containing(test.log)) == seen {
				return fmt.Errorf("%s: want %q in the log", test.fault, test.log)
			}
			return nil
		})
		rigtest.WantFlow(t, r, old)
		if test.text == badFilter && !strings.Contains(rigtest.Ask(t, r, http.MethodGet, "/config_dump?resource=ecds_filters"), "max_stream\\\"") {
			t.Error("/config_dump: want the refused file in it: if Envoy now shows what runs, correct the documentation")
		}
	}
	// Nothing changes either if the file is deleted.
	if err := os.Remove(file.path); err != nil {
		t.Fatal(err)
	}
	newer := rigtest.Open(t, conn, rigtest.Get("firm", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, newer)
	rigtest.WantCounts(t, r, "firm", rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})

	file.update(t, r, rigtest.RuleOf("firm", `, "max_streams": 2`))
	second := rigtest.Open(t, conn, rigtest.Get("firm", client))
	rigtest.WantLive(t, r, client, newer, second)
}

// If the file is faulty when Envoy starts, there is no older configuration to keep. Until a good
// file comes, requests for event streams get 500, and other requests pass.
func TestFaultyDeliveryAtTheStart(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("late", `, "max_stream": 2`), rig.Options{})
	client := rigtest.NewClient()
	conn := rigtest.Dial(t, r, rig.HTTP2, 0)
	if got := rigtest.Do(t, conn, rigtest.Get("late", client)); got.Status != 500 {
		t.Errorf("a request for an event stream: got status %d, want 500", got.Status)
	}
	other := rig.Request{Client: client, Path: "/late/", Header: map[string]string{"Accept": "application/json"}, Answer: rig.JSON}
	if got := rigtest.Do(t, conn, other); got.Status != 200 {
		t.Errorf("another request: got status %d, want 200", got.Status)
	}
	file.update(t, r, rigtest.RuleOf("late", ""))
	first := rigtest.Open(t, conn, rigtest.Get("late", client))
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("late", client))
	rigtest.WantEnd(t, first, rig.Reset)
	rigtest.WantFlow(t, r, second)
}

// Envoy does not start without the file. The error names it.
func TestMissingDelivery(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "missing.yaml")
	r, err := rig.Start(t.Context(), rig.Options{Concurrency: 1, Base: func(s envoy.Settings) (string, error) {
		config, _, err := envoy.RenderECDS(s, path)
		return config, err
	}})
	if err == nil {
		r.Stop()
	}
	if err == nil || !strings.Contains(err.Error(), path+"' does not exist") {
		t.Errorf("got the error %v, want one that names %s", err, path)
	}
}

// Kubernetes mounts a ConfigMap as links to files in a directory that is itself a link, and changes
// that link for an update.
func TestDeliveredByConfigMap(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("mount", ""), rig.Options{})
	dir := filepath.Dir(file.path)
	mount := func(version, filter string) error {
		s := file.settings
		s.Filter = filter
		_, text, err := envoy.RenderECDS(s, file.path)
		if err != nil {
			return err
		}
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, version, filepath.Base(file.path)), []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
	}
	file.awaitUpdate(t, r, func() error {
		if err := os.Remove(file.path); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", filepath.Base(file.path)), file.path); err != nil {
			return err
		}
		return mount("..1", rigtest.RuleOf("mount", `, "max_streams": 2`))
	})
	client := rigtest.NewClient()
	first, second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("mount", client)), rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("mount", client))
	rigtest.WantLive(t, r, client, first, second)
	file.awaitUpdate(t, r, func() error { return mount("..2", rigtest.RuleOf("mount", `, "max_streams": 1`)) })
	third := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("mount", client))
	rigtest.WantLive(t, r, client, third)
}
