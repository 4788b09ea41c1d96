// Package updates changes the listeners of a real Envoy, and with them the configuration of the
// filter, while streams are open.
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

// The tests of this file change the configuration while streams are open. Envoy reads its listeners
// from a file, and watches the file. A replaced listener drains: it keeps its connections, and the
// old plugin context keeps its streams, for Envoy's drain time (--drain-time-s). The default is 600
// s, which these tests do not reach. What happens then is in TestReplacedListenerEndsItsStreams.

// listenersFile is a file with the listeners of an Envoy.
type listenersFile struct {
	path     string // the path of the file
	template string // the listener edge
	filter   string // the configuration of the filter, as it is written in template
}

// follow starts an Envoy whose only listener, edge, is in a file.
func follow(t *testing.T, filter string, args ...string) (*rig.Rig, *listenersFile) {
	t.Helper()
	return followAll(t, filter, nil, args...)
}

// followAll is like follow, with other listeners in the file too.
func followAll(t *testing.T, filter string, others []listener, args ...string) (*rig.Rig, *listenersFile) {
	t.Helper()
	f := &listenersFile{path: filepath.Join(t.TempDir(), "lds.yaml"), filter: yamlOf(t, filter)}
	edit := func(config string) (string, error) {
		before, rest, found := strings.Cut(config, "  listeners:\n")
		listeners, after, found2 := strings.Cut(rest, "\n  clusters:\n")
		if !found || !found2 {
			return "", fmt.Errorf("want listeners and then clusters in the configuration, got %s", config)
		}
		module := regexp.MustCompile(`filename: "(.*)"\n`).FindStringSubmatch(listeners)
		if module == nil {
			return "", fmt.Errorf("want a module in the listeners, got %s", listeners)
		}
		kept, err := rig.KeepModule(module[1], filepath.Dir(f.path), "filter.wasm")
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

// A listener is to be written to the file.
type listener struct {
	name, filter string
	vmID         string // "": that of the shipped configuration
}

// write writes these listeners to the file, by a rename, because that is what Envoy watches for.
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
		// An anchor may occur only once in a file.
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

// yamlOf returns a text in the form that a rendered configuration contains.
func yamlOf(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(quoted) + "\n"
}

// update changes the file and waits until Envoy has accepted it on all workers, or has refused it.
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
		made     = "listener_manager.listener_create_success" // counted by each worker
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
			return fmt.Errorf("want the update refused, got %v", now)
		case !refused && (now[accepted] == before[accepted] || now[changed] == before[changed] || now[warming] != 0 || now[made] < before[made]+2):
			return fmt.Errorf("want the update on both workers, got %v", now)
		case !refused && now[rejected] != before[rejected]:
			t.Fatalf("want the update accepted, but Envoy has refused it: %v", r.Log.Containing("refused"))
		}
		return nil
	})
}

// Streams stay registered when the configuration that registered them is replaced.
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
	again := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("kept", client)) // old and new stream have the new configuration
	rigtest.WantEnd(t, newer, rig.Reset)
	again.Close()
	rigtest.WantCounts(t, r, "kept", rigtest.Counts{Opened: 3, Superseded: 2, Released: 1})
}

// A connection that was opened before the update keeps the old configuration. Its streams are
// registered all the same, and supersede those of the new configuration.
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

// An update lowers max_streams while a client has more streams. The next claim supersedes the
// oldest ones.
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

// An update removes a rule. Its streams stay in the registry and are released when they end, and
// its gauge returns to 0.
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

// A faulty update is refused, says why, and changes nothing.
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
		wait.Until(t, func() error { // the log may arrive later than the counter changes
			found := r.Log.Containing(faulty.want)
			if !slices.ContainsFunc(found, func(line string) bool { return strings.Contains(line, "configuration refused: ") }) {
				return fmt.Errorf("log, for the refused %s: got %q, want %q", faulty.filter, found, faulty.want)
			}
			return nil
		})
		rigtest.WantFlow(t, r, old)
	}
	newer := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("well", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantFlow(t, r, newer)
	rigtest.WantCounts(t, r, "well", rigtest.Counts{Opened: 2, Superseded: 1, Active: 1})

	// The next good update is accepted.
	file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("well", `, "max_streams": 2`)})
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("well", client))
	rigtest.WantLive(t, r, client, newer, second)
	rigtest.WantFlow(t, r, newer)
}

// Listeners with the same vm_id share the clients of rules with the same name, even if the rest of
// their configurations differs. With different vm_ids they share nothing.
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
		// Metrics count for the whole Envoy.
		rigtest.WantCountsSince(t, r, "share", before, rigtest.Counts{Opened: 4, Superseded: 2, Active: 2})
		apartAgain := rigtest.Open(t, dialTo("apart"), rigtest.Get("share", client))
		rigtest.WantEnd(t, apart, rig.Reset)
		rigtest.WantLive(t, r, client, again, apartAgain)
		again.Close()
		apartAgain.Close()
		rigtest.WantCountsSince(t, r, "share", before, rigtest.Counts{Opened: 5, Superseded: 3, Released: 2})
	})
}

// Envoy closes the connections of a replaced listener at the end of its drain time, and so their
// streams.
func TestReplacedListenerEndsItsStreams(t *testing.T) {
	t.Parallel()
	r, file := follow(t, rigtest.RuleOf("lds", ""), "--drain-time-s", "1")
	client := rigtest.NewClient()
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		before := rigtest.CountsOf(rigtest.Metrics(t, r), "lds")
		old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Get("lds", client))
		file.update(t, r, false, listener{name: "edge", filter: rigtest.RuleOf("lds", fmt.Sprintf(`, "retry": "2%ds"`, p))})
		rigtest.WantLost(t, old)
		rigtest.WantLive(t, r, client)
		rigtest.WantCountsSince(t, r, "lds", before, rigtest.Counts{Opened: 1, Released: 1})
	})
}
