package policy

import (
	"fmt"
	"slices"
	"testing"
)

// TestDecideExhaustive holds Decide against a plain reading of the promise, over every set of up to four registered
// claims, every newcomer's claim number among and around them, and every limit up to four.
func TestDecideExhaustive(t *testing.T) {
	const numbers = 6
	cases := 0
	for set := range 1 << numbers {
		var held []Stream
		for n := range numbers {
			if set&(1<<n) != 0 {
				held = append(held, Stream{Claim: uint64(2*n + 2), Context: uint32(n)})
			}
		}
		if len(held) > 4 {
			continue
		}
		for claim := uint64(1); claim <= 2*numbers+1; claim += 2 {
			for limit := 1; limit <= 4; limit++ {
				cases++
				newcomer := Stream{Claim: claim, Context: 99}
				before := slices.Clone(held)
				got := Decide(held, newcomer, Limits{MaxStreams: limit})
				want := newest(held, newcomer, limit)
				if !slices.Equal(got.Next, want.Next) || !slices.Equal(got.Superseded, want.Superseded) || got.Admitted != want.Admitted {
					t.Fatalf("Decide(%v, %v, %d)\n got %v\nwant %v", held, newcomer, limit, got, want)
				}
				if !slices.Equal(held, before) {
					t.Fatalf("Decide changed its input: %v, was %v", held, before)
				}
			}
		}
	}
	if cases < 1000 {
		t.Fatalf("only %d cases: the table has shrunk", cases)
	}
}

// newest is Decide as one would explain it: put all together, sort, and the newest limit stay.
func newest(held []Stream, newcomer Stream, limit int) Verdict {
	all := append(slices.Clone(held), newcomer)
	slices.SortFunc(all, func(a, b Stream) int { return int(a.Claim) - int(b.Claim) })
	var v Verdict
	for i, s := range all {
		if len(all)-i > limit {
			v.Superseded = append(v.Superseded, s)
			continue
		}
		v.Next = append(v.Next, s)
		v.Admitted = v.Admitted || s == newcomer
	}
	return v
}

func TestDecideSlicesAreIndependent(t *testing.T) {
	held := []Stream{{Claim: 1}, {Claim: 2}}
	v := Decide(held, Stream{Claim: 3}, Limits{MaxStreams: 2})
	v.Superseded = append(v.Superseded, Stream{Claim: 100})
	if v.Next[0].Claim != 2 {
		t.Fatalf("appending to Superseded wrote into Next: %v", v.Next)
	}
}

func ExampleDecide() {
	first := Stream{Claim: 1, Context: 7}
	v := Decide([]Stream{first}, Stream{Claim: 2, Context: 9}, Limits{MaxStreams: 1})
	fmt.Println("admitted:", v.Admitted)
	fmt.Println("superseded context:", v.Superseded[0].Context)
	// Output:
	// admitted: true
	// superseded context: 7
}
