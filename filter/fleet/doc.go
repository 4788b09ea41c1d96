// Package fleet keeps one live stream per client over several Envoys, with etcd as the arbiter. It
// is pure: answers and events of etcd go in, requests, verdicts and ends come out. It reads no
// clock and makes no call. Package session owns the members, and sends their calls through Envoy's
// gRPC client.
//
// # Words
//
// A [Member] is one plugin context on one worker, with one lease and one watch. The lease's id is
// its name. A [Stamp] is a stream's place in the order of its client's streams. A stream returns if
// it is in already, and is registered again under the stamp that it has. A ghost is the keys of a
// stream that had ended before its Txn was carried out.
//
// # What is stored
//
// All keys begin with the prefix and the version of the format. <id> is the client's [ID] in
// base64url, <lease> 16 hex digits, <context> 8.
//
//	c/<id>/<lease><context>   the stream's Record; under the member's lease
//	m/<lease>/<context>       <id>, or !dismissed; under the same lease
//	m/<lease>/                the sentinel: the Envoy's node id; under the same lease
//
// Every Txn touches both keys of a stream. So m/<lease>/ is at any revision the list of what the
// member has registered. It is state and no messages: nothing is lost with a broken watch, and
// nothing has to be cleaned. What is remembered about a client travels in its streams' records. A
// claim reads the record with the largest stamp and writes the next.
//
// # The way of a stream
//
//	join     LeaseGrant; Put m/<lease>/; Watch m/<lease>/; LeaseKeepAlive
//	look     Range c/<id>/ shows the client's streams at a revision
//	claim    Txn: if no key in c/<id>/ was written after that revision, and, if some yield, those
//	         that stay are still there: put both keys, delete those of the streams that yield.
//	         Else Range c/<id>/, and decide again
//	return   the same Txn, first with revision 0
//	release  Txn: delete both keys
//
// The member of a stream that yields hears of it from its watch.
//
// # The rules
//
// Requests may be carried out late, or without an answer. Watches lag and break. Leases end while
// their members live. Package model searches what can happen, and TestEachRuleIsNeeded leaves each
// rule out of this code, and sees what goes wrong without it. This is where the code keeps them:
//
//   - no-guard, no-kept: txn compares the range, and those that stay.
//   - fresh-stamp: the claimant chooses the stamp, and it is fixed once the stream is in. decide
//     returns a stream under the stamp that it has.
//   - ties: two streams have no stamp in common, because of its random bits.
//   - local-order: the Envoy's own registry orders by the same stamps. It then never ends a stream
//     that the fleet keeps. This rule is the caller's.
//   - no-sentinel: the deletes of a lost lease look like those of superseded streams. The sentinel
//     tells them apart: changed and listed lose the lease, and no stream is ended.
//   - only etcd says that a lease is gone: loseLease. Silence says nothing.
//   - no-return: streams that are in and not registered are registered by startReturns.
//   - del-before-answer, stale-event: deleted believes a delete that is newer than the
//     registration, and one that comes before the answer to the claim.
//   - no-resync, snap-rev: after a broken watch, resume lists the own keys and watches from there.
//     compare ends only what was registered before that list.
//   - answer-after-snap: carriedOut and lostRace do not believe an answer from before a list that
//     lacked the stream.
//   - no-ghost: ghost removes the keys of a stream that has ended.
//   - refuse-late: once a Txn was sent, and nobody knows whether it was carried out, the stream is
//     in, see letIn: others may have ended for it.
//   - no-release: Ended removes what may have been registered, whoever ended the stream.
//
// # Promise
//
// When what is on the way has arrived: a client has at most MaxStreams live streams in the fleet.
// Each is registered. No key is without a live stream. Streams yield to newer ones only, and the
// newest of all is never reset. No request waits for longer than the timeout, unless an older
// stream of its client is just being registered again.
//
// Not promised: that never two streams live at once. An Envoy that does not reach etcd keeps its
// streams, and decides alone about new ones.
package fleet
