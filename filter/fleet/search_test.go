package fleet

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// found is a way to break the promise.
type found struct {
	broken string
	path   []event
}

func (f *found) Error() string {
	var path strings.Builder
	for _, e := range f.path {
		fmt.Fprintf(&path, "\n%s", e)
	}
	return "VIOLATION: " + f.broken + ", after" + path.String()
}

// verify checks the promise in a world, once it has come to rest.
func verify(w *world, path func() []event) error {
	r := w.clone()
	if !r.rest() {
		return &found{"the world does not come to rest", path()}
	}
	if broken := r.check(); broken != "" {
		return &found{broken, path()}
	}
	return nil
}

// search goes all ways from an empty world, the shortest first, and stops at a violation or after
// some states. It reports whether it has seen all.
func search(c size, mostStates int) (states int, all bool, err error) {
	type node struct {
		before int
		event
	}
	first := newWorld(c)
	seen := map[[16]byte]struct{}{first.fingerprint(): {}}
	nodes := []node{{before: -1}}
	pathTo := func(at int) (path []event) {
		for ; nodes[at].before >= 0; at = nodes[at].before {
			path = append([]event{nodes[at].event}, path...)
		}
		return path
	}
	base, level := 0, []*world{first}
	for len(level) > 0 {
		var next []*world
		for n, w := range level {
			level[n] = nil
			if err := verify(w, func() []event { return pathTo(base + n) }); err != nil {
				return base + n, false, err
			}
			for _, e := range w.events() {
				after := w.clone()
				after.do(e)
				f := after.fingerprint()
				if _, known := seen[f]; known {
					continue
				}
				seen[f] = struct{}{}
				nodes = append(nodes, node{base + n, e})
				next = append(next, after)
			}
			if len(seen) > mostStates {
				return base + n, false, nil
			}
		}
		base += len(level)
		level = next
	}
	return base, true, nil
}

// walk goes one random way to its end, and checks the promise at every step.
func walk(c size, seed uint64) (steps int, err error) {
	r := rand.New(rand.NewPCG(seed, 1))
	w := newWorld(c)
	var path []event
	for {
		events := w.events()
		if len(events) == 0 || len(path) > 400 {
			return len(path), nil
		}
		e := events[r.IntN(len(events))]
		w.do(e)
		path = append(path, e)
		if err := verify(w, func() []event { return path }); err != nil {
			return len(path), err
		}
	}
}

var one = []int{1}

// TestSearch goes all ways of small worlds. With -states it goes further.
func TestSearch(t *testing.T) {
	most := *mostStates
	if testing.Short() {
		most = min(most, 500)
	}
	for _, c := range searches {
		states, all, err := search(c, most)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
		}
		t.Logf("%+v: %d states, all: %t", c, states, all)
	}
}

var (
	mostStates = flag.Int("states", 2000, "states of each world that a search looks at")
	walks      = flag.Int("walks", 100, "random ways through each world")
	firstWalk  = flag.Uint64("seed", 1, "of the random ways")
)

// searches are worlds of one or two kinds of fault. The first two are small enough that TestSearch
// sees all of their states; -states lets it see more of the others.
var searches = []size{
	{workers: []int{1, 1}, streams: 2, most: one},
	{workers: []int{2}, streams: 2, most: one},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{losses: 1}},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{breaks: 1}},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{expiries: 1}},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{outages: 1}},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{crashes: 1}},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{losses: 1, ends: 1}, refuse: true},
	{workers: []int{1, 1}, streams: 2, most: one, faults: faults{outages: 1}, reject: true},
	{workers: []int{1, 1}, streams: 2, most: []int{1, 2}, faults: faults{losses: 1}},
	{workers: []int{1, 1}, streams: 3, most: one},
	{workers: []int{1, 1}, streams: 3, most: []int{2}, faults: faults{ends: 1}},
	{workers: []int{1, 1}, streams: 3, most: one, faults: faults{outages: 1}, skew: 25},
}

// TestWalks goes random ways through worlds that are too large to search.
func TestWalks(t *testing.T) {
	everything := faults{losses: 2, ends: 2, breaks: 2, expiries: 2, outages: 2, crashes: 1}
	walkAll(t, []size{
		{workers: []int{2, 1}, streams: 4, most: one, faults: everything},
		{workers: []int{2, 1}, streams: 4, most: []int{2}, faults: everything, looks: true},
		{workers: []int{2, 1}, streams: 4, most: one, faults: everything, refuse: true},
		{workers: []int{2, 1}, streams: 4, most: one, faults: everything, reject: true},
		{workers: []int{2, 1}, streams: 4, most: []int{1, 2}, faults: everything},
		{workers: []int{2, 1}, streams: 4, most: one, faults: everything, skew: 25},
		{workers: []int{1, 1, 1}, streams: 4, most: one, faults: faults{losses: 2, ends: 1, breaks: 2, expiries: 2, outages: 1}},
	})
}

func walkAll(t *testing.T, worlds []size) {
	for n, c := range worlds {
		steps := 0
		ways := *walks
		if testing.Short() {
			ways = min(ways, 30)
		}
		for seed := range uint64(ways) {
			n, err := walk(c, *firstWalk+seed)
			if steps += n; err != nil {
				t.Errorf("%+v, seed %d: %v", c, *firstWalk+seed, err)
				break
			}
		}
		t.Logf("world %d: %d ways, %d states", n, ways, steps)
	}
}
