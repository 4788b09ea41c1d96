// Package config starts a real Envoy with configurations of the filter, faulty ones and such as a
// Struct.
package config

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// Envoy does not start with a faulty configuration. Its log names every fault and where it is.
func TestFaultyConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		filter string
		edits  []rig.Edit
		want   []string // beginnings of lines in Envoy's log
	}{
		{
			name: "several faults",
			filter: `{"rules": [
				{"name": "events", "client": [{"query": "client"}], "max_stream": 1},
				{"name": "Events", "client": [], "max_streams": "two"},
				{"name": "events", "client": [{"header": "x", "cookie": "y"}], "match": {"path": {"regex": "("}}}
			]}`,
			want: []string{
				`rules[0]: unknown field "max_stream"`,
				"rules[1].name: ",
				"rules[1].client: ",
				"rules[1].max_streams: ",
				"rules[2].name: ",
				"rules[2].client[0]: ",
				"rules[2].match.path.regex: ",
			},
		},
		{
			name:   "as a Struct",
			filter: `{"rules":[{"name":"events","client":[{"query":7}]}]}`,
			edits:  []rig.Edit{asStruct(`{"rules":[{"name":"events","client":[{"query":7}]}]}`)},
			want:   []string{"rules[0].client[0].query: "},
		},
		{
			name:  "no configuration",
			edits: []rig.Edit{rig.Remove("                configuration:\n", "          - name: envoy.filters.http.router\n")},
			want:  []string{"empty configuration"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := rig.Start(t.Context(), rig.Options{Concurrency: 1, Filter: c.filter, Edits: c.edits})
			if err == nil {
				t.Errorf("got a running Envoy (%v), want an error", r.Stop())
				return
			}
			var refused *rig.StartError
			if !errors.As(err, &refused) {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !slices.ContainsFunc(refused.Log.Lines(), func(line string) bool {
					_, fault, found := strings.Cut(line, "configuration refused: ")
					return strings.HasPrefix(line, want) || found && strings.HasPrefix(fault, want)
				}) {
					t.Errorf("log: want a line that begins with %q", want)
				}
			}
			if t.Failed() {
				t.Log(err)
			}
		})
	}
}

// asStruct turns the filter's configuration from a string into a Struct, which Envoy itself parses
// and YAML editors understand.
func asStruct(filter string) rig.Edit {
	return func(config string) (string, error) {
		quoted, err := json.Marshal(filter)
		if err != nil {
			return "", err
		}
		config, err = rig.Replace("google.protobuf.StringValue\n", "google.protobuf.Struct\n")(config)
		if err != nil {
			return "", err
		}
		return rig.Replace("value: "+string(quoted)+"\n", "value: "+filter+"\n")(config)
	}
}

// The configuration may be a Struct instead of a string.
func TestConfigurationAsStruct(t *testing.T) {
	t.Parallel()
	const filter = `{"rules":[{"name":"struct","match":{"path":{"prefix":"/struct/"}},"client":[{"query":"client"}],"max_streams":2}]}`
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: filter, Edits: []rig.Edit{asStruct(filter)}})
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("struct", client))
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 1), rigtest.Get("struct", client))
	third := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 1), rigtest.Get("struct", client))
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, r, client, second, third)
	rigtest.WantCounts(t, r, "struct", rigtest.Counts{Opened: 3, Superseded: 1, Active: 2})
}
