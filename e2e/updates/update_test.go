// Package updates changes what a real Envoy runs while streams are open: the filter's configuration, its version, and Envoy
// itself.
package updates

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// The configuration changes while streams are open. Envoy reads the listeners from a file here and follows it. What an
// update replaces drains: the old listener keeps its connections, and the old plugin context its streams, for Envoy's
// drain time. That is 600 s by default (--drain-time-s), which no test here comes near; what comes after it is told in
// upgrade_test.go.

// A listenersFile is the listeners of an Envoy, in a file.
type listenersFile struct {
	path     string // of the file that Envoy follows
	template string // of one listener, edge
	filter   string // as it stands in there
}

// follow starts an Envoy whose only listener, edge, is in a file, with more arguments.
func follow(t *testing.T, filter string, args ...string) (*rig.Rig, *listenersFile) {
	t.Helper()
	return followAll(t, filter, nil, args...)
}

// followAll is follow with other listeners in the file.
func followAll(t *testing.T, filter string, others []listener, args ...string) (*rig.Rig, *listenersFile) {
	t.Helper()
	f := &listenersFile{path: filepath.Join(t.TempDir(), "lds.yaml"), filter: yamlOf(t, filter)}
	edit := func(config string) (string, error) {
		before, rest, found := strings.Cut(config, "  listeners:\n")
		listeners, after, found2 := strings.Cut(rest, "\n  clusters:\n")
		if !found || !found2 {
			return "", fmt.Errorf("no listeners, and clusters after them, in %s", config)
		}
		module := regexp.MustCompile(`filename: "(.*)"\n`).FindStringSubmatch(listeners)
		if module == nil {
			return "", fmt.Errorf("no module in %s", listeners)
		}
		kept, err := keep(module[1], filepath.Dir(f.path), "filter.wasm")
		if err != nil {
			return "", err
		}
		f.template = strings.ReplaceAll(listeners, module[1], kept)
		if err := f.write(t, append([]listener{{name: "edge", filter: filter}}, others...)); err != nil {
			return "", err
		}
		return "node: {id: e2e, cluster: e2e}\n" +
			"dynamic_resources: {lds_config: {path_config_source: {path: " + f.path + "}}}\n" +
			before + "  clusters:\n" + after, nil
	}
	return rigtest.Start(t, rig.Options{Concurrency: 2, Filter: filter, LogLevel: "wasm:debug", Edits: []rig.Edit{edit}, Args: args}), f
}

// listener is one that is to be in the file.
type listener struct {
	name, filter string
	vmID         string // "": the shipped one
}

// write puts these listeners in the file, by a rename, for that is what Envoy looks for.
func (f *listenersFile) write(t *testing.T, listeners []listener) error {
	text := "resources:\n"
	for _, l := range listeners {
		one := f.template
		for _, change := range [][2]string{
			{"  - name: edge\n", "  - \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: " + l.name + "\n"},
			{"value: " + f.filter, "value: " + yamlOf(t, l.filter)},
			{"vm_id: streamlatch\n", "vm_id: " + first(l.vmID, "streamlatch") + "\n"},
		} {
			var err error
			if one, err = rig.Replace(change[0], change[1])(one); err != nil {
				return err
			}
		}
		// Each file has anchors of its own, and one anchor once.
		text += strings.ReplaceAll(one, "vm_config: &streamlatch\n", "vm_config:\n") + "\n"
	}
	next := f.path + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, f.path)
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// yamlOf is a text as it stands in a rendered configuration.
func yamlOf(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted) + "\n"
}

