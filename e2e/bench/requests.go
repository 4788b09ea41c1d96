package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
)

// The requests come over HTTP/2, many at a time, and Envoy answers them itself. So it makes few
// system calls for each request. System calls cost the same in all variants, cost much, and are the
// noisiest part.
const (
	connections = 4
	inFlight    = 16    // requests on each connection at the same time
	warmUp      = 30000 // requests to each Envoy before it is measured, until V8 has optimized its code
)

// answering makes Envoy itself answer all requests that are not for an event stream.
var answering = rig.Replace("              - name: other\n                match: {prefix: /}\n                route: {cluster: backend}\n",
	"              - name: other\n                match: {prefix: /}\n                direct_response: {status: 200, body: {inline_string: hello}}\n")

// A variant is an Envoy that is compared with others.
type variant struct {
	name    string
	options rig.Options
	rig     *rig.Rig
	conns   []*rig.Conn
	next    atomic.Int64 // number of the next client
	us      []float64    // CPU microseconds for each request, by round
}

// everyRoute enables the filter on every route.
var everyRoute = rig.Replace("disabled: true", "disabled: false")

// elsewhere is a rule that applies to none of the requests. The filter has to read the path.
const elsewhere = `{"rules": [{"name": "events", "match": {"path": {"prefix": "/events"}}, "client": [{"query": "client"}]}]}`

// These make an Envoy without the filter.
var (
	withoutFilter   = rig.Remove("          - name: envoy.filters.http.wasm\n", "          - name: envoy.filters.http.router\n")
	withoutOverride = rig.Remove("                typed_per_filter_config:\n", "              - name: other\n")
)

// benchRequests measures what the filter adds to the cost of a request that is not for an event
// stream.
func benchRequests(ctx context.Context, rounds, requests int, others []string) error {
	variants := []*variant{
		{name: "bare Envoy", options: rig.Options{Edits: []rig.Edit{withoutFilter, withoutOverride}}},
		{name: "filter as shipped: on the event-stream route", options: rig.Options{}},
		{name: "SDK filter with empty callbacks, every route", options: rig.Options{Module: rig.Guest("null"), Edits: []rig.Edit{everyRoute}}},
		{name: "SDK filter that reads one header, every route", options: rig.Options{Module: rig.Guest("header"), Edits: []rig.Edit{everyRoute}}},
		{name: "filter, every route", options: rig.Options{Filter: elsewhere, Edits: []rig.Edit{everyRoute}}},
	}
	for _, other := range others {
		variants = append(variants, &variant{name: other + ", every route",
			options: rig.Options{Filter: elsewhere, Module: module(other), Edits: []rig.Edit{everyRoute}}})
	}
	request := rig.Request{Path: "/api/users/42?expand=groups", Header: map[string]string{"Accept": "application/json"}}
	if err := takeTurns(ctx, variants, rounds, requests, func(*variant) rig.Request { return request }); err != nil {
		return err
	}
	fmt.Printf("\nA request that is not for an event stream: CPU time of Envoy, medians of %d rounds of %d requests, HTTP/2, %d at a time\n\n", rounds, requests, connections*inFlight)
	printAdded("request", variants, variants[2])
	return nil
}

// printAdded prints what each of the variants adds to the first one, which is a bare Envoy, and how
// often what one of them adds.
func printAdded(what string, variants []*variant, one *variant) {
	fmt.Printf("| Envoy | us a %s | added to bare, us | added, ratio to the %s |\n|---|---|---|---|\n", what, one.name)
	bare := variants[0]
	for _, v := range variants {
		added := measure.Median(v.added(bare))
		fmt.Printf("| %s | %.1f | %.1f | %.2f |\n", v.name, measure.Median(v.us), added, added/measure.Median(one.added(bare)))
	}
}

// takeTurns starts the variants, warms them up, and lets them take turns: in every round each gets
// so many requests. They have ended when it returns.
func takeTurns(ctx context.Context, variants []*variant, rounds, requests int, next func(*variant) rig.Request) error {
	turn := func(v *variant, requests int) (us float64, err error) {
		us, err = v.send(ctx, requests, func() rig.Request { return next(v) })
		if err != nil {
			err = fmt.Errorf("%s: %w", v.name, err)
		}
		return us, err
	}
	for _, v := range variants {
		if err := v.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
		defer v.stop()
	}
	for _, v := range variants {
		if _, err := turn(v, warmUp); err != nil {
			return err
		}
	}
	for round := range rounds {
		for i := range variants {
			v := variants[(i+round)%len(variants)]
			us, err := turn(v, requests)
			if err != nil {
				return err
			}
			v.us = append(v.us, us)
		}
	}
	return nil
}

// added returns the cost of v minus that of bare, by round.
func (v *variant) added(bare *variant) []float64 {
	added := make([]float64, len(v.us))
	for i := range added {
		added[i] = v.us[i] - bare.us[i]
	}
	return added
}

func (v *variant) start(ctx context.Context) (err error) {
	v.options.Concurrency = 1
	v.options.Edits = append(v.options.Edits, answering)
	if v.rig, err = rig.Start(ctx, v.options); err != nil {
		return err
	}
	for range connections {
		c, err := v.rig.Dial(ctx, rig.HTTP2)
		if err != nil {
			return err
		}
		v.conns = append(v.conns, c)
	}
	return nil
}

func (v *variant) stop() {
	for _, c := range v.conns {
		c.Close()
	}
	v.rig.Stop()
}

// send sends requests, reads the complete responses, and returns the CPU time that Envoy used, in
// microseconds for each request.
func (v *variant) send(ctx context.Context, requests int, next func() rig.Request) (float64, error) {
	before, err := measure.CPU(v.rig.Envoy().PID())
	if err != nil {
		return 0, err
	}
	senders := inFlight * len(v.conns)
	each := max(1, requests/senders)
	group, ctx := errgroup.WithContext(ctx)
	for i := range senders {
		c := v.conns[i%len(v.conns)]
		group.Go(func() error {
			for range each {
				request := next()
				answer, err := c.Do(ctx, request)
				if err != nil {
					return err
				}
				if answer.Status != 200 {
					return fmt.Errorf("%s: status %d", request.Path, answer.Status)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	after, err := measure.CPU(v.rig.Envoy().PID())
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(time.Microsecond) / float64(each*senders), nil
}
