package policy

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"
)

// Instances of a client. In the states below, A, B and C may have streams. D has none, but
// newcomers come from it too. E to H only occur among the superseded instances.
const (
	A Instance = iota + 1
	B
	C
	D
	E
	F
	G
	H
)

// interval is the FillInterval of the buckets below. start is when they were last filled.
const (
	interval = 10 * Second
	start    = int64(1_700_000_000_000)
)

// situation holds the arguments of Decide.
type situation struct {
	client   Client
	newcomer Stream
	limits   Limits
	full     bool
	now      int64
}

func (s situation) decide() Verdict { return Decide(s.client, s.newcomer, s.limits, s.full, s.now) }

func (s situation) at(now int64) situation {
	s.now = now
	return s
}

// holdings yields every list of at most limit streams whose instances are unknown, A, B or C. The
// claim numbers are even.
func holdings(limit int) iter.Seq[[]Stream] {
	return func(yield func([]Stream) bool) {
		todo := [][]Stream{nil}
		for len(todo) > 0 {
			held := todo[0]
			todo = todo[1:]
			if !yield(held) {
				return
			}
			for instance := Instance(0); instance <= C && len(held) < limit; instance++ {
				n := uint32(len(held) + 1)
				s := Stream{Claim: uint64(2 * n), Owner: Owner{uint16(n), 7}, Context: n, ClaimedAt: start - 1000, Instance: instance}
				todo = append(todo, append(slices.Clone(held), s))
			}
		}
	}
}

// possible reports whether a client can get into this state: an instance has at most one stream,
// and an instance with a stream is not superseded.
func possible(held []Stream, superseded []Instance) bool {
	seen := slices.Clone(superseded)
	for _, s := range held {
		if s.Instance != 0 && slices.Contains(seen, s.Instance) {
			return false
		}
		seen = append(seen, s.Instance)
	}
	return true
}

// supersededLists are the lists of superseded instances to try: every subset of A to D, and some
// lists of the maximal length.
var supersededLists = func() (lists [][]Instance) {
	for set := range 1 << 4 {
		var list []Instance
		for n := range 4 {
			if set&(1<<n) != 0 {
				list = append(list, Instance(n+1))
			}
		}
		lists = append(lists, list)
	}
	return append(lists, []Instance{E, F, G, H}, []Instance{A, E, F, G}, []Instance{E, B, F, D}, []Instance{E, F, G, C})
}()

// bucketState is a TokenBucket, the tokens missing from it, and the time.
type bucketState struct {
	bucket TokenBucket
	spent  Spent
	now    int64
}

// bucketStates returns small buckets with any number of missing tokens, at times before, at and
// after each fill.
func bucketStates() (all []bucketState) {
	// The second one is a limit that was turned off after tokens had been taken.
	all = append(all, bucketState{now: start}, bucketState{spent: Spent{2, start}, now: start + 1})
	ms := int64(interval)
	for _, b := range []TokenBucket{{1, 1, interval}, {1, 2, interval}, {2, 1, interval}, {2, 2, interval}, {3, 2, interval}} {
		all = append(all, bucketState{bucket: b, now: start})
		for spent := uint16(1); spent <= 4; spent++ { // more than MaxTokens: the bucket was larger
			for _, after := range []int64{-1000 * ms, -ms, -1, 0, 1, ms - 1, ms, ms + 1, 2*ms - 1, 2 * ms, 3*ms + 1, 1000 * ms} {
				all = append(all, bucketState{b, Spent{spent, start}, start + after})
			}
		}
	}
	return all
}

