package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// streaming makes Envoy itself answer requests for an event stream, with a stream of one event.
var streaming = rig.Replace(`                route:
                  cluster: backend
                  timeout: 0s       # by default Envoy ends a response after 15 s
                  idle_timeout: 0s  # by default Envoy ends a stream that is silent for 5 minutes
`, `                direct_response: {status: 200, body: {inline_string: "data: hello\n\n"}}
                response_headers_to_add:
                - {header: {key: content-type, value: text/event-stream}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
`)

// benchStreams measures what the filter adds to the cost of an event stream that is opened, claimed
// and ended. No backend takes part: its connections would cost most of the time, and vary most.
func benchStreams(ctx context.Context, rounds, streams int, others []string) error {
	variants := []*variant{
		{name: "bare Envoy", options: rig.Options{Edits: []rig.Edit{withoutFilter, withoutOverride}}},
		{name: "SDK filter with empty callbacks", options: rig.Options{Module: rig.Guest("null")}},
		{name: "filter"},
	}
	for _, other := range others {
		variants = append(variants, &variant{name: other, options: rig.Options{Module: module(other)}})
	}
	for _, v := range variants {
		v.options.Edits = append(v.options.Edits, streaming)
	}
	err := takeTurns(ctx, variants, rounds, streams, func(v *variant) rig.Request {
		client := strconv.FormatInt(v.next.Add(1), 10)
		return rig.Request{Path: "/events?client=" + client, Header: map[string]string{"Accept": "text/event-stream"}}
	})
	if err != nil {
		return err
	}
	fmt.Printf("\nAn event stream of one event, from its request to its end: CPU time of Envoy, medians of %d rounds of %d streams, HTTP/2, %d at a time\n\n", rounds, streams, connections*inFlight)
	printAdded("stream", variants, variants[2])
	return nil
}
