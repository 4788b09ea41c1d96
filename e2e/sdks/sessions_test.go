//go:build sdks

package sdks

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// An sdk is a client and a server of MCP. Both do what their programs' comments tell.
type sdk struct {
	runtime        runtime
	server, client string
	breaks         int // how often the client's listening stream may break before it gives up
}

// sessions are the SDKs that have sessions.
var sessions = map[string]sdk{
	"ts1": {npm, "mcp-server.mjs", "mcp-client.mjs", many},
	"py1": {python1, "mcp_server.py", "mcp_client.py", 1},
	"py2": {python2, "mcp_server.py", "mcp_client.py", 1},
	"go":  {golang, "server", "client", many},
}

const many = 100

// mostCalls is the limit of the recipe.
const mostCalls = 16

// The recipe for MCP with sessions. A client whose network breaks gets its listening stream back, a
// call too many fails alone, and a broken call is resumed beside the listening stream. Newcomers
// come in although the server may not have noticed yet that their predecessors have ended.
func TestSessions(t *testing.T) {
	t.Parallel()
	servers := startServers(t, sessions)
	e := startEdge(t, recipeFor(t, "MCP with sessions"), servers)
	for name, sdk := range sessions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			session(t, e, name, servers[name], sdk)
			notice(t, "http://"+e.Address()+"/mcp/"+name)
		})
	}
}

// startServers starts the server of each SDK.
func startServers(t *testing.T, sdks map[string]sdk) map[string]*program {
	t.Helper()
	servers := map[string]*program{}
	for name, sdk := range sdks {
		servers[name] = sdk.runtime.start(t, sdk.server, "/mcp/"+name)
	}
	return servers
}

func session(t *testing.T, e edge, name string, server *program, sdk sdk) {
	c, way := sdk.connect(t, e, name)
	e.await(t, name+"_mcp_listen.opened", 1)

	// The client's network breaks, and Envoy does not notice. The client comes back without an
	// event id, if it can do that twice, and then with one.
	cuts := uint64(0)
	cut := func() {
		t.Helper()
		way.cut(false)
		cuts++
		e.await(t, name+"_mcp_listen.superseded", cuts)
		e.await(t, name+"_mcp_listen.opened", cuts+1)
	}
	if sdk.breaks > 1 {
		cut()
	}
	c.reach(t)
	cut()
	c.reach(t)

	for range mostCalls {
		c.tell(t, "slow")
	}
	c.hears(t, mostCalls, hasBegun)
	c.tell(t, "quick")
	if got := c.results(t, "quick", 1)[0].Error; !strings.Contains(got, "refused: duplicate") {
		t.Errorf("a call too many: got the error %q, want a refusal", got)
	}
	server.tell(t, "go on")
	for _, l := range c.results(t, "slow", mostCalls) {
		if l.Error != "" {
			t.Errorf("a call within the limit: got the error %q", l.Error)
		}
	}
	c.tell(t, "quick")
	if got := c.results(t, "quick", 2)[1].Error; got != "" {
		t.Errorf("a call after the refused one: got the error %q", got)
	}
	c.reach(t)

	// The network breaks during a call, and Envoy notices.
	c, way = sdk.connect(t, e, name)
	e.await(t, name+"_mcp_listen.opened", cuts+2)
	c.reach(t)
	c.tell(t, "slow")
	c.hears(t, 1, hasBegun)
	way.cut(true)
	e.await(t, name+"_mcp_resume.active", 1)
	e.await(t, name+"_mcp_listen.opened", cuts+3)
	server.tell(t, "go on")
	if got := c.results(t, "slow", 1)[0].Error; got != "" {
		t.Errorf("a call that was resumed: got the error %q", got)
	}
	c.reach(t)
	if got := rigtest.Metrics(t, e.Rig)[name+"_mcp_listen.refused_takeover_limit"]; got != 0 {
		t.Errorf("the listening stream was refused %d times", got)
	}
}

// A client is a client of MCP with a session.
type client struct {
	*program
	told int
}

// connect starts a client with a network of its own.
func (s sdk) connect(t *testing.T, e edge, server string) (*client, *network) {
	t.Helper()
	way := before(t, e.Address())
	c := &client{program: s.runtime.start(t, s.client, "http://"+way.address+"/mcp/"+server)}
	c.hears(t, 1, isReady)
	return c, way
}

// reach lets the server reach the client on its listening stream.
func (c *client) reach(t *testing.T) {
	t.Helper()
	c.told++
	c.tell(t, "tell")
	c.hears(t, c.told, func(l line) bool { return l.Event == "told" })
	if got := c.results(t, "tell", c.told)[c.told-1].Error; got != "" {
		t.Errorf("tell: got the error %q", got)
	}
}

func isReady(l line) bool  { return l.Event == "ready" }
func hasBegun(l line) bool { return l.Event == "begun" }

// results waits until n calls of a tool have ended, and returns how.
func (p *program) results(t *testing.T, tool string, n int) []line {
	t.Helper()
	return p.hears(t, n, func(l line) bool { return l.Event == "result" && l.Tool == tool })
}

// await waits until a metric has at least this value.
func (e edge) await(t *testing.T, metric string, want uint64) {
	t.Helper()
	wait.Until(t, func() error {
		if got, ok := rigtest.Metrics(t, e.Rig)[metric]; got < want || !ok {
			return fmt.Errorf("%s: got %d (defined: %v), want at least %d", metric, got, ok, want)
		}
		return nil
	})
}
