package model

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
)

// Config is the size of a search.
type Config struct {
	MaxStreams       int   // that the client may have
	SecondMaxStreams int   // in the configuration of the second Envoy; 0: the same
	Workers          []int // of each Envoy; up to three in all
	Streams          int   // that are opened, up to four
	Skew             int   // worker i's clock is i times this ahead; opens are 10 apart

	RefuseUnavailable bool // on_unavailable: refuse
	RejectNew         bool // on_duplicate: reject_new

	// How many of each may happen.
	Crashes  int // of a worker's VM
	Expiries int // of leases whose member lives
	Losses   int // of requests that are given up on while etcd can be reached
	Breaks   int // of watches
	Outages  int // of one Envoy or all, which do not reach etcd
	Ends     int // of streams, by their own side

	Without   Rule // that is left out; 0: none
	MaxStates int  // states after which the search stops; 0: it does not
}

// A Result is what a search found.
type Result struct {
	States    int        // that were checked
	Exhausted bool       // they are all there are
	Violation *Violation // nil: there is none
}

// A Violation is a way to break the promise.
type Violation struct {
	Broken string   // the part of the promise
	Path   []string // what happened, before all faults stopped and all was answered
}

// A machine is a configuration with what follows from it.
type machine struct {
	Config
	envoy   [mostWorkers]int8 // of each worker
	workers int8
}

func newMachine(c Config) (m *machine, start state) {
	m = &machine{Config: c}
	for e, n := range c.Workers {
		for range n {
			m.envoy[m.workers] = int8(e)
			m.workers++
		}
	}
	start = state{
		rev: 1, crashes: int8(c.Crashes), expiries: int8(c.Expiries), losses: int8(c.Losses),
		breaks: int8(c.Breaks), outages: int8(c.Outages), ends: int8(c.Ends),
	}
	m.canon(&start)
	return m, start
}

// broken returns what part of the promise does not hold once s has come to rest.
func (m *machine) broken(s state) string {
	rest, ok := m.drain(s)
	if !ok {
		return "the world does not come to rest"
	}
	return m.check(&rest)
}

// Search reaches all states that c allows, nearest first, and stops at the first violation. States
// are known by 64-bit fingerprints.
func Search(c Config) Result {
	m, start := newMachine(c)
	seed := maphash.MakeSeed()
	type origin struct{ before, nth int }
	seen := map[uint64]struct{}{maphash.Comparable(seed, start): {}}
	origins := []origin{{before: -1}}
	base, level := 0, []state{start}
	for len(level) > 0 {
		var next []state
		for i := range level {
			if broken := m.broken(level[i]); broken != "" {
				var ways []int
				for at := base + i; origins[at].before >= 0; at = origins[at].before {
					ways = append([]int{origins[at].nth}, ways...)
				}
				return Result{States: base + i, Violation: &Violation{broken, m.follow(start, ways)}}
			}
			nth := 0
			m.next(&level[i], func(t state, _ string) {
				if h := maphash.Comparable(seed, t); !has(seen, h) {
					seen[h] = struct{}{}
					origins = append(origins, origin{base + i, nth})
					next = append(next, t)
				}
				nth++
			})
			if c.MaxStates > 0 && len(seen) > c.MaxStates {
				return Result{States: base + i}
			}
		}
		base += len(level)
		level = next
	}
	return Result{States: base, Exhausted: true}
}

func has(seen map[uint64]struct{}, h uint64) bool {
	_, found := seen[h]
	return found
}

// Walk goes a random way from the start to its end, and checks every state on it.
func Walk(c Config, seed uint64) Result {
	m, s := newMachine(c)
	start := s
	r := rand.New(rand.NewPCG(seed, 0))
	var ways []int
	for {
		var all []state
		m.next(&s, func(t state, _ string) { all = append(all, t) })
		if len(all) == 0 {
			return Result{States: len(ways)}
		}
		way := r.IntN(len(all))
		s, ways = all[way], append(ways, way)
		if broken := m.broken(s); broken != "" {
			return Result{States: len(ways), Violation: &Violation{broken, m.follow(start, ways)}}
		}
	}
}

// follow tells what happens on a way.
func (m *machine) follow(s state, ways []int) (path []string) {
	for _, way := range ways {
		var after state
		nth := 0
		m.next(&s, func(t state, what string) {
			if nth == way {
				after = t
				path = append(path, what)
			}
			nth++
		})
		s = after
	}
	return path
}

func (v Violation) String() string {
	text := v.Broken + ", after"
	for _, what := range v.Path {
		text += fmt.Sprintf("\n%s", what)
	}
	return text
}
