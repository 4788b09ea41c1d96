// Package model is the fleet's protocol as a small state machine, and a search of all that can
// happen to it.
//
// The world is one client, some Envoys with some workers each, and one etcd. A member is a worker
// with its lease and its watch. Requests wait, are carried out late, or lose their answer. Watches
// lag and break. Leases end while their member lives, or after its crash. One Envoy, or all, may
// not reach etcd. Clients hang up. Each of these may happen at any moment, as often as [Config]
// allows.
//
// # What is promised
//
// In every state that the search reaches, all faults stop, and what is on the way arrives. Then
// this must hold:
//
//   - the client has at most MaxStreams live streams in all Envoys;
//   - each of them is registered, in etcd and in its Envoy, under the stamp that it has;
//   - no key is without a live stream, and none outlives its lease;
//   - a stream yields only to MaxStreams newer ones that hold their places at that moment;
//   - the newest of all was not reset; and if none has ended by itself, the newest are left.
//
// The search is breadth first, so the way to a violation is one of the shortest. [Rules] lists what
// the fleet does for this. Without each of them the search finds a violation, and a test sees it.
//
// # What the model leaves out
//
// Takeover tokens, instances, the bound of streams that yield in one Txn, several members of one
// worker, dismissals, and an etcd that was restored from a backup. That etcd is linearizable and
// its watches are in order is assumed. A Txn that loses its race is decided about again in the same
// step as it fails: in package fleet the answer may be late, and a list of the own keys may
// overtake it. The tests of that package run its code through the same events and faults.
//
// # Longer searches
//
// Tests take seconds. The flag -states makes each search longer:
//
//	go test ./filter/fleet/model -run TestSearch -v -states 300000
//	go test ./filter/fleet/model -run TestWalks -v -walks 150000
//
// The model that this one was made from had no violation in 27 searches of up to 16 million states,
// with states known by their fingerprints only, and in 4.35 million random ways. This package has
// not searched so far.
package model
