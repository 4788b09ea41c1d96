package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
)

// A hostile request costs as much as a client can make it cost under some rules. Envoy accepts 60
// KiB of headers.
type hostile struct {
	about   string
	rules   []any
	path    string
	headers map[string]string
}

// roomForHeaders is a little less than Envoy accepts: it sends headers of its own.
const roomForHeaders = 58 << 10

// fill repeats text so often that it takes all the room.
func fill(text string) string { return strings.Repeat(text, roomForHeaders/len(text)) }

type jsonObject = map[string]any

// onPath makes n rules with this path regex.
func onPath(n int, expr string) (rules []any) {
	for i := range n {
		rules = append(rules, jsonObject{"name": fmt.Sprintf("r%d", i), "client": []any{jsonObject{"header": "x-client-id"}},
			"match": jsonObject{"path": jsonObject{"regex": expr}}})
	}
	return rules
}

// onHeaders makes n rules with 15 conditions on headers each. The 16th fails: otherwise the first
// rule would be the last that is looked at.
func onHeaders(n int, condition func(i int) jsonObject) (rules []any) {
	for i := range n {
		var headers []any
		for j := range 15 {
			headers = append(headers, condition(16*i+j))
		}
		headers = append(headers, jsonObject{"name": fmt.Sprintf("x-h%d", 16*i+15), "present": true})
		rules = append(rules, jsonObject{"name": fmt.Sprintf("r%d", i), "client": []any{jsonObject{"header": "x-client-id"}},
			"match": jsonObject{"headers": headers}})
	}
	return rules
}

func contains(int) jsonObject { return jsonObject{"name": "x-long", "contains": "aaab"} }

func absent(i int) jsonObject { return jsonObject{"name": fmt.Sprintf("x-h%d", i), "present": false} }

// bySources makes a rule with eight sources for the client, and eight for the instance.
func bySources(kind string) []any {
	var client, instance []any
	for i := range 8 {
		client = append(client, jsonObject{kind: fmt.Sprintf("client%d", i)})
		instance = append(instance, jsonObject{kind: fmt.Sprintf("page%d", i)})
	}
	return []any{jsonObject{"name": "r", "client": client, "instance": instance}}
}

// allSources has a value for each source of bySources.
func allSources(separator string) string {
	var all []string
	for i := range 8 {
		all = append(all, fmt.Sprintf("client%d=1", i), fmt.Sprintf("page%d=1", i))
	}
	return strings.Join(all, separator)
}

var hostiles = []hostile{
	{"path of 58 KiB, 46 rules with a regex", onPath(46, `/.*a.*b`), "/" + fill("a") + "b", nil},
	{"one regex of 512 instructions, a path as long as it looks at", onPath(1, strings.Repeat(`.*`, 169)+`[bc]`), "/" + strings.Repeat("a", 127), nil},
	{"one regex of 64 instructions, a path as long as it looks at", onPath(1, strings.Repeat(`.*`, 19)+`[bc]`), "/" + strings.Repeat("a", 1023), nil},
	{"the same with classes of letters", onPath(1, strings.Repeat(`[\pL/]*`, 19)+`[0-9]`), "/" + strings.Repeat("a", 1023), nil},
	{"64 regexes, each with one way to match", onPath(64, `/[a-z]+[0-9]/`), "/" + strings.Repeat("a", 145) + "/", nil},
	{"960 conditions with contains on a header of 58 KiB", onHeaders(64, contains), "/", map[string]string{"X-Long": fill("a")}},
	{"15 conditions with contains on a header of 58 KiB", onHeaders(1, contains), "/", map[string]string{"X-Long": fill("a")}},
	{"conditions on 1024 headers", onHeaders(64, absent), "/", nil},
	{"16 cookies behind 15,000 others", bySources("cookie"), "/", map[string]string{"Cookie": fill("a=b;") + allSources(";")}},
	{"16 cookies behind 30,000 others", bySources("cookie"), "/", map[string]string{"Cookie": fill("=;") + allSources(";")}},
	{"16 parameters behind 30,000 others", bySources("query"), "/?" + fill("p&") + allSources("&"), nil},
	{"16 parameters behind 8,000 that are encoded", bySources("query"), "/?" + fill("%63%6C&") + allSources("&"), nil},
	{"a parameter of 58 KiB", bySources("query"), "/?client0=" + fill("%41") + "&" + strings.TrimPrefix(allSources("&"), "client0=1&"), nil},
	{"a key of 58 KiB", onPath(1, "/.*"), "/", map[string]string{"X-Client-Id": fill("a")}},
}

