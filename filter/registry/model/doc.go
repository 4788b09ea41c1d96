// Package model is the registry's protocol as a small state machine, and a search of all that can
// happen to it.
//
// The registry lives in memory that Envoy's worker threads share without a lock. A worker can be
// interrupted between any two calls to that memory, and nobody knows in which order the others run.
// Tests of the real code try many orders. This package tries all of them, in a world that is small
// enough: two workers, one client, one bucket, and a few streams. In that world a worker may crash,
// a worker may be declared dead while it lives, a message may be lost, and a client may hang up.
// Each of these may happen at any moment, as often as [Config] allows.
//
// # What is promised
//
// In every state that the search reaches, it stops all faults and lets the workers finish: calls
// end, messages arrive, ticks run, dead workers are swept. Then this must hold:
//
//   - the client has at most MaxStreams live streams;
//   - its newest stream was not ended by the filter;
//   - the live streams and the streams in the registry are the same.
//
// A state where this does not hold is a [Violation]. The search is breadth first, so the path to it
// is one of the shortest.
//
// # The rules
//
// The registry follows the rules that [Rule] lists. Some look like details, but the search finds a
// violation without each of them. [Config] can leave a rule out, and a test does so for each: a
// model that cannot tell a broken protocol from a sound one is worth nothing. The filter's
// DESIGN.md tells what goes wrong without each rule.
//
// # What the model leaves out
//
// Time, tokens, instances, refusals, goodbyes, and the limits on how much one call does. Also: in
// the model a failed compare-and-swap is tried again until it succeeds, a tick looks at all
// streams, and a stream that is missing from the registry ends at the first look. The registry
// gives up after a number of tries and leaves the rest to the tick, looks at some streams a tick,
// and ends a stream at the second look. It also removes orphans whenever it claims, and the model
// only on the tick. Taking a slot is several calls there, and one step here.
//
// The model checks the protocol, and not the code. The tests of package registry explore the code.
//
// # Longer searches
//
// The tests take seconds. The flags of TestSearch make the world larger. This one reached 2,842,902
// states in 31 seconds, with 1.3 GB of memory:
//
//	go test ./filter/registry/model -run TestSearch -v -streams 3
//
// This one stops after ten million states, which took 203 seconds and 5 GB:
//
//	go test ./filter/registry/model -run TestSearch -v -streams 4 -max_streams 2 -states 10000000
//
// To see what breaks without each rule:
//
//	go test ./filter/registry/model -run TestEachRuleIsNeeded -v
package model
