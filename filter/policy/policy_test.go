package policy

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"
)

// Instances of a client. The newcomers' D holds nothing in any state below, and E to H are only remembered.
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

// interval is the FillInterval of the buckets below, and start the time at which one was last filled.
const (
	interval = 10 * Second
	start    = int64(1_700_000_000_000)
)

// situation is what Decide is asked.
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

// holdings yields the streams of a client, up to so many, of every instance among none, A, B and C. Their claim
// numbers are even.
func holdings(most int) iter.Seq[[]Stream] {
	return func(yield func([]Stream) bool) {
		todo := [][]Stream{nil}
		for len(todo) > 0 {
			held := todo[0]
			todo = todo[1:]
			if !yield(held) {
				return
			}
			for instance := Instance(0); instance <= C && len(held) < most; instance++ {
				n := uint32(len(held) + 1)
				s := Stream{Claim: uint64(2 * n), Owner: Owner{uint16(n), 7}, Context: n, ClaimedAt: start - 1000, Instance: instance}
				todo = append(todo, append(slices.Clone(held), s))
			}
		}
	}
}

// possible reports whether a client may come to hold these: a page has one stream, and has not lost what it holds.
func possible(held []Stream, superseded []Instance) bool {
	taken := slices.Clone(superseded)
	for _, s := range held {
		if s.Instance != 0 && slices.Contains(taken, s.Instance) {
			return false
		}
		taken = append(taken, s.Instance)
	}
	return true
}

