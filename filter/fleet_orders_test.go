package main_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/etcdhost"
	"github.com/streamlatch/streamlatch/filter/fleet"
	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// orders calls run once for each order in which things can happen. choose(n) returns a number below
// n: over all runs each of them, with each way to choose before and after.
func orders(run func(choose func(n int) int)) (runs int) {
	type choice struct{ chosen, of int }
	var path []choice
	for {
		at := 0
		run(func(n int) int {
			if at == len(path) {
				path = append(path, choice{0, n})
			}
			at++
			return path[at-1].chosen
		})
		runs++
		for len(path) > 0 && path[len(path)-1].chosen == path[len(path)-1].of-1 {
			path = path[:len(path)-1]
		}
		if len(path) == 0 {
			return runs
		}
		path[len(path)-1].chosen++
	}
}

// Streams of a client open and end at two Envoys, and etcd carries out their requests, answers, and
// tells of changes: in every possible order, or if these are too many in some at random.
func TestFleetOrders(t *testing.T) {
	const reject, atRequest, two = `"on_duplicate": "reject_new"`, `"claim_at": "request"`, `"max_streams": 2`
	for _, c := range []struct {
		name, rule string
		before     string // places where a stream is open
		then       string // places where one opens meanwhile; "e": the first of these ends, "b": the last before
		random     int    // so many orders, as there are too many; 0: all
	}{
		{"a new client", ``, "", "02", 0},
		{"takeover", ``, "0", "2", 0},
		{"takeover and hang-up", ``, "0", "2e", 0},
		{"takeover and hang-up, claim at request", atRequest, "0", "2e", 0},
		{"two may stay, and one of them ends", two, "02", "1b", 0},
		{"reject_new", reject, "0", "2", 0},
		{"one Envoy", ``, "2", "01", 200},
		{"one worker", ``, "2", "00", 200},
		{"takeover by three", ``, "0", "123e", 200},
		{"takeover by three, claim at request", atRequest, "0", "123e", 200},
		{"two of five", two, "01", "230", 200},
		{"two of five, claim at request", two + `, ` + atRequest, "01", "230", 200},
		{"reject_new by three", reject, "", "0213", 200},
		{"reject_new by three, claim at request", reject + `, ` + atRequest, "", "0213", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, `"takeover_limit": false, "instance": [{"header": "x-instance"}]`+and(c.rule), "")
			leases := map[int]int64{}
			for place := range places {
				f.open(place, "somebody")
				leases[place] = f.Granted
				f.endAll()
			}
			stay := 1
			if strings.Contains(c.rule, two) {
				stay = 2
			}
			instance := 0
			run := func(choose func(int) int) {
				r := inOrder{fleetOf: f, leases: leases, choose: choose, instance: &instance}
				r.run(c.before, c.then)
				r.check(stay, strings.Contains(c.rule, reject))
				f.endAll()
			}
			if testing.Short() {
				c.random = 100
			}
			if c.random > 0 {
				random := rand.New(rand.NewPCG(1, 1))
				for range c.random {
					run(random.IntN)
				}
			} else {
				t.Logf("%d orders", orders(run))
			}
		})
	}
}

// inOrder is one order.
type inOrder struct {
	*fleetOf
	leases map[int]int64 // by place
	choose func(n int) int
	all    []*fleetStream
	hungUp *fleetStream // nil: none has
	began  int          // the length of etcd's history
	told   []string

	instance *int // the last one. A client that comes back under the same one is held.
}

func (r *inOrder) opens(place byte) {
	*r.instance++
	r.all = append(r.all, r.ask(int(place-'0'), "alice", "x-instance", fmt.Sprint(*r.instance)))
}

func (r *inOrder) run(before, then string) {
	r.began = len(r.History)
	for _, place := range []byte(before) {
		r.opens(place)
		r.settle()
		r.Run()
		r.settle()
		r.Run()
	}
	first := len(r.all)
	for {
		steps := r.Steps()
		n := len(steps)
		if len(then) > 0 {
			n++
		}
		if n == 0 {
			return
		}
		chosen := r.choose(n)
		switch {
		case chosen < len(steps):
			r.told = append(r.told, steps[chosen].String())
			r.do(steps[chosen])
		case then[0] == 'e', then[0] == 'b':
			if r.hungUp = r.all[first]; then[0] == 'b' {
				r.hungUp = r.all[first-1]
			}
			r.told = append(r.told, "hang up")
			r.hungUp.End()
			then = then[1:]
		default:
			r.told = append(r.told, "open at "+then[:1])
			r.opens(then[0])
			then = then[1:]
		}
		r.settle()
	}
}

