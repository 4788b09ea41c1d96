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

	// steps are what the client and the upstream do after the request headers: see step. Nil: the
	// request has no body, and the upstream answers with an empty 200.
	steps []string
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

// A record is what a dialogue was on one stage.
type record struct {
	lines []string // that the guest has logged
	after []int    // how many of them there were after the request headers, and after each step
	ends  []string // what the upstream and the client have got, if the dialogue has steps
}

func (r record) all() []string { return withoutDiffering(slices.Concat(r.lines, r.ends)) }

// A stage is a host that plays dialogues. It has one worker and one guest, so ids and tokens grow
// from dialogue to dialogue, in the same way on all stages.
type stage interface {
	// play plays a dialogue, whose stream gets this id, to its end. Where a stage cannot know that
	// nothing more comes, as in Envoy, it waits for as much as there is in want.
	play(t *testing.T, d dialogue, id int, want record) record
}

// firstStream is the context id of the first stream. The plugin's is 1.
const firstStream = 2

// A setup is what stages start with. The zero value is the guest without a configuration.
type setup struct {
	tags   []string    // of the guest's build
	plugin string      // the plugin's configuration
	vm     string      // the VM's configuration
	more   host.Plugin // of two more listeners; without a name: there are none

	allowStop bool // the plugin's option allow_on_headers_stop_iteration
}

// compare plays the dialogues on the test host and in Envoy.
func compare(t *testing.T, dialogues []dialogue) {
	t.Helper()
	compareWith(t, setup{}, dialogues)
}

func compareWith(t *testing.T, from setup, dialogues []dialogue) {
	t.Helper()
	group := groupOf(t)
	var copied, original stage = newHostStage(t, from), newEnvoyStage(t, from)
	var third stage // for its score only
	if *wantReport && from.plugin == "" && len(from.tags) == 0 {
		third = newProxytestStage(t)
	}
	id := firstStream
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) {
			want := copied.play(t, d, id, record{})
			got := original.play(t, d, id, want)
			scores.count(group, d.name, got.all(), want.all())
			if third != nil && canPlay(d) {
				scores.countThird(group, got.lines, third.play(t, d, id, want).lines)
			}
			if len(want.all()) == 0 || !slices.Equal(got.all(), want.all()) {
				t.Error(differences(got.all(), want.all()))
			}
		})
		id += 1 + d.others()
	}
}

// others returns how many other streams the dialogue has.
func (d dialogue) others() (n int) {
	for _, step := range d.steps {
		if strings.HasPrefix(step, stepOther+" ") {
			n++
		}
	}
	return n
}

// groupOf returns the name of a test without its first word.
func groupOf(t *testing.T) string {
	group, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "/")
	return group
}

// mostDifferences is how many bytes of differences are enough for a reader.
const mostDifferences = 2000

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
		if lines[0] != lines[1] && b.Len() < mostDifferences {
			fmt.Fprintf(&b, "line %d, after %s:\n\tEnvoy:     %s\n\ttest host: %s\n", i+1, before, lines[0], lines[1])
		}
		before = lines[0]
	}
	return b.String()
}

// guest builds the guest, once.
var guest = sync.OnceValues(func() ([]byte, error) { return guestWith() })

// guestWith builds the guest with build tags.
func guestWith(tags ...string) ([]byte, error) {
	return gobuild.Build(context(), "github.com/streamlatch/streamlatch/host/testdata/guest", "", tags...)
}

// module returns the guest.
func (s setup) module() ([]byte, error) {
	if len(s.tags) == 0 {
		return guest()
	}
	return guestWith(s.tags...)
}
