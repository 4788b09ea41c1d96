//go:build libraries

// Package libraries runs client libraries for event streams, in their default settings, against the
// filter in a real Envoy. It holds the table of envoy/README.md to what they do. It needs the
// languages of the libraries, and downloads them; therefore a build tag: make libraries.
package libraries

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// The rig builds the filter and finds Envoy from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A library goes through each cause with a stream of its own. Each cause is a rule, and its key is
// the query parameter client.
var causes = []string{superseded, takeoverLimit, goodbye, expired, duplicate, overloaded}

const (
	superseded    = "superseded"     // another instance takes its place
	takeoverLimit = "takeover_limit" // another stream takes its place, and the last token
	goodbye       = "goodbye"        // like superseded, and the last event tells it
	expired       = "expired"        // its stream ends after three seconds, and it may come back at once
	duplicate     = "duplicate"      // another stream has the place before it comes
	overloaded    = "overloaded"     // streams of others have all places before it comes
)

var rules = strings.Join([]string{
	rigtest.OneRule(superseded, `, "instance": [{"query": "tab"}], "retry": "3s"`),
	rigtest.OneRule(takeoverLimit, `, "takeover_limit": {"max_tokens": 1, "fill_interval": "20s"}`),
	rigtest.OneRule(goodbye, `, "instance": [{"query": "tab"}], "retry": "3s", "goodbye_grace": "5s"`),
	rigtest.OneRule(expired, `, "max_lifetime": "3s", "lifetime_jitter_percent": 0`),
	rigtest.OneRule(duplicate, `, "on_duplicate": "reject_new", "retry": "3s"`),
}, ",")

// tabOfLibrary is the instance of all libraries.
const tabOfLibrary = "library"

// before are the causes for which a library cannot come in at first. Under the others its first
// stream ends.
var before = []string{duplicate, overloaded}

// window is how long the libraries are refused. In no such time may one come more often than
// mostRequests: about once a second.
//
// A POST that is refused at the response is not held, so event-source-plus comes at its own pace:
// first after 2 ms, and then twice as long each time. That makes 13 requests in eight seconds, and
// fewer and fewer after that.
const (
	window       = 10 * time.Second
	mostRequests = 12
	mostDoubling = 13
	doubling     = "npm event-source-plus 0.1.15, POST"
)

func TestLibraries(t *testing.T) {
	libraries := all(t)
	w := start(t, libraries)
	w.hold(t, before...)
	for _, l := range libraries {
		w.clients = append(w.clients, l.start(t, w.envoy))
	}
	err := w.until(t, func(c *client, cause string) error {
		if slices.Contains(before, cause) {
			return w.refusedOnce(c, cause)
		}
		if len(w.opened(c, cause)) == 0 {
			return errors.New("has no stream yet")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	w.hold(t, superseded, takeoverLimit, goodbye)
	<-time.After(window)
	if err := w.until(t, w.refusedOnce); err != nil {
		t.Error(err)
	}
	for _, c := range w.clients {
		asked, limit := make(map[string]int), mostRequests
		if c.Name == doubling {
			limit = mostDoubling
		}
		for _, cause := range causes {
			asked[cause] = most(w.asked(c, cause), window)
			if asked[cause] > limit {
				t.Errorf("%s, %s: %d requests in %v, want at most %d", c.Name, cause, asked[cause], window, limit)
			}
		}
		t.Logf("requests in %v of %s: %v", window, c.Name, asked)
	}
	w.letGo()
	if err := w.until(t, w.settled); err != nil {
		t.Error(err)
	}
	table := w.table(t)
	if *update && *only == "" && !t.Failed() {
		updateTable(t, table)
	}
	compareTable(t, table)
}
