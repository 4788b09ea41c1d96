package delivery

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Each test of this file is one row of the table of live streams in envoy/UPGRADING.md.

// A module with other bytes under the same vm_id gets its own VMs. They share the registry with the
// old ones as long as any of these lives.
func TestNewVersionSharesTheRegistry(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("version", ""), rig.Options{})
	client := rigtest.NewClient()
	conns := []*rig.Conn{rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Dial(t, r, rig.HTTP2, 1)}
	other := rigtest.Open(t, conns[0], rigtest.Get("version", rigtest.NewClient())) // keeps a VM of the old version alive
	old := rigtest.Open(t, conns[0], rigtest.Get("version", client))

	v2, err := rig.BuildFilter(t.Context(), "e2e-v2")
	if err != nil {
		t.Fatal(err)
	}
	file.module(t, v2)
	file.update(t, r, rigtest.RuleOf("version", `, "retry": "20s"`))
	if len(r.Log.Containing("version=e2e-v2")) == 0 {
		t.Error("log: want the new version")
	}
	rigtest.WantFlow(t, r, old)
	newer := rigtest.Open(t, conns[1], rigtest.Get("version", client)) // across versions and workers
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, other)
	rigtest.WantLive(t, r, client, newer)
	rigtest.WantCounts(t, r, "version", rigtest.Counts{Opened: 3, Superseded: 1, Active: 2})
	other.Close()
	rigtest.WantCounts(t, r, "version", rigtest.Counts{Opened: 3, Superseded: 1, Released: 1, Active: 1})
	// The VMs of the old version end with their last stream.
	wait.Until(t, func() error {
		if n := rigtest.StatsUnder(t, r, "wasm.envoy.wasm.runtime.v8.")["active"]; n != liveVMs {
			return fmt.Errorf("got %d VMs, want %d", n, liveVMs)
		}
		return nil
	})
	rigtest.WantFlow(t, r, newer)
}

// liveVMs is the number of VMs that an Envoy with two workers counts for one version of the filter.
// Two of them are on the main thread.
const liveVMs = 4

// module makes the next update use another module.
func (f *deliveredFile) module(t *testing.T, wasm []byte) {
	t.Helper()
	f.settings.Wasm = filepath.Join(filepath.Dir(f.path), fmt.Sprintf("filter-%d.wasm", len(f.settings.Wasm)))
	if err := os.WriteFile(f.settings.Wasm, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A version with another registry format does not see the streams of the old version, nor does the
// old version see its streams. The test makes such a version by changing the keys in the module.
func TestNewFormatStartsAnEmptyRegistry(t *testing.T) {
	t.Parallel()
	r, file := deliver(t, rigtest.RuleOf("format", ""), rig.Options{})
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("format", client))
	wasm, err := rig.Filter()
	if err != nil {
		t.Fatal(err)
	}
	const keys, otherKeys = "streamlatch/3/", "streamlatch/X/"
	if !bytes.Contains(wasm, []byte(keys)) {
		t.Fatalf("the module: want %q in it: if the format has a new version, change this test", keys)
	}
	file.module(t, bytes.ReplaceAll(wasm, []byte(keys), []byte(otherKeys)))
	file.update(t, r, rigtest.RuleOf("format", `, "retry": "20s"`))
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("format", client))
	rigtest.WantFlow(t, r, old)
	rigtest.WantLive(t, r, client, old, newer)
	rigtest.WantCounts(t, r, "format", rigtest.Counts{Opened: 2, Active: 2})
	last := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("format", client))
	rigtest.WantEnd(t, newer, rig.Reset)
	rigtest.WantLive(t, r, client, old, last)
	old.Close()
	rigtest.WantCounts(t, r, "format", rigtest.Counts{Opened: 3, Superseded: 1, Released: 1, Active: 1})
}
