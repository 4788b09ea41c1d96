//go:build sdks

package sdks

import (
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// modern are the SDKs that need no sessions.
var modern = map[string]sdk{
	"ts2": {runtime: npm, server: "modern-server.mjs", client: "modern-client.mjs"},
	"py2": {runtime: python2, server: "modern_server.py", client: "modern_client.py"},
	"go":  {runtime: golang, server: "modern-server", client: "modern-client"},
}

// mostSubscriptions is the limit of the recipe.
const mostSubscriptions = 16

// The recipe for MCP without sessions: a user's oldest subscription ends at the limit, and a call
// too many fails alone. Envoy's configuration is that of the recipe with sessions.
func TestWithoutSessions(t *testing.T) {
	t.Parallel()
	with := recipeFor(t, "MCP with sessions")
	r := recipe{recipeFor(t, "MCP without sessions").rules, with.routes, with.filters}
	issued := rigtest.NewTokens(t)
	servers := startServers(t, modern)
	e := startEdge(t, r, servers, authentication(t, issued))
	for name, sdk := range modern {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := sdk.runtime.start(t, sdk.client, "http://"+e.Address()+"/mcp/"+name, issued.Token(t, `"sub": "`+name+`"`))
			p.hears(t, 1, isReady)
			for n := range mostSubscriptions + 1 {
				p.tell(t, "listen")
				p.hears(t, n+1, func(l line) bool { return l.Event == "listening" })
			}
			e.await(t, name+"_mcp_subscription.superseded", 1)
			p.tell(t, "tell")
			p.hears(t, mostSubscriptions, func(l line) bool { return l.Event == "told" })

			server := servers[name]
			for range mostCalls {
				p.tell(t, "slow")
			}
			server.hears(t, mostCalls, hasBegun)
			p.tell(t, "quick")
			if got := p.results(t, "quick", 1)[0].Error; !strings.Contains(got, "refused: duplicate") {
				t.Errorf("a call too many: got the error %q, want a refusal", got)
			}
			server.tell(t, "go on")
			p.tell(t, "quick")
			if got := p.results(t, "quick", 2)[1].Error; got != "" {
				t.Errorf("a call after the refused one: got the error %q", got)
			}
			for _, l := range p.results(t, "slow", mostCalls) {
				if l.Error != "" {
					t.Errorf("a call within the limit: got the error %q", l.Error)
				}
			}
			if told := len(p.hears(t, mostSubscriptions, func(l line) bool { return l.Event == "told" })); told != mostSubscriptions {
				t.Errorf("%d subscriptions were told of a change, want %d", told, mostSubscriptions)
			}
		})
	}
}
