// Package hostcalls plays dialogues between a guest and its host twice: on the test host, and in a
// real Envoy. The guest is that of the host's own tests: it makes the hostcalls that a request asks
// for, and logs each with its status. Line by line the two logs must be the same.
//
// A test that fails shows where the test host does not tell the truth about Envoy. Envoy is right.
package hostcalls

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// A dialogue is one request and what the guest does about it.
type dialogue struct {
	name string

	// scripts are pairs of a callback and its script: see host/testdata/guest. "plugin-" stands
	// before the callbacks of the plugin, and $id for the stream's context id.
	scripts []string
	headers host.Headers // more headers of the request
}

// request returns the request headers that carry the scripts, for the stream with this id.
func (d dialogue) request(id int) host.Headers {
	var h host.Headers
	for i := 0; i < len(d.scripts); i += 2 {
		script := strings.ReplaceAll(d.scripts[i+1], "$id", fmt.Sprint(id))
		h = append(h, host.Header{Name: "on-" + d.scripts[i], Value: script})
	}
	return append(h, d.headers...)
}

// A stage is one of the two hosts. It has one worker and one guest, so ids and tokens grow from
// dialogue to dialogue, in the same way on both.
type stage interface {
	// play sends a request. It returns the lines that the guest logs, once nothing more can happen.
	// Envoy's stage cannot know that, and waits until there are this many lines.
	play(t *testing.T, request host.Headers, lines int) []string
}

// firstStream is the context id of the first stream. The plugin's is 1.
const firstStream = 2

// compare plays the dialogues on both stages.
func compare(t *testing.T, dialogues []dialogue) {
	var copied, original stage = newHostStage(t), newEnvoyStage(t)
	for i, d := range dialogues {
		t.Run(d.name, func(t *testing.T) {
			request := d.request(firstStream + i)
			want := withoutDiffering(copied.play(t, request, 0))
			got := withoutDiffering(original.play(t, request, len(want)))
			count(t, got, want)
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Error(differences(got, want))
			}
		})
	}
}

// differences returns the lines that Envoy and the test host do not agree about, each with the line
// before it.
func differences(envoy, host []string) string {
	var b strings.Builder
	before := "the start"
	for i := range max(len(envoy), len(host)) {
		lines := [2]string{"(nothing)", "(nothing)"}
		for side, log := range [][]string{envoy, host} {
			if i < len(log) {
				lines[side] = log[i]
			}
		}
		if lines[0] != lines[1] {
			fmt.Fprintf(&b, "line %d, after %s:\n\tEnvoy:     %s\n\ttest host: %s\n", i+1, before, lines[0], lines[1])
		}
		before = lines[0]
	}
	return b.String()
}

// guest builds the guest, once.
var guest = sync.OnceValues(func() ([]byte, error) {
	return gobuild.Build(context(), "github.com/streamlatch/streamlatch/host/testdata/guest", "")
})