// update changes the file and waits until Envoy has taken it up, on all workers, or has refused it.
func (f *listenersFile) update(t *testing.T, r *rig.Rig, refused bool, listeners ...listener) {
	t.Helper()
	read := func() map[string]uint64 {
		stats, err := r.Envoy().Admin().Stats(t.Context(), `^listener_manager\.`)
		if err != nil {
			t.Fatal(err)
		}
		return stats.Values
	}
	const (
		accepted = "listener_manager.lds.update_success"
		rejected = "listener_manager.lds.update_rejected"
		made     = "listener_manager.listener_create_success" // by a worker
		warming  = "listener_manager.total_listeners_warming"
		changed  = "listener_manager.listener_modified"
	)
	before := read()
	if err := f.write(t, listeners); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, func() error {
		now := read()
		switch {
		case refused && now[rejected] == before[rejected]:
			return fmt.Errorf("envoy has not refused the update: %v", now)
		case !refused && (now[accepted] == before[accepted] || now[changed] == before[changed] || now[warming] != 0 || now[made] < before[made]+2):
			return fmt.Errorf("envoy has not taken up the update: %v", now)
		case !refused && now[rejected] != before[rejected]:
			t.Fatalf("envoy has refused the update: %v", r.Log.Containing("refused"))
		}
		return nil
	})
}

// What is registered outlives the configuration that registered it.
func TestStreamsOutliveAnUpdate(t *testing.T) {
	t.Parallel()
	r, file := follow(t, rigtest.RuleOf("kept", ""))
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("kept", client))
	rigtest.WantCounts(t, r, "kept", rigtest.Counts{Opened: 1, Active: 1})

	file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("kept", `, "retry": "20s"`)})
	rigtest.WantFlow(t, r, old)
	rigtest.WantCounts(t, r, "kept", rigtest.Counts{Opened: 1, Active: 1})
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 1), rigtest.Get("kept", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, r, client, newer)
	rigtest.WantFlow(t, r, newer)
	rigtest.WantCounts(t, r, "kept", rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})
	again := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("kept", client)) // and a stream of the new one by another of it
	rigtest.WantEnd(t, newer, rig.Reset)
	again.Close()
	rigtest.WantCounts(t, r, "kept", rigtest.Counts{Opened: 3, Superseded: 2, Released: 1})
}

// A connection that was there before the update is served by the configuration it came to; its streams count all the
// same, and take over from those of the new one.
func TestOldConnectionTakesOverFromNewConfiguration(t *testing.T) {
	t.Parallel()
	r, file := follow(t, rigtest.RuleOf("both", ""))
	client := rigtest.NewClient()
	oldConn := rigtest.Dial(t, r, rig.HTTP2, 0)
	first := rigtest.Open(t, oldConn, rigtest.Get("both", client))
	file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("both", `, "retry": "20s"`)})
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 1), rigtest.Get("both", client))
	rigtest.WantEnd(t, first, rig.Reset)
	third := rigtest.Open(t, oldConn, rigtest.Get("both", client))
	rigtest.WantEnd(t, second, rig.Reset)
	rigtest.WantFlow(t, r, third)
	rigtest.WantLive(t, r, client, third)
	rigtest.WantCounts(t, r, "both", rigtest.Counts{Opened: 3, Superseded: 2, Active: 1})
}

// The limit goes down while a client has more streams than it allows now: the next claim ends the oldest of them.
func TestLimitIsLowered(t *testing.T) {
	t.Parallel()
	r, file := follow(t, rigtest.RuleOf("fewer", `, "max_streams": 3`))
	client := rigtest.NewClient()
	var streams []*rig.Stream
	for i := range 3 {
		streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, i%2), rigtest.Get("fewer", client)))
	}
	rigtest.WantCounts(t, r, "fewer", rigtest.Counts{Opened: 3, Active: 3})
	file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("fewer", `, "max_streams": 1`)})
	rigtest.WantLive(t, r, client, streams...)
	newest := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("fewer", client))
	for _, s := range streams {
		rigtest.WantEnd(t, s, rig.Reset)
	}
	rigtest.WantFlow(t, r, newest)
	rigtest.WantLive(t, r, client, newest)
	rigtest.WantCounts(t, r, "fewer", rigtest.Counts{Opened: 4, Superseded: 3, Active: 1})
}