// do lets a step happen. A look is answered when it is carried out: nobody sees the difference.
func (r *inOrder) do(s etcdhost.Step) {
	r.Do(s)
	if _, look := s.Request.(etcd.RangeRequest); look && s.Kind == etcdhost.Carry {
		s.Kind = etcdhost.Answer
		r.Do(s)
	}
}

// settle does what needs no order: wake-ups come, and the backend answers.
func (r *inOrder) settle() {
	for _, e := range r.edges {
		e.World.Run()
	}
	for _, s := range r.all {
		s.answer()
	}
	for _, e := range r.edges {
		e.World.Run()
	}
}

// check checks what is left: the streams with the largest stamps, or with reject_new the first that
// were registered. If one of these has hung up, others may have yielded to it or not: then it is
// those that etcd has.
func (r *inOrder) check(stay int, reject bool) {
	r.t.Helper()
	type put struct {
		*fleetStream
		stamp fleet.Stamp
	}
	var puts []put
	hungUp := false
	for _, c := range r.History[r.began:] {
		if !strings.HasPrefix(c.Key, "streamlatch/1/c/") || c.Deleted {
			continue
		}
		record, err := fleet.ParseRecord([]byte(c.Value))
		if err != nil {
			r.t.Fatal(err)
		}
		s := r.stream(c.Key)
		puts = append(puts, put{s, record.Stamp})
		hungUp = hungUp || s == r.hungUp
	}
	if !reject {
		slices.SortFunc(puts, func(a, b put) int { return cmp.Compare(b.stamp, a.stamp) })
	}
	var want []*fleetStream
	if hungUp {
		for _, k := range r.registeredStreams() {
			want = append(want, r.stream(k.Name))
		}
	} else {
		for _, p := range puts[:min(stay, len(puts))] {
			want = append(want, p.fleetStream)
		}
	}
	r.checkYields(stay)
	if r.wantOpen(want...); len(puts) == 0 && r.hungUp == nil || len(want) > stay {
		r.t.Errorf("%d streams were registered, and %d are left, want at most %d", len(puts), len(want), stay)
	}
	if r.t.Failed() {
		r.t.Fatalf("after: %s", strings.Join(r.told, ", "))
	}
}

// checkYields checks each Txn that made a stream yield: as many newer ones as may stay were there.
func (r *inOrder) checkYields(stay int) {
	r.t.Helper()
	stamps := map[string]fleet.Stamp{} // of the streams that etcd has
	for changes := r.History[r.began:]; len(changes) > 0; {
		n := 1
		for n < len(changes) && changes[n].Revision == changes[0].Revision {
			n++
		}
		claims := false
		var yield []fleet.Stamp
		for _, c := range changes[:n] {
			if !strings.HasPrefix(c.Key, "streamlatch/1/c/") {
				continue
			}
			if c.Deleted {
				yield = append(yield, stamps[c.Key])
				delete(stamps, c.Key)
				continue
			}
			record, err := fleet.ParseRecord([]byte(c.Value))
			if err != nil {
				r.t.Fatal(err)
			}
			claims, stamps[c.Key] = true, record.Stamp
		}
		for _, y := range yield {
			newer := 0
			for _, stamp := range stamps {
				if stamp > y {
					newer++
				}
			}
			if claims && newer < stay {
				r.t.Errorf("at revision %d a stream yields to %d newer ones, want %d", changes[0].Revision, newer, stay)
			}
		}
		changes = changes[n:]
	}
}

// stream returns the stream of a key in etcd.
func (r *inOrder) stream(key string) *fleetStream {
	for _, s := range r.all {
		if strings.HasSuffix(key, fmt.Sprintf("/%016x%08x", r.leases[s.place], s.ID())) {
			return s
		}
	}
	r.t.Fatalf("%s is the key of no stream", key)
	return nil
}
