package clients

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// The rule decides which requests belong to the same client. Requests of the same client share one
// stream, and others do not.
func TestClientKeys(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	a, b := rigtest.NewClient(), rigtest.NewClient()
	for _, source := range []struct {
		rule      string
		old, same rig.Request
		others    []rig.Request
	}{
		{
			rule: "separate",
			old:  rig.Request{Path: "/separate/?client=" + a},
			same: rig.Request{Path: "/separate/elsewhere?x=y&client=" + a + "&client=" + b},
			others: []rig.Request{
				{Path: "/separate/?client=" + b},
			},
		},
		{
			rule: "header",
			old:  rig.Request{Path: "/header/", Header: map[string]string{"x-user": a}},
			same: rig.Request{Path: "/header/?client=" + b, Header: map[string]string{"x-user": a}},
			others: []rig.Request{
				{Path: "/header/", Header: map[string]string{"x-user": b}},
			},
		},
		{
			rule: "cookie",
			old:  rig.Request{Path: "/cookie/", Header: map[string]string{"cookie": "session=" + a}},
			same: rig.Request{Path: "/cookie/", Header: map[string]string{"cookie": "theme=dark; session=" + a + "; session=" + b}},
			others: []rig.Request{
				{Path: "/cookie/", Header: map[string]string{"cookie": "theme=dark; session=" + b}},
			},
		},
		{
			rule: "pair",
			old:  rig.Request{Path: "/pair/", Header: map[string]string{"x-tenant": a, "x-user": "1" + b}},
			same: rig.Request{Path: "/pair/", Header: map[string]string{"x-tenant": a, "x-user": "1" + b}},
			others: []rig.Request{
				{Path: "/pair/", Header: map[string]string{"x-tenant": a, "x-user": b}},
				{Path: "/pair/", Header: map[string]string{"x-tenant": b, "x-user": "1" + b}},
				{Path: "/pair/", Header: map[string]string{"x-tenant": a + "1", "x-user": b}}, // the same text when the parts are joined
			},
		},
	} {
		t.Run(source.rule, func(t *testing.T) {
			rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
				before := rigtest.CountsOf(rigtest.Metrics(t, r), source.rule)
				noKey := rigtest.Metrics(t, r)[source.rule+".no_key"]
				old := rigtest.Open(t, rigtest.Dial(t, r, p, 0), source.old)
				var others []*rig.Stream
				for _, request := range source.others {
					others = append(others, rigtest.Open(t, rigtest.Dial(t, r, p, 0), request))
				}
				n := uint64(len(others))
				rigtest.WantCountsSince(t, r, source.rule, before, rigtest.Counts{Opened: 1 + n, Active: 1 + n})
				newer := rigtest.Open(t, rigtest.Dial(t, r, p, 1), source.same)
				rigtest.WantEnd(t, old, rig.Reset)
				for _, s := range append(others, newer) {
					rigtest.WantFlow(t, r, s)
				}
				rigtest.WantCountsSince(t, r, source.rule, before, rigtest.Counts{Opened: 2 + n, Superseded: 1, Active: 1 + n})
				for _, s := range append(others, newer) {
					s.Close()
				}
				rigtest.WantCountsSince(t, r, source.rule, before, rigtest.Counts{Opened: 2 + n, Superseded: 1, Released: 1 + n})
				if got := rigtest.Metrics(t, r)[source.rule+".no_key"]; got != noKey {
					t.Errorf("no_key: got %d, want %d as before", got, noKey)
				}
			})
		})
	}
}

// A request without a client key passes. It is not tracked, but counted.
func TestRequestWithoutKey(t *testing.T) {
	t.Parallel()
	r := shared.Rig(t)
	conn := rigtest.Dial(t, r, rig.HTTP2, 0)
	for i, request := range []rig.Request{
		{Path: "/unkeyed/"},
		{Path: "/unkeyed/?client="},
		{Path: "/unkeyed/?Client=" + rigtest.NewClient()},
	} {
		first := rigtest.Open(t, conn, request)
		second := rigtest.Open(t, conn, request)
		rigtest.WantFlow(t, r, first)
		rigtest.WantFlow(t, r, second)
		rigtest.WantCounts(t, r, "unkeyed", rigtest.Counts{})
		if got, want := rigtest.Metrics(t, r)["unkeyed.no_key"], uint64(2*(i+1)); got != want {
			t.Errorf("no_key after %s: got %d, want %d", request.Path, got, want)
		}
	}
}