// benchHostile measures the requests that cost most.
func benchHostile(ctx context.Context, rounds int) error {
	bare := &variant{name: "bare Envoy", options: rig.Options{Edits: []rig.Edit{
		rig.Remove("          - name: envoy.filters.http.wasm\n", "          - name: envoy.filters.http.router\n"),
		rig.Remove("                typed_per_filter_config:\n", "              - name: other\n"),
	}}}
	if err := bare.startHTTP1(ctx); err != nil {
		return err
	}
	defer bare.stop()
	fmt.Printf("\nOne hostile request: CPU time of Envoy, medians of %d rounds\n\n", rounds)
	fmt.Println("| request | bare Envoy, ms | with the filter, ms | added, ms |")
	fmt.Println("|---|---|---|---|")
	for _, h := range hostiles {
		if err := h.measure(ctx, bare, rounds); err != nil {
			return fmt.Errorf("%s: %w", h.about, err)
		}
	}
	return nil
}

func (h hostile) measure(ctx context.Context, bare *variant, rounds int) error {
	config, err := json.Marshal(jsonObject{"rules": h.rules})
	if err != nil {
		return err
	}
	filter := &variant{name: h.about, options: rig.Options{Filter: string(config), Edits: []rig.Edit{everyRoute}}}
	if err := filter.startHTTP1(ctx); err != nil {
		return err
	}
	defer filter.stop()
	headers := map[string]string{"Accept": "application/json"}
	for name, value := range h.headers {
		headers[name] = value
	}
	var costs [2][]float64                      // in ms: bare, and with the filter
	for round := -10; round < rounds; round++ { // the first ones warm up
		for i, v := range []*variant{bare, filter} {
			v.us = nil
			us, err := v.one(ctx, rig.Request{Path: h.path, Header: headers})
			if err != nil {
				return err
			}
			if round >= 0 {
				costs[i] = append(costs[i], us/float64(time.Millisecond/time.Microsecond))
			}
		}
	}
	without, with := measure.Median(costs[0]), measure.Median(costs[1])
	fmt.Printf("| %s | %.2f | %.2f | %.2f |\n", h.about, without, with, with-without)
	return nil
}

// startHTTP1 is start with one connection, over HTTP/1.1. Over HTTP/2 the client would send each
// cookie as a header, and Envoy accepts a hundred of those.
func (v *variant) startHTTP1(ctx context.Context) error {
	if err := v.start(ctx); err != nil {
		return err
	}
	conn, err := v.rig.Dial(ctx, rig.HTTP1)
	v.conns = append([]*rig.Conn{conn}, v.conns...)
	return err
}

// one sends a request ten times, one after the other.
func (v *variant) one(ctx context.Context, request rig.Request) (us float64, err error) {
	const times = 10
	before, err := measure.CPU(v.rig.Envoy().PID())
	if err != nil {
		return 0, err
	}
	for range times {
		answer, err := v.conns[0].Do(ctx, request)
		if err != nil {
			return 0, err
		}
		if answer.Status != 200 {
			return 0, fmt.Errorf("status %d", answer.Status)
		}
	}
	after, err := measure.CPU(v.rig.Envoy().PID())
	return float64(after-before) / float64(time.Microsecond) / times, err
}
