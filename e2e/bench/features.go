package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A feature is an option of a rule.
type feature struct {
	name, rule string    // rule: the members of the rule, in JSON
	us         []float64 // CPU microseconds for each stream, by round
}

// benchFeatures measures what each feature adds to the cost of a stream, from its request to its
// end one event later. All rules are in one Envoy, so nothing else differs.
func benchFeatures(ctx context.Context, rounds, streams int, others []string) error {
	features := []*feature{
		{name: "defaults", rule: `"client": [{"query": "client"}]`},
		{name: "client by cookie and header", rule: `"client": [{"cookie": "session"}, {"header": "x-tenant"}]`},
		{name: "client by source_address and query", rule: `"client": [{"source_address": true}, {"query": "client"}]`},
		{name: "client by property", rule: `"client": [{"property": ["connection", "id"]}, {"query": "client"}]`},
		{name: "instance", rule: `"client": [{"query": "client"}], "instance": [{"query": "tab"}]`},
		{name: "on_duplicate: reject_new", rule: `"client": [{"query": "client"}], "on_duplicate": "reject_new"`},
		{name: "claim_at: request", rule: `"client": [{"query": "client"}], "claim_at": "request"`},
		{name: "max_lifetime", rule: `"client": [{"query": "client"}], "max_lifetime": "1h"`},
		{name: "idle_timeout", rule: `"client": [{"query": "client"}], "idle_timeout": "1h"`},
		{name: "goodbye_grace", rule: `"client": [{"query": "client"}], "goodbye_grace": "10s"`},
		{name: "mode: observe", rule: `"client": [{"query": "client"}], "mode": "observe"`},
		{name: "a regex for the path", rule: `"client": [{"query": "client"}], "match": {"path": {"regex": "/[0-9]+/(events|feed)"}}`},
	}
	var rules []string
	for i, f := range features {
		match := fmt.Sprintf(`"match": {"path": {"prefix": "/%d/"}}, `, i)
		if strings.Contains(f.rule, `"match"`) {
			match = ""
		}
		rules = append(rules, fmt.Sprintf(`{"name": "rule%d", %s%s}`, i, match, f.rule))
	}
	config := `{"rules": [` + strings.Join(rules, ", ") + `]`
	plain := &variant{name: "rules", options: rig.Options{Filter: config + "}"}}
	limited := &variant{name: "max_total_streams", options: rig.Options{Filter: config + `, "max_total_streams": 100000}`}}
	off := &variant{name: "no filter on the route", options: rig.Options{Filter: config + "}",
		Edits: []rig.Edit{rig.Remove("                typed_per_filter_config:\n", "              - name: other\n")}}}
	total := &feature{name: "max_total_streams"}
	bare := &feature{name: "no filter on the route"}
	beside := []*feature{total, bare} // measured with the first rule
	variants := []*variant{limited, off}
	for _, other := range others {
		beside = append(beside, &feature{name: "the defaults, in " + other})
		variants = append(variants, &variant{name: other, options: rig.Options{Filter: config + "}", Module: module(other)}})
	}
	for _, v := range append([]*variant{plain}, variants...) {
		if err := v.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		defer v.stop()
	}
	for round := -3; round < rounds; round++ { // the first three warm up
		measure := func(f *feature, v *variant, n int) error {
			us, err := v.open(ctx, n, streams)
			if err == nil && round >= 0 {
				f.us = append(f.us, us)
			}
			return err
		}
		for i := range features {
			n := (i + max(0, round)) % len(features)
			if err := measure(features[n], plain, n); err != nil {
				return err
			}
		}
		for i := range beside {
			n := (i + max(0, round)) % len(beside)
			if err := measure(beside[n], variants[n], 0); err != nil {
				return err
			}
		}
	}
	fmt.Printf("\nAn event stream of one event: CPU time of Envoy from its request to its end, medians of %d rounds of %d streams, HTTP/2\n\n", rounds, streams)
	fmt.Println("| the rule has | us a stream | added to the defaults, us |")
	fmt.Println("|---|---|---|")
	for _, f := range append(features, beside...) {
		added := make([]float64, len(f.us))
		for i := range added {
			added[i] = f.us[i] - features[0].us[i]
		}
		fmt.Printf("| %s | %.1f | %.1f |\n", f.name, measure.Median(f.us), measure.Median(added))
	}
	return nil
}

// open opens streams of new clients under rule n, waits until they have ended, and returns the CPU
// time that Envoy used, in microseconds for each stream.
func (v *variant) open(ctx context.Context, n, streams int) (float64, error) {
	return v.send(ctx, streams, func() rig.Request {
		client := strconv.FormatInt(v.next.Add(1), 10)
		return rig.Request{
			Path:   fmt.Sprintf("/%d/events?client=%s&tab=%s", n, client, client),
			Answer: rig.Brief,
			Header: map[string]string{"Accept": "text/event-stream", "Cookie": "theme=dark; session=" + client, "X-Tenant": client},
		}
	})
}