// A rule that is gone from the configuration is not gone from the registry: its streams are released as they end, and
// its gauge comes down to 0.
func TestRuleIsRemoved(t *testing.T) {
	t.Parallel()
	both := `{"rules": [` + rigtest.OneRule("stays", "") + `, ` + rigtest.OneRule("goes", "") + `]}`
	r, file := follow(t, both)
	client := rigtest.NewClient()
	var streams []*rig.Stream
	for worker := range 2 {
		streams = append(streams, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, worker), rigtest.Get("goes", fmt.Sprint(client, worker))))
	}
	rigtest.WantCounts(t, r, "goes", rigtest.Counts{Opened: 2, Active: 2})
	file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("stays", "")})
	for i, s := range streams {
		rigtest.WantFlow(t, r, s)
		s.Close()
		rigtest.WantCounts(t, r, "goes", rigtest.Counts{Opened: 2, Released: uint64(i + 1), Active: uint64(1 - i)})
	}
	// The path has no rule now.
	one, other := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("goes", client)), rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("goes", client))
	rigtest.WantFlow(t, r, one)
	rigtest.WantFlow(t, r, other)
	rigtest.WantCounts(t, r, "goes", rigtest.Counts{Opened: 2, Released: 2})
}

// An update with faults is refused, says why, and changes nothing.
func TestFaultyUpdateIsRefused(t *testing.T) {
	t.Parallel()
	r, file := follow(t, rigtest.RuleOf("well", ""))
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("well", client))
	for _, faulty := range []struct{ filter, want string }{
		{rigtest.RuleOf("well", `, "max_stream": 2`), `unknown field "max_stream"`},
		{rigtest.RuleOf("Well", ""), "rules[0].name"},
		{`{"rules": []}`, "rules"},
		{`{"rules": [`, "configuration refused"},
	} {
		file.update(t, r, true, listener{name: "edge", filter: faulty.filter})
		wait.Until(t, func() error { // the log comes through a pipe, and may come later than the counter of refused updates
			found := r.Log.Containing(faulty.want)
			if !slices.ContainsFunc(found, func(line string) bool { return strings.Contains(line, "configuration refused: ") }) {
				return fmt.Errorf("the log does not say why %s was refused: want %q, got %q", faulty.filter, faulty.want, found)
			}
			return nil
		})
		rigtest.WantFlow(t, r, old)
	}
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("well", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, newer)
	rigtest.WantCounts(t, r, "well", rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})

	// And the next good one is taken.
	file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("well", `, "max_streams": 2`)})
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("well", client))
	rigtest.WantLive(t, r, client, newer, second)
	rigtest.WantFlow(t, r, newer)
}

// Listeners with one vm_id and one name of a rule share clients, whatever else their configurations say. With another
// vm_id they know nothing of each other.
func TestListenersShareClients(t *testing.T) {
	t.Parallel()
	rules := rigtest.RuleOf("share", "")
	other := `{"rules": [` + rigtest.OneRule("before", "") + `, ` + rigtest.OneRule("share", `, "retry": "20s"`) + `]}`
	r, _ := followAll(t, rules, []listener{
		{name: "same", filter: other},
		{name: "apart", filter: other, vmID: "another"},
	})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		dialTo := func(name string) *rig.Conn {
			c, err := r.DialListener(t.Context(), p, name)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "share")
		client := rigtest.NewClient()
		onEdge := rigtest.Open(t, dialTo("edge"), rigtest.Get("share", client))
		apart := rigtest.Open(t, dialTo("apart"), rigtest.Get("share", client))
		onSame := rigtest.Open(t, dialTo("same"), rigtest.Get("share", client))
		rigtest.WantEnd(t, onEdge, rig.Reset)
		rigtest.WantLive(t, r, client, apart, onSame)
		again := rigtest.Open(t, dialTo("edge"), rigtest.Get("share", client))
		rigtest.WantEnd(t, onSame, rig.Reset)
		rigtest.WantLive(t, r, client, apart, again)
		rigtest.WantFlow(t, r, apart)
		rigtest.WantFlow(t, r, again)
		// Metrics are of the whole Envoy.
		rigtest.WantCountsSince(t, r, "share", before, rigtest.Counts{Opened: 4, Superseded: 2, Active: 2})
		apartAgain := rigtest.Open(t, dialTo("apart"), rigtest.Get("share", client))
		rigtest.WantEnd(t, apart, rig.Reset)
		rigtest.WantLive(t, r, client, again, apartAgain)
		again.Close()
		apartAgain.Close()
		rigtest.WantCountsSince(t, r, "share", before, rigtest.Counts{Opened: 5, Superseded: 3, Released: 2})
	})
}
