package e2e

import (
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// Who a client is, is for the rule to say. Requests that name one client share one stream, and no others do.
func TestClientKeys(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	a, b := newClient(), newClient()
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
				{Path: "/pair/", Header: map[string]string{"x-tenant": a + "1", "x-user": b}}, // the same text in a row
			},
		},
	} {
		t.Run(source.rule, func(t *testing.T) {
			protocols(t, func(t *testing.T, p rig.Protocol) {
				before := countsOf(metrics(t, r), source.rule)
				noKey := metrics(t, r)[source.rule+".no_key"]
				old := open(t, dial(t, r, p, 0), source.old)
				var others []*rig.Stream
				for _, request := range source.others {
					others = append(others, open(t, dial(t, r, p, 0), request))
				}
				n := uint64(len(others))
				wantCountsSince(t, r, source.rule, before, counts{opened: 1 + n, active: 1 + n})
				newer := open(t, dial(t, r, p, 1), source.same)
				wantEnd(t, old, rig.Reset)
				for _, s := range append(others, newer) {
					wantFlow(t, r, s)
				}
				wantCountsSince(t, r, source.rule, before, counts{opened: 2 + n, superseded: 1, active: 1 + n})
				for _, s := range append(others, newer) {
					s.Close()
				}
				wantCountsSince(t, r, source.rule, before, counts{opened: 2 + n, superseded: 1, released: 1 + n})
				if got := metrics(t, r)[source.rule+".no_key"]; got != noKey {
					t.Errorf("no_key went from %d to %d, want no change", noKey, got)
				}
			})
		})
	}
}

// A request that does not say who its client is passes, is not tracked, and is counted.
func TestRequestWithoutKey(t *testing.T) {
	t.Parallel()
	r := sharedRig(t)
	conn := dial(t, r, rig.HTTP2, 0)
	for i, request := range []rig.Request{
		{Path: "/unkeyed/"},
		{Path: "/unkeyed/?client="},
		{Path: "/unkeyed/?Client=" + newClient()},
	} {
		first := open(t, conn, request)
		second := open(t, conn, request)
		wantFlow(t, r, first)
		wantFlow(t, r, second)
		wantCounts(t, r, "unkeyed", counts{})
		if got, want := metrics(t, r)["unkeyed.no_key"], uint64(2*(i+1)); got != want {
			t.Errorf("after %s: no_key is %d, want %d", request.Path, got, want)
		}
	}
}