// memories are the instances that a client may have lost: every subset of A to D, and as many as are remembered.
var memories = func() (lists [][]Instance) {
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

// purse is a TokenBucket, what is spent of it, and the time.
type purse struct {
	bucket TokenBucket
	spent  Spent
	now    int64
}

// purses yields buckets of no, one and two tokens, more or less spent, at times before, at and after each fill.
func purses() (all []purse) {
	all = append(all, purse{now: start}, purse{spent: Spent{2, start}, now: start + 1}) // the limit was turned off
	ms := int64(interval)
	for _, b := range []TokenBucket{{1, 1, interval}, {1, 2, interval}, {2, 1, interval}, {2, 2, interval}, {3, 2, interval}} {
		all = append(all, purse{bucket: b, now: start})
		for spent := uint16(1); spent <= 4; spent++ { // more than there are: the bucket was larger
			for _, after := range []int64{-1000 * ms, -ms, -1, 0, 1, ms - 1, ms, ms + 1, 2*ms - 1, 2 * ms, 3*ms + 1, 1000 * ms} {
				all = append(all, purse{b, Spent{spent, start}, start + after})
			}
		}
	}
	return all
}

// situations yields every small situation: all combinations of holders, memory and limits with three purses, and of
// all purses with few holders.
func situations() iter.Seq[situation] {
	few := []purse{
		{now: start},
		{TokenBucket{2, 1, interval}, Spent{1, start}, start + 1},
		{TokenBucket{1, 1, interval}, Spent{1, start}, start + 1},
	}
	return func(yield func(situation) bool) {
		for _, part := range []struct {
			held     int
			memories [][]Instance
			purses   []purse
		}{{4, memories, few}, {2, [][]Instance{nil, {D}, {A, D}, {A, E, F, G}}, purses()}} {
			for held := range holdings(part.held) {
				for _, superseded := range part.memories {
					if !possible(held, superseded) {
						continue
					}
					for _, p := range part.purses {
						for n := range 5 * 3 * 2 * 2 {
							s := situation{
								client:   Client{held, superseded, p.spent},
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

func same(v, w Verdict) bool {
	return sameClient(v.Next, w.Next) && slices.Equal(v.Superseded, w.Superseded) && v.Refusal == w.Refusal && v.Wait == w.Wait
}

func sameClient(c, d Client) bool {
	return slices.Equal(c.Streams, d.Streams) && slices.Equal(c.Superseded, d.Superseded) && c.Spent == d.Spent
}

// TestDecideExhaustive holds Decide against the tale of it, in every small situation.
func TestDecideExhaustive(t *testing.T) {
	outcomes := map[Refusal]int{}
	for s := range situations() {
		got, want := s.decide(), tale(s)
		outcomes[got.Refusal]++
		if !same(got, want) {
			t.Fatalf("%+v\n got %+v\nwant %+v", s, got, want)
		}
	}
	for _, why := range []Refusal{0, Duplicate, Superseded, TakeoverLimit, Overloaded} {
		if outcomes[why] < 10_000 {
			t.Errorf("only %d situations end with %v: the table has shrunk", outcomes[why], why)
		}
	}
	t.Logf("%v", outcomes)
}

// TestDecideKeepsItsPromises: what holds of every verdict, however it is come to.
func TestDecideKeepsItsPromises(t *testing.T) {
	for s := range situations() {
		spare := Stream{Claim: 12345}
		held := append(slices.Clone(s.client.Streams), spare)
		known := append(slices.Clone(s.client.Superseded), 12345)
		before := s.client
		s.client.Streams, s.client.Superseded = held[:len(held)-1], known[:len(known)-1]
		v := s.decide()
		if fault := broken(s.client, s.newcomer, s.limits, v); fault != "" {
			t.Fatalf("%+v\nverdict %+v: %s", s, v, fault)
		}
		switch n := len(v.Next.Streams); {
		case v.Refusal != 0 && (!sameClient(v.Next, before) || len(v.Superseded) != 0):
			t.Fatalf("%+v\nverdict %+v: a refusal changes something", s, v)
		case v.Refusal == 0 && v.Next.Streams[n-1] != s.newcomer:
			t.Fatalf("%+v\nverdict %+v: the newcomer is not the newest", s, v)
		case s.full && n > len(before.Streams):
			t.Fatalf("%+v\nverdict %+v: a full Envoy has one stream more", s, v)
		case v.Wait != 0 && v.Refusal != TakeoverLimit:
			t.Fatalf("%+v\nverdict %+v: nothing to wait for", s, v)
		}
		// Whatever is written into the verdict is not written into the client, nor behind it.
		for _, r := range [][]Stream{v.Next.Streams[:cap(v.Next.Streams)], v.Superseded[:cap(v.Superseded)]} {
			for i := range r {
				r[i] = Stream{Claim: 666}
			}
		}
		for i := range v.Next.Superseded[:cap(v.Next.Superseded)] {
			v.Next.Superseded[:cap(v.Next.Superseded)][i] = 666
		}
		if !slices.Equal(held, append(slices.Clone(before.Streams), spare)) || !slices.Equal(known, append(slices.Clone(before.Superseded), 12345)) {
			t.Fatalf("%+v: the verdict shares the client's memory: %v, %v", s, held, known)
		}
	}
}

// broken says what is wrong with a verdict on a client, whoever gave it.
func broken(client Client, newcomer Stream, limits Limits, v Verdict) string {
	claims := func(streams []Stream) bool {
		return slices.IsSortedFunc(streams, func(a, b Stream) int { return int(a.Claim) - int(b.Claim) })
	}
	lowered := limits.RejectNew && len(client.Streams) > limits.MaxStreams
	switch n := len(v.Next.Streams); {
	case !claims(v.Next.Streams):
		return "streams are not in claim order"
	case !claims(v.Superseded):
		return "those that yield are not oldest first"
	case v.Refusal == 0 && n > limits.MaxStreams && (!lowered || n > len(client.Streams)):
		return "more streams than may be"
	case len(v.Next.Superseded) > MaxSuperseded:
		return "too many instances are remembered"
	case v.Refusal == 0 && n+len(v.Superseded) != len(client.Streams)+1:
		return "a stream is lost, or there twice"
	}
	for _, s := range client.Streams {
		if slices.Contains(v.Next.Streams, s) == slices.Contains(v.Superseded, s) {
			return fmt.Sprintf("%+v neither stays nor yields, or does both", s)
		}
	}
	for i, instance := range v.Next.Superseded {
		if instance == 0 || slices.Contains(v.Next.Superseded[:i], instance) {
			return "an instance is remembered twice, or is none"
		}
		for _, s := range v.Next.Streams {
			if s.Instance == instance {
				return "a remembered instance holds a stream"
			}
		}
	}
	return ""
}

// TestReconnectAlwaysSucceeds: a page that holds a stream gets the next one, whatever the limits, and it costs nothing.
func TestReconnectAlwaysSucceeds(t *testing.T) {
	cases := 0
	for s := range situations() {
		i := slices.IndexFunc(s.client.Streams, func(r Stream) bool { return r.Instance == s.newcomer.Instance })
		if s.newcomer.Instance == 0 || i < 0 {
			continue
		}
		cases++
		v := s.decide()
		if v.Refusal != 0 || v.Next.Spent != s.client.Spent || !slices.Contains(v.Superseded, s.client.Streams[i]) {
			t.Fatalf("%+v\nverdict %+v", s, v)
		}
		for range 3 { // and again, and again
			s.client, s.newcomer.Claim, s.newcomer.Context = v.Next, s.newcomer.Claim+1, s.newcomer.Context+1
			was := s.client
			if v = s.decide(); v.Refusal != 0 || v.Next.Spent != was.Spent || len(v.Superseded) != 1 || !slices.Equal(v.Next.Superseded, was.Superseded) {
				t.Fatalf("%+v\nverdict %+v", s, v)
			}
		}
	}
	if cases < 10_000 {
		t.Fatalf("only %d cases", cases)
	}
}

// TestWaitIsExact: a client that is told to wait is still refused a millisecond before, and comes in then.
func TestWaitIsExact(t *testing.T) {
	cases := 0
	for s := range situations() {
		v := s.decide()
		if v.Refusal != TakeoverLimit {
			continue
		}
		cases++
		wait := int64(v.Wait)
		if wait < 1 || v.Wait > interval {
			t.Fatalf("%+v: told to wait for %v", s, v.Wait)
		}
		if early := s.at(s.now + wait - 1).decide(); early.Refusal != TakeoverLimit {
			t.Fatalf("%+v: told to wait for %v, and a millisecond before: %+v", s, v.Wait, early)
		}
		if then := s.at(s.now + wait).decide(); then.Refusal != 0 {
			t.Fatalf("%+v: told to wait for %v, and then: %+v", s, v.Wait, then)
		}
	}
	if cases < 10_000 {
		t.Fatalf("only %d cases", cases)
	}
}

// TestClockSetBack: nobody is locked out until the clock is where it was, however often they try, and nobody gets more
// than one fill by it.
func TestClockSetBack(t *testing.T) {
	for _, back := range []Millis{1, Second, interval, Hour, 10_000 * Hour} {
		s := situation{limits: Limits{MaxStreams: 1, TakeoverLimit: TokenBucket{3, 1, interval}}, now: start}
		takeOver := func() bool {
			s.newcomer.Claim++
			v := s.decide()
			s.client = v.Next
			return v.Refusal == 0
		}
		for n := range 4 {
			if !takeOver() { // the first one takes over from nobody
				t.Fatalf("takeover %d refused", n)
			}
		}
		if takeOver() {
			t.Fatal("no token is left, and a stream came in")
		}
		s.now -= int64(back)
		came := 0
		for range 10 {
			if takeOver() {
				came++
			}
		}
		if came > 1 {
			t.Errorf("set back by %v: %d came in at once", back, came)
		}
		s.now += int64(interval)
		for range 10 {
			if takeOver() {
				came++
			}
		}
		if came < 1 || came > 2 {
			t.Errorf("set back by %v: %d came in within an interval", back, came)
		}
	}
}

// TestTimesThatCannotBe: whatever stands in the store, nobody is locked out for longer than an interval.
func TestTimesThatCannotBe(t *testing.T) {
	for _, since := range []int64{math.MinInt64, math.MinInt64 / 2, -1_200_000_000_000_000, -1_300_000_000_000_000, -1_500_000_000_000_000, -1, 0, 1, start + 1, math.MaxInt64 / 2, math.MaxInt64} {
		for _, b := range []TokenBucket{{1, 1, interval}, {MaxTokens, 1, interval}, {MaxTokens, MaxTokens, 1}} {
			s := situation{limits: Limits{MaxStreams: 1, TakeoverLimit: b}, newcomer: Stream{Claim: 2}, now: start}
			s.client = Client{Streams: []Stream{{Claim: 1}}, Spent: Spent{math.MaxUint16, since}}
			if v := s.decide(); v.Refusal != 0 {
				t.Errorf("tokens spent since %d, bucket %+v: %v, wait %v", since, b, v.Refusal, v.Wait)
			}
		}
	}
}

// TestLoserStaysOut: of two pages the one that lost is refused as long as the client is at its limit, and comes in
// when a place is free.
func TestLoserStaysOut(t *testing.T) {
	limits := Limits{MaxStreams: 2}
	var client Client
	claim := uint64(0)
	open := func(instance Instance) Verdict {
		claim++
		v := Decide(client, Stream{Claim: claim, Context: uint32(claim), Instance: instance}, limits, false, start)
		client = v.Next
		return v
	}
	open(A)
	open(B)
	if v := open(C); v.Refusal != 0 || len(v.Superseded) != 1 || v.Superseded[0].Instance != A {
		t.Fatalf("C: %+v, want A to yield", v)
	}
	for range 100 {
		if v := open(A); v.Refusal != Superseded {
			t.Fatalf("A again: %+v", v)
		}
		if v := open(C); v.Refusal != 0 { // C's network is bad, and that is not A's chance
			t.Fatalf("C again: %+v", v)
		}
	}
	if v := open(0); v.Refusal != 0 || v.Superseded[0].Instance != B {
		t.Fatalf("one that is not known: %+v, want B to yield", v)
	}
	if v := open(B); v.Refusal != Superseded {
		t.Fatalf("B again: %+v", v)
	}
	client.Streams = client.Streams[1:] // C leaves
	if v := open(A); v.Refusal != 0 || len(v.Superseded) != 0 || !slices.Equal(v.Next.Superseded, []Instance{B}) {
		t.Fatalf("A, with a place free: %+v", v)
	}
	if v := open(C); v.Refusal != 0 { // it left of itself
		t.Fatalf("C again: %+v", v)
	}
}

// returns yields every small situation in which a stream comes back: its claim number is odd, or that of another.
func returns() iter.Seq[situation] {
	return func(yield func(situation) bool) {
		for held := range holdings(4) {
			for _, superseded := range memories {
				if !possible(held, superseded) {
					continue
				}
				for _, claim := range []uint64{1, 3, 4, 5, 7, 9} {
					for n := range 5 * 3 * 2 {
						s := situation{
							client:   Client{held, superseded, Spent{uint16(n % 2), start * int64(n%2)}},
							newcomer: Stream{Claim: claim, Owner: Owner{9, 9}, Context: 99, ClaimedAt: start, Instance: Instance(n % 5)},
							limits:   Limits{MaxStreams: 1 + n/5%3, RejectNew: n/15 == 1},
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
		got, want := Return(s.client, s.newcomer, s.limits), returnTale(s)
		if !same(got, want) {
			t.Fatalf("%+v\n got %+v\nwant %+v", s, got, want)
		}
		limits := s.limits
		limits.RejectNew = false
		if slices.ContainsFunc(s.client.Streams, func(r Stream) bool { return r.Claim == s.newcomer.Claim }) {
			limits.MaxStreams = max(limits.MaxStreams, len(s.client.Streams)) // all stay as they are
		}
		if fault := broken(s.client, s.newcomer, limits, got); fault != "" {
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
			t.Fatalf("%+v: the verdict shares the client's memory: %v, %v", s, held, known)
		}
	}
	if cases < 100_000 {
		t.Fatalf("only %d cases: the table has shrunk", cases)
	}
}

// TestSlicesAreIndependent: what yields can be appended to, and what stays does not change.
func TestSlicesAreIndependent(t *testing.T) {
	held := Client{Streams: []Stream{{Claim: 1}, {Claim: 2}}}
	for name, v := range map[string]Verdict{
		"Decide": Decide(held, Stream{Claim: 3}, Limits{MaxStreams: 2}, false, start),
		"Return": Return(held, Stream{Claim: 3}, Limits{MaxStreams: 2}),
	} {
		_ = append(v.Superseded, Stream{Claim: 100})
		if v.Next.Streams[0].Claim != 2 {
			t.Errorf("%s: appending to Superseded wrote into Next: %v", name, v.Next)
		}
	}
}

func TestRefusalString(t *testing.T) {
	want := []string{"duplicate", "superseded", "takeover_limit", "overloaded", "contended"}
	for i, why := range Refusals {
		if int(why) != i+1 || why.String() != want[i] {
			t.Errorf("refusal %d is %v, want %s", i, why, want[i])
		}
	}
	if got := Refusal(9).String(); got != "Refusal(9)" {
		t.Errorf("an unknown refusal is %q", got)
	}
}

// A page opens a stream, a second page of the same client takes its place, and the first one's automatic reconnect is
// turned away.
func ExampleDecide() {
	const firstPage, secondPage Instance = 0xa, 0xb
	limits := Limits{MaxStreams: 1}

	v := Decide(Client{}, Stream{Claim: 1, Context: 7, Instance: firstPage}, limits, false, 0)
	fmt.Println("first page:", len(v.Next.Streams), "stream")

	v = Decide(v.Next, Stream{Claim: 2, Context: 9, Instance: secondPage}, limits, false, 0)
	fmt.Println("second page: ends the stream with context", v.Superseded[0].Context)

	v = Decide(v.Next, Stream{Claim: 3, Context: 11, Instance: firstPage}, limits, false, 0)
	fmt.Println("first page again:", v.Refusal)
	// Output:
	// first page: 1 stream
	// second page: ends the stream with context 7
	// first page again: superseded
}