// situations yields every small situation: up to four streams with three bucket states, and up to
// two streams with all bucket states.
func situations() iter.Seq[situation] {
	few := []bucketState{
		{now: start},
		{TokenBucket{2, 1, interval}, Spent{1, start}, start + 1},
		{TokenBucket{1, 1, interval}, Spent{1, start}, start + 1},
	}
	return func(yield func(situation) bool) {
		for _, part := range []struct {
			held       int
			superseded [][]Instance
			buckets    []bucketState
		}{{4, supersededLists, few}, {2, [][]Instance{nil, {D}, {A, D}, {A, E, F, G}}, bucketStates()}} {
			for held := range holdings(part.held) {
				for _, superseded := range part.superseded {
					if !possible(held, superseded) {
						continue
					}
					for _, p := range part.buckets {
						for n := range 5 * 3 * 2 * 2 {
							s := situation{
								client:   memories[(n+len(held))%len(memories)](Client{Streams: held, Superseded: superseded, Spent: p.spent}, p.now),
								newcomer: Stream{Claim: 99, Owner: Owner{9, 9}, Context: 99, ClaimedAt: p.now, Instance: Instance(n % 5)},
								limits:   Limits{MaxStreams: 1 + n/5%3, RejectNew: n/15%2 == 1, TakeoverLimit: p.bucket},
								full:     n/30 == 1,
								now:      p.now,
							}
							if !yield(s) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// memories are what a client may have besides streams, superseded instances and spent tokens.
var memories = []func(Client, int64) Client{
	func(c Client, _ int64) Client { return c },
	func(c Client, now int64) Client { // nothing left for a reconnect
		c.Reconnects, c.MaxStreams, c.Until = Spent{uint16(ReconnectLimit.MaxTokens), now - 1}, 2, now+1
		return c
	},
	func(c Client, now int64) Client { // dismissed
		c.Reconnects, c.MaxStreams, c.Dismissed, c.Until = Spent{3, now - 7000}, 1, 1, now+1
		return c
	},
	func(c Client, now int64) Client { // dismissed, and that is over
		c.MaxStreams, c.Dismissed, c.Until = 3, 1, now
		return c
	},
}

func same(v, w Verdict) bool {
	return sameClient(v.Next, w.Next) && slices.Equal(v.Superseded, w.Superseded) &&
		v.Refusal == w.Refusal && v.Wait == w.Wait && v.Dismissed == w.Dismissed
}

func sameClient(c, d Client) bool {
	return slices.Equal(c.Streams, d.Streams) && slices.Equal(c.Superseded, d.Superseded) && c.Spent == d.Spent &&
		c.Reconnects == d.Reconnects && c.MaxStreams == d.MaxStreams && c.Dismissed == d.Dismissed && c.Until == d.Until
}

// TestDecideExhaustive compares Decide with the reference in every small situation.
func TestDecideExhaustive(t *testing.T) {
	outcomes := map[Refusal]int{}
	for s := range situations() {
		got, want := s.decide(), referenceDecide(s)
		outcomes[got.Refusal]++
		if !same(got, want) {
			t.Fatalf("%+v\n got %+v\nwant %+v", s, got, want)
		}
	}
	for _, why := range []Refusal{0, Duplicate, Superseded, TakeoverLimit, Overloaded} {
		if outcomes[why] < 10_000 {
			t.Errorf("only %d situations end with refusal %v, want at least 10000", outcomes[why], why)
		}
	}
	t.Logf("%v", outcomes)
}

// TestDecideInvariants checks what must be true of every verdict, independently of the reference.
func TestDecideInvariants(t *testing.T) {
	for s := range situations() {
		spare := Stream{Claim: 12345}
		held := append(slices.Clone(s.client.Streams), spare)
		known := append(slices.Clone(s.client.Superseded), 12345)
		before, given := s.client.At(s.now), s.client
		s.client.Streams, s.client.Superseded = held[:len(held)-1], known[:len(known)-1]
		v := s.decide()
		if fault := violation(s.client, s.limits, v); fault != "" {
			t.Fatalf("%+v\nverdict %+v: %s", s, v, fault)
		}
		switch n := len(v.Next.Streams); {
		case v.Refusal != 0 && (!sameClient(v.Next, before) || len(v.Superseded) != 0):
			t.Fatalf("%+v\nverdict %+v: a refusal changes the state", s, v)
		case v.Refusal == 0 && v.Next.Streams[n-1] != s.newcomer:
			t.Fatalf("%+v\nverdict %+v: the newcomer is not the newest", s, v)
		case s.full && n > len(before.Streams):
			t.Fatalf("%+v\nverdict %+v: a full Envoy gets one more stream", s, v)
		case v.Wait != 0 && v.Refusal != TakeoverLimit:
			t.Fatalf("%+v\nverdict %+v: Wait without TakeoverLimit", s, v)
		}
		// Writing to the verdict, up to the capacity of its slices, must not change the client or
		// the array behind it.
		for _, r := range [][]Stream{v.Next.Streams[:cap(v.Next.Streams)], v.Superseded[:cap(v.Superseded)]} {
			for i := range r {
				r[i] = Stream{Claim: 666}
			}
		}
		for i := range v.Next.Superseded[:cap(v.Next.Superseded)] {
			v.Next.Superseded[:cap(v.Next.Superseded)][i] = 666
		}
		if !slices.Equal(held, append(slices.Clone(given.Streams), spare)) || !slices.Equal(known, append(slices.Clone(given.Superseded), 12345)) {
			t.Fatalf("%+v: the verdict shares memory with the client: %v, %v", s, held, known)
		}
	}
}

// violation names the invariant that a verdict of Decide or Return breaks, or returns "".
func violation(client Client, limits Limits, v Verdict) string {
	inClaimOrder := func(streams []Stream) bool {
		return slices.IsSortedFunc(streams, func(a, b Stream) int { return int(a.Claim) - int(b.Claim) })
	}
	lowered := limits.RejectNew && len(client.Streams) > limits.MaxStreams
	switch n := len(v.Next.Streams); {
	case !inClaimOrder(v.Next.Streams):
		return "streams are not in claim order"
	case !inClaimOrder(v.Superseded):
		return "superseded streams are not oldest first"
	case v.Refusal == 0 && n > limits.MaxStreams && (!lowered || n > len(client.Streams)):
		return "more streams than MaxStreams"
	case len(v.Next.Superseded) > MaxSuperseded:
		return "too many superseded instances"
	case v.Dismissed:
		return "" // the returning stream was none of them
	case v.Refusal == 0 && n+len(v.Superseded) != len(client.Streams)+1:
		return "a stream is lost or duplicated"
	}
	for _, s := range client.Streams {
		if slices.Contains(v.Next.Streams, s) == slices.Contains(v.Superseded, s) {
			return fmt.Sprintf("%+v neither stays nor is superseded, or both", s)
		}
	}
	for i, instance := range v.Next.Superseded {
		if instance == 0 || slices.Contains(v.Next.Superseded[:i], instance) {
			return "a superseded instance is listed twice, or is unknown"
		}
		for _, s := range v.Next.Streams {
			if s.Instance == instance {
				return "a superseded instance has a stream"
			}
		}
	}
	return ""
}

// TestReconnectSucceeds: an instance that has a stream gets its next stream under any limits, and
// takes no token for a takeover. Only the ReconnectLimit can refuse it.
func TestReconnectSucceeds(t *testing.T) {
	cases := 0
	for s := range situations() {
		i := slices.IndexFunc(s.client.Streams, func(r Stream) bool { return r.Instance == s.newcomer.Instance })
		if s.newcomer.Instance == 0 || i < 0 {
			continue
		}
		v := s.decide()
		if s.client.Reconnects.Tokens == uint16(ReconnectLimit.MaxTokens) {
			if v.Refusal != TakeoverLimit {
				t.Fatalf("%+v\nverdict %+v: no token is left for a reconnect", s, v)
			}
			continue
		}
		cases++
		if v.Refusal != 0 || v.Next.Spent != s.client.Spent || !slices.Contains(v.Superseded, s.client.Streams[i]) {
			t.Fatalf("%+v\nverdict %+v", s, v)
		}
		for range 3 { // it reconnects again
			s.client, s.newcomer.Claim, s.newcomer.Context = v.Next, s.newcomer.Claim+1, s.newcomer.Context+1
			before := s.client
			if v = s.decide(); v.Refusal != 0 || v.Next.Spent != before.Spent || len(v.Superseded) != 1 || !slices.Equal(v.Next.Superseded, before.Superseded) {
				t.Fatalf("%+v\nverdict %+v", s, v)
			}
		}
	}
	if cases < 10_000 {
		t.Fatalf("only %d cases, want at least 10000", cases)
	}
}

// TestWaitIsExact: after Wait the client is admitted, one millisecond earlier it is still refused.
func TestWaitIsExact(t *testing.T) {
	cases := 0
	for s := range situations() {
		v := s.decide()
		if v.Refusal != TakeoverLimit {
			continue
		}
		cases++
		wait := int64(v.Wait)
		if wait < 1 || v.Wait > interval+maxLag {
			t.Fatalf("%+v: wait is %d ms, want 1 to %d", s, v.Wait, interval+maxLag)
		}
		if early := s.at(s.now + wait - 1).decide(); early.Refusal != TakeoverLimit {
			t.Fatalf("%+v: 1 ms before the wait of %d ms is over: %+v, want TakeoverLimit", s, v.Wait, early)
		}
		if then := s.at(s.now + wait).decide(); then.Refusal != 0 {
			t.Fatalf("%+v: after the wait of %d ms: %+v, want no refusal", s, v.Wait, then)
		}
	}
	if cases < 10_000 {
		t.Fatalf("only %d cases, want at least 10000", cases)
	}
}

// TestLaggingClock: a worker that has read the clock a little earlier than the last write neither
// gives a token back nor loses one. A time that no clock can have shown gives at most one extra
// fill, and the next fill comes after one interval, however often the client tries.
func TestLaggingClock(t *testing.T) {
	for _, back := range []Millis{1, maxLag, maxLag + 1, interval, Hour, 10_000 * Hour} {
		s := situation{limits: Limits{MaxStreams: 1, TakeoverLimit: TokenBucket{3, 1, interval}}, now: start}
		takeOver := func() bool {
			s.newcomer.Claim++
			v := s.decide()
			s.client = v.Next
			return v.Refusal == 0
		}
		for n := range 4 {
			if !takeOver() { // the first is no takeover and needs no token
				t.Fatalf("takeover %d refused", n)
			}
		}
		if takeOver() {
			t.Fatal("a stream was admitted without a token")
		}
		s.now -= int64(back)
		admitted := 0
		for range 10 {
			if takeOver() {
				admitted++
			}
		}
		most := 0
		if back > maxLag {
			most = 1
		}
		if admitted > most {
			t.Errorf("%d ms earlier: %d admitted at once, want at most %d", back, admitted, most)
		}
		s.now += int64(interval) + maxLag
		for range 10 {
			if takeOver() {
				admitted++
			}
		}
		if admitted < 1 || admitted > most+1 {
			t.Errorf("%d ms earlier: %d admitted within an interval, want 1 to %d", back, admitted, most+1)
		}
	}
}

// TestImpossibleTimes: no stored time locks a client out, even if the clock can never have shown
// it.
func TestImpossibleTimes(t *testing.T) {
	for _, since := range []int64{
		math.MinInt64, math.MinInt64 / 2, -1_200_000_000_000_000, -1_300_000_000_000_000, -1_500_000_000_000_000,
		-1, 0, 1, start + maxLag + 1, math.MaxInt64 / 2, math.MaxInt64,
	} {
		for _, b := range []TokenBucket{{1, 1, interval}, {MaxTokens, 1, interval}, {MaxTokens, MaxTokens, 1}} {
			s := situation{limits: Limits{MaxStreams: 1, TakeoverLimit: b}, newcomer: Stream{Claim: 2}, now: start}
			s.client = Client{Streams: []Stream{{Claim: 1}}, Spent: Spent{math.MaxUint16, since}}
			if v := s.decide(); v.Refusal != 0 {
				t.Errorf("tokens spent since %d, bucket %+v: refused as %v, wait %d ms", since, b, v.Refusal, v.Wait)
			}
		}
	}
}

// TestSupersededStaysOut: a superseded instance is refused while the client is at MaxStreams, and
// admitted when it is not.
func TestSupersededStaysOut(t *testing.T) {
	limits := Limits{MaxStreams: 2}
	var client Client
	claim := uint64(0)
	open := func(instance Instance) Verdict {
		claim++
		v := Decide(client, Stream{Claim: claim, Context: uint32(claim), Instance: instance}, limits, false, start+int64(claim)*int64(ReconnectLimit.FillInterval))
		client = v.Next
		return v
	}
	open(A)
	open(B)
	if v := open(C); v.Refusal != 0 || len(v.Superseded) != 1 || v.Superseded[0].Instance != A {
		t.Fatalf("C opens: %+v, want A superseded", v)
	}
	for range 100 {
		if v := open(A); v.Refusal != Superseded {
			t.Fatalf("A opens again: %+v, want a refusal", v)
		}
		if v := open(C); v.Refusal != 0 { // a reconnect of C must not let A in
			t.Fatalf("C reconnects: %+v, want no refusal", v)
		}
	}
	if v := open(0); v.Refusal != 0 || v.Superseded[0].Instance != B {
		t.Fatalf("an unknown instance opens: %+v, want B superseded", v)
	}
	if v := open(B); v.Refusal != Superseded {
		t.Fatalf("B opens again: %+v, want a refusal", v)
	}
	client.Streams = client.Streams[1:] // C closes its stream
	if v := open(A); v.Refusal != 0 || len(v.Superseded) != 0 || !slices.Equal(v.Next.Superseded, []Instance{B}) {
		t.Fatalf("A opens below MaxStreams: %+v, want it admitted and only B superseded", v)
	}
	if v := open(C); v.Refusal != 0 { // C closed its stream and was never superseded
		t.Fatalf("C opens again: %+v, want no refusal", v)
	}
}

// returns yields every small situation for Return. The claim number of the returning stream is odd,
// or that of a registered stream.
func returns() iter.Seq[situation] {
	return func(yield func(situation) bool) {
		for held := range holdings(4) {
			for _, superseded := range supersededLists {
				if !possible(held, superseded) {
					continue
				}
				for _, claim := range []uint64{1, 3, 4, 5, 7, 9} {
					for n := range 5 * 3 * 2 {
						s := situation{
							client:   memories[(n+len(held))%len(memories)](Client{Streams: held, Superseded: superseded, Spent: Spent{uint16(n % 2), start * int64(n%2)}}, start),
							newcomer: Stream{Claim: claim, Owner: Owner{9, 9}, Context: 99, ClaimedAt: start, Instance: Instance(n % 5)},
							limits:   Limits{MaxStreams: 1 + n/5%3, RejectNew: n/15 == 1},
							now:      start,
						}
						if !yield(s) {
							return
						}
					}
				}
			}
		}
	}
}

func TestReturnExhaustive(t *testing.T) {
	cases := 0
	for s := range returns() {
		cases++
		held := append(slices.Clone(s.client.Streams), Stream{Claim: 12345})
		known := append(slices.Clone(s.client.Superseded), 12345)
		s.client.Streams, s.client.Superseded = held[:len(held)-1], known[:len(known)-1]
		heldBefore, knownBefore := slices.Clone(held), slices.Clone(known)
		got, want := Return(s.client, s.newcomer, s.limits.MaxStreams, s.now), referenceReturn(s)
		if !same(got, want) {
			t.Fatalf("%+v\n got %+v\nwant %+v", s, got, want)
		}
		limits := s.limits
		limits.RejectNew = false
		if s.client.MaxStreams > 0 && len(s.client.Streams) > 0 {
			limits.MaxStreams = s.client.MaxStreams
		}
		if got.Dismissed || slices.ContainsFunc(s.client.Streams, func(r Stream) bool { return r.Claim == s.newcomer.Claim }) {
			limits.MaxStreams = max(limits.MaxStreams, len(s.client.Streams)) // nothing changes
		}
		if fault := violation(s.client, limits, got); fault != "" {
			t.Fatalf("%+v\nverdict %+v: %s", s, got, fault)
		}
		for _, r := range [][]Stream{got.Next.Streams[:cap(got.Next.Streams)], got.Superseded[:cap(got.Superseded)]} {
			for i := range r {
				r[i] = Stream{Claim: 666}
			}
		}
		for i := range got.Next.Superseded[:cap(got.Next.Superseded)] {
			got.Next.Superseded[:cap(got.Next.Superseded)][i] = 666
		}
		if !slices.Equal(held, heldBefore) || !slices.Equal(known, knownBefore) {
			t.Fatalf("%+v: the verdict shares memory with the client: %v, %v", s, held, known)
		}
	}
	if cases < 100_000 {
		t.Fatalf("only %d cases, want at least 100000", cases)
	}
}

// TestSlicesAreIndependent: appending to Superseded does not change Next.
func TestSlicesAreIndependent(t *testing.T) {
	held := Client{Streams: []Stream{{Claim: 1}, {Claim: 2}}}
	for name, v := range map[string]Verdict{
		"Decide": Decide(held, Stream{Claim: 3}, Limits{MaxStreams: 2}, false, start),
		"Return": Return(held, Stream{Claim: 3}, 2, start),
	} {
		_ = append(v.Superseded, Stream{Claim: 100})
		if v.Next.Streams[0].Claim != 2 {
			t.Errorf("%s: appending to Superseded wrote into Next: %v", name, v.Next)
		}
	}
}

func TestRefusalString(t *testing.T) {
	want := []string{"duplicate", "superseded", "takeover_limit", "overloaded", "contended", "too_long", "unavailable"}
	for i, why := range Refusals {
		if int(why) != i+1 || why.String() != want[i] {
			t.Errorf("refusal %d is %v, want %s", i, why, want[i])
		}
	}
	if got := Refusal(9).String(); got != "Refusal(9)" {
		t.Errorf("got %q, want %q", got, "Refusal(9)")
	}
}

// A page opens a stream. A second page of the same client supersedes it. Then the automatic
// reconnect of the first page is refused.
func ExampleDecide() {
	const firstPage, secondPage Instance = 0xa, 0xb
	limits := Limits{MaxStreams: 1}

	v := Decide(Client{}, Stream{Claim: 1, Context: 7, Instance: firstPage}, limits, false, 0)
	fmt.Println("first page:", len(v.Next.Streams), "stream")

	v = Decide(v.Next, Stream{Claim: 2, Context: 9, Instance: secondPage}, limits, false, 0)
	fmt.Println("second page: supersedes the stream with context", v.Superseded[0].Context)

	v = Decide(v.Next, Stream{Claim: 3, Context: 11, Instance: firstPage}, limits, false, 0)
	fmt.Println("first page again:", v.Refusal)
	// Output:
	// first page: 1 stream
	// second page: supersedes the stream with context 7
	// first page again: superseded
}

// What is remembered about a client survives in a client of another clock: its tokens are spent for
// as long as they would have been.
func TestRemember(t *testing.T) {
	const ahead = 1_700_000_000_000
	limits := Limits{MaxStreams: 1, TakeoverLimit: TokenBucket{1, 1, interval}}
	v := Decide(Client{Streams: []Stream{{Claim: 1, Instance: A}}}, Stream{Claim: 2, Instance: B}, limits, false, start+ahead)
	if v.Refusal != 0 {
		t.Fatal(v.Refusal)
	}
	client := Client{Streams: []Stream{{Claim: 2, Instance: B}}}.Remember(v.Next.Memory().Shift(-ahead), limits, start)
	if client.Until != start+int64(interval) {
		t.Errorf("it is kept until %d, want %d", client.Until, start+int64(interval))
	}
	if got := client.Without(func(Stream) bool { return true }, start).Spent.Tokens; got != 1 {
		t.Errorf("after the last stream %d tokens are spent, want 1", got)
	}
	if v := Decide(client, Stream{Claim: 3, Instance: A}, limits, false, start); v.Refusal != Superseded {
		t.Errorf("the superseded instance: %v, want superseded", v.Refusal)
	}
	if v := Decide(client, Stream{Claim: 3, Instance: C}, limits, false, start+int64(interval)-1); v.Refusal != TakeoverLimit || v.Wait != 1 {
		t.Errorf("another: %v for %d ms, want takeover_limit for 1 ms", v.Refusal, v.Wait)
	}
	if v := Decide(client, Stream{Claim: 3, Instance: C}, limits, false, start+int64(interval)); v.Refusal != 0 {
		t.Errorf("another, later: %v, want it admitted", v.Refusal)
	}
	if got := (Memory{}).Shift(ahead); got.Spent != (Spent{}) {
		t.Errorf("a full bucket has become %+v", got.Spent)
	}
}
