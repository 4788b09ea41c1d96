package hostcalls

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/host"
)

// Three listeners with one code: two plugins with root ids of their own, and one that is equal to
// another. Each stream says whose it is.
func TestPlugins(t *testing.T) {
	const name = "two root ids"
	from := setup{plugin: "vm-start: property plugin_root_id\nconfigure: property plugin_name"}
	second := host.Plugin{Name: "n2", RootID: "r2", Config: []byte(from.plugin)}
	copied := newHostStage(t, from)
	for range 2 { // equal ones
		if _, err := copied.world.AddPlugin(second); err != nil {
			t.Fatal(err)
		}
	}
	want := messages(copied.world.Logs())

	from.plugin = strings.ReplaceAll(from.plugin, "\n", `\n`)
	from.more = second
	original := newEnvoyStage(t, from)
	var got []string
	wait.Until(t, func() error {
		if got = guestLog(original.rig); len(got) < len(want) {
			return fmt.Errorf("got %d lines, want %d", len(got), len(want))
		}
		return nil
	})
	slices.Sort(got) // the threads start side by side
	slices.Sort(want)

	addresses, err := original.rig.Envoy().Admin().Listeners(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	original.seen = len(got)
	seen := len(copied.world.Logs())
	for i, listener := range []string{rig.Edge, "third", "second"} {
		id := 3 + i // after two plugins
		d := dialogueOf("", "request-headers", "property plugin_name; property plugin_root_id; property plugin_vm_id; effective 1; effective 2; effective $id; effective 3")
		s := copied.world.Listeners()[[]int{0, 2, 1}[i]].Open(0, append(host.Request("GET", "/"), d.request(id)...))
		s.RequestHeaders(true)
		s.ResponseHeaders(host.Response(200), true)
		ask(t, &http.Transport{DisableKeepAlives: true}, "http://"+addresses[listener]+"/", d.request(id))
		lines := messages(copied.world.Logs()[seen:])
		seen += len(lines)
		want = append(want, lines...)
		lines = original.await(t, len(lines))
		original.seen += len(lines)
		got = append(got, lines...)
	}
	scores.count(groupOf(t), name, got, want)
	if !slices.Equal(got, want) {
		t.Error(differences(got, want))
	}
}

func messages(logs host.Logs) (lines []string) {
	for _, entry := range logs {
		lines = append(lines, entry.Message)
	}
	return lines
}
