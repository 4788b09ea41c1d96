package model

// The size of the world. A stream's worker is chosen when it opens; streams open in the order of
// their numbers.
const (
	mostStreams = 4
	mostWorkers = 3
	mostEvents  = 6 // on their way to one member; with more, etcd cancels the watch
	mostStrays  = 2 // Txns that nobody waits for any more, and that may still be carried out
)

// What has become of a stream.
const (
	unopened int8 = iota
	waiting       // its request or response is held until the verdict
	live
	hung    // ended by its own side: client or backend
	reset   // ended by us
	refused // never let in
	crashed // went with its worker's VM
)

// What a stream waits for.
const (
	idle     int8 = iota
	looking       // the answer to a Range
	claiming      // its Txn is on the way to etcd
	claimed       // its Txn was carried out; the answer is on the way
)

// txn is a claim or a return as it was sent: if nothing in the range has changed since revision r,
// those that are kept are still there, and the lease lives, put the own keys and delete those of
// the victims.
type txn struct {
	inc, r        int8
	victims, kept uint8
	stamp         int8
}

type stream struct {
	st, home int8
	stamp    int8 // its place in the order; fixed when it is let in
	inc      int8 // its member's incarnation under which it is known to be registered; 0: none
	reg      int8 // revision of that registration
	op       int8
	tx       txn
	ok       int8 // claimed: the revision
	sent     int8 // incarnation under which a Txn was last sent
	rel      int8 // a Release under this incarnation is still to be done
	check    bool // a list of the own keys lacked it while its Txn was under way

	// Not part of the protocol, for the promise only.
	yielded bool // a Txn or the local registry made it yield, rightly
	race    bool // an earlier stream was still undecided when it opened
}

type rec struct{ inc, mod, stamp int8 } // both keys of a stream; inc 0: absent

const (
	wasPut int8 = iota + 1
	wasDeleted
	leaseEnded // the sentinel is gone, with all the rest, in one revision
	list       // a list of the own keys that a broken watch is resumed from
)

type event struct {
	kind, k, rev int8
	mask         uint8 // list
	there        bool  // list: the sentinel is
}

type stray struct {
	on bool
	k  int8
	tx txn
}

type state struct {
	s      [mostStreams]stream
	rec    [mostStreams]rec
	loc    [mostStreams]int8 // its order in the registry of its Envoy; 0: it is not there
	inc    [mostWorkers]int8 // the member's incarnation (its lease, its prefix); 0: none
	up     [mostWorkers]bool
	q      [mostWorkers][mostEvents]event
	qn     [mostWorkers]int8
	z      [mostStrays]stray
	rev    int8
	leases uint16 // alive at etcd, by incarnation
	next   int8   // last incarnation
	opened int8
	seq    int8  // arrivals at the local registries (without the rule LocalOrder)
	down   uint8 // workers cut off from etcd
	bad    int8  // a property that was broken on the way

	crashes, expiries, losses, breaks, outages, ends int8
}

// What may be broken on the way.
const (
	fine int8 = iota
	inVain
	noReason
)

var badText = [...]string{
	"",
	"a stream was made to yield while fewer than MaxStreams newer ones were there",
	"a stream was reset that nobody had made to yield",
}
