//go:build sdks

package sdks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// An sdk is a client and a server of MCP. Both say what their programs' comments tell.
type sdk struct {
	runtime        runtime
	server, client string
}

// sessions are the SDKs that have sessions.
var sessions = map[string]sdk{
	"ts1": {npm, "mcp-server.mjs", "mcp-client.mjs"},
}

// mostCalls is the limit of the recipe.
const mostCalls = 16

// The recipe for MCP with sessions. A client whose network breaks gets its listening stream back, a
// call too many fails alone, and a broken call is resumed beside the listening stream.
func TestSessions(t *testing.T) {
	programs, ports := map[string]*program{}, map[string]int{}
	for name, sdk := range sessions {
		programs[name] = sdk.runtime.start(t, sdk.server)
	}
	for name, server := range programs {
		ports[name] = server.port(t)
	}
	e := startEdge(t, recipeFor(t, "MCP with sessions"), "/mcp", ports)
	for name, sdk := range sessions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session(t, e, name, programs[name], sdk)
		})
	}
}

func session(t *testing.T, e edge, name string, server *program, sdk sdk) {
	way := before(t, e.Address())
	client := sdk.runtime.start(t, sdk.client, "http://"+way.address+"/mcp/"+name)
	told := 0
	reach := func() { // the server reaches the client on its listening stream
		t.Helper()
		told++
		client.tell(t, "tell")
		client.hears(t, told, func(l line) bool { return l.Event == "told" })
	}
	e.await(t, name+"_mcp_listen.opened", 1)

	// The client's network breaks, and Envoy does not notice. The client comes back without an
	// event id, and then with one.
	way.cut(false)
	e.await(t, name+"_mcp_listen.superseded", 1)
	reach()
	way.cut(false)
	e.await(t, name+"_mcp_listen.superseded", 2)
	reach()

	for range mostCalls {
		client.tell(t, "slow")
	}
	client.hears(t, mostCalls, hasBegun)
	client.tell(t, "quick")
	if got := client.results(t, "quick", 1)[0].Error; !strings.Contains(got, "refused: duplicate") {
		t.Errorf("a call too many: got the error %q, want a refusal", got)
	}
	server.tell(t, "go on")
	for _, l := range client.results(t, "slow", mostCalls) {
		if l.Error != "" {
			t.Errorf("a call within the limit: got the error %q", l.Error)
		}
	}
	client.tell(t, "quick")
	if got := client.results(t, "quick", 2)[1].Error; got != "" {
		t.Errorf("a call after the refused one: got the error %q", got)
	}
	reach()

	// The network breaks during a call.
	client.tell(t, "slow")
	client.hears(t, mostCalls+1, hasBegun)
	way.cut(true)
	e.await(t, name+"_mcp_resume.active", 1)
	e.await(t, name+"_mcp_listen.active", 1)
	server.tell(t, "go on")
	if got := client.results(t, "slow", mostCalls+1)[mostCalls].Error; got != "" {
		t.Errorf("a call that was resumed: got the error %q", got)
	}
	reach()
	if got := rigtest.Metrics(t, e.Rig)[name+"_mcp_listen.refused_takeover_limit"]; got != 0 {
		t.Errorf("the listening stream was refused %d times", got)
	}
}

func hasBegun(l line) bool { return l.Event == "begun" }

// results waits until n calls of a tool have ended, and returns how.
func (p *program) results(t *testing.T, tool string, n int) []line {
	t.Helper()
	return p.hears(t, n, func(l line) bool { return l.Event == "result" && l.Tool == tool })
}

// await waits until a metric has a value.
func (e edge) await(t *testing.T, metric string, want uint64) {
	t.Helper()
	wait.Until(t, func() error {
		if got, ok := rigtest.Metrics(t, e.Rig)[metric]; got != want || !ok {
			return fmt.Errorf("%s: got %d (defined: %v), want %d", metric, got, ok, want)
		}
		return nil
	})
}
