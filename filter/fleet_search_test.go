package main_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/etcdhost"
	"github.com/streamlatch/streamlatch/host"
)

var (
	fleetSearches = flag.Uint64("fleet-searches", 12, "TestFleetSearch: how many searches")
	fleetSeed     = flag.Uint64("fleet-seed", 0, "TestFleetSearch: the seed of the first search, as a failing test prints it")
)

// Clients open and close streams at two Envoys, and all faults happen, in random orders: requests
// to etcd are carried out late, or never, watches break, leases end, VMs crash, an Envoy stands
// still. When all is quiet again, the promise must hold. Package fleet searches its own code in
// more ways. Here the session, the registry and Envoy's rules take part.
func TestFleetSearch(t *testing.T) {
	t.Parallel()
	searches := *fleetSearches
	if testing.Short() {
		searches = min(searches, 3)
	}
	total := sights{}
	for seed := *fleetSeed; seed < *fleetSeed+searches; seed++ {
		s := newFleetSearch(t, seed)
		s.sights = total
		for range 4 {
			s.episode()
			if t.Failed() {
				t.Fatalf("replay: go test ./filter -run TestFleetSearch -fleet-searches 1 -fleet-seed %d\n%s", seed, strings.Join(s.told, "\n"))
			}
		}
		for _, what := range seen {
			if what != sawNewest {
				total[what] += int(s.counts(what))
			}
		}
	}
	t.Logf("%d searches: %v", searches, total)
	for _, what := range seen {
		if total[what] == 0 && !testing.Short() {
			t.Errorf("no search has counted %s: it does not see what it is for", what)
		}
	}
}

// seen are the metrics that searches must move.
var seen = []string{
	"events.opened", "events.superseded", "events.dismissed", "fleet_unavailable", "fleet_returned",
	"fleet_leases_lost", "fleet_resyncs", "fleet_ghosts", sawNewest,
}

const sawNewest = "newest stream that nobody may end"

type fleetSearch struct {
	*fleetOf
	r      *rand.Rand
	most   int // max_streams
	reject bool
	late   []etcdhost.Step // requests that may be carried out, whoever waits for them
	opened int
	told   []string // of this episode
	sights sights   // the filters' counters

	settled map[string]bool // clients of whom nothing has been on the way for a while
	last    map[string]*fleetStream
	newest  map[string]bool // last opened when its client was settled: it is the newest
}

func newFleetSearch(t *testing.T, seed uint64) *fleetSearch {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &fleetSearch{r: r, most: 1 + r.IntN(2), reject: r.IntN(3) == 0}
	rule := fmt.Sprintf(`"takeover_limit": false, "instance": [{"header": "x-instance"}], "max_streams": %d`, s.most)
	if s.reject {
		rule += `, "on_duplicate": "reject_new"`
	}
	if r.IntN(2) == 0 {
		rule += `, "claim_at": "request"`
	}
	if r.IntN(3) == 0 {
		rule += `, "on_unavailable": "refuse"`
	}
	s.fleetOf = newFleet(t, rule, `"admin_path": "/admin"`)
	t.Logf("seed %d: %s", seed, rule)
	return s
}

func (s *fleetSearch) note(format string, args ...any) {
	s.told = append(s.told, fmt.Sprintf(format, args...))
}

// episode is some seconds of all that may happen, then quiet, and the promise.
func (s *fleetSearch) episode() {
	s.told = nil
	s.settled, s.last, s.newest = map[string]bool{}, map[string]*fleetStream{}, map[string]bool{}
	for range 40 + s.r.IntN(40) {
		s.happen()
		for _, e := range s.Envoys {
			if !e.Stopped {
				e.World.Run()
			}
		}
		for _, one := range s.streams {
			if s.r.IntN(2) == 0 && !s.stopped(one.place) {
				one.answer()
			}
		}
	}
	s.calm()
	s.check()
	for _, client := range []string{"alice", "bob"} {
		s.probe(client)
	}
	s.endAll()
}

func (s *fleetSearch) stopped(place int) bool { return s.Envoys[place/2].Stopped }

func (s *fleetSearch) happen() {
	place, envoy := s.r.IntN(places), s.Envoys[s.r.IntN(2)]
	switch n := s.r.IntN(40); {
	case n < 8 && !s.stopped(place):
		s.opens(place, []string{"alice", "bob"}[s.r.IntN(2)])
	case n < 11 && len(s.streams) > 0:
		if one := s.streams[s.r.IntN(len(s.streams))]; !one.Ended() && !s.stopped(one.place) {
			s.note("stream of place %d ends", one.place)
			one.End()
		}
	case n < 24:
		if steps := s.Steps(); len(steps) > 0 {
			step := steps[s.r.IntN(len(steps))]
			s.note("%v", step)
			s.Do(step)
		}
	case n < 28:
		d := time.Duration(s.r.IntN(8)) * 100 * time.Millisecond
		s.pass(d)
	case n < 31:
		envoy.Reach = []etcdhost.Reach{etcdhost.Answered, etcdhost.Silent, etcdhost.Failing}[s.r.IntN(3)]
		s.note("reach %d", envoy.Reach)
		s.late = append(s.late, s.Late(envoy)...)
	case n < 33 && len(s.late) > 0:
		step := s.late[s.r.IntN(len(s.late))]
		if s.Pending(step) {
			s.note("late: %v", step)
			s.Do(step)
		}
	case n < 35:
		if watches := s.Watches(envoy); len(watches) > 0 && !envoy.Stopped {
			s.note("a watch breaks")
			watches[s.r.IntN(len(watches))].Reset(host.RemoteReset)
		}
	case n < 36 && len(s.Leases) > 0:
		lease := s.Leases[s.r.IntN(len(s.Leases))].ID
		s.note("lease %x ends", lease)
		s.Expire(lease)
	case n < 37 && !s.stopped(place):
		s.crash(place)
	case n < 38:
		envoy.Stopped = !envoy.Stopped
		s.note("stopped: %t", envoy.Stopped)
	case n < 39:
		s.pass(longOutage)
	case n < 40 && !s.stopped(place) && s.r.IntN(3) == 0:
		s.note("dismiss alice")
		s.worker(place).Open(host.Request("DELETE", "/admin/streams/events/alice")).RequestHeaders(true)
	}
}

func (s *fleetSearch) opens(place int, client string) *fleetStream {
	s.opened++
	s.note("%s opens at place %d", client, place)
	one := s.ask(place, client, "x-instance", fmt.Sprint(s.opened))
	s.last[client], s.newest[client], s.settled[client] = one, s.settled[client], false
	return one
}

// pass lets time pass.
func (s *fleetSearch) pass(d time.Duration) {
	s.note("%v pass", d)
	settled := map[string]bool{"alice": true, "bob": true}
	look := func() {
		for _, one := range s.streams {
			if !one.isOpen() && !one.Ended() {
				settled[one.client] = false
			}
		}
	}
	look()
	s.Etcd.Advance(d)
	look()
	if d >= 200*time.Millisecond { // stamps may be some milliseconds ahead of the clock
		s.settled = settled
	}
}

// crash ends a worker's VM. Envoy cuts its streams at their next chunk.
func (s *fleetSearch) crash(place int) {
	s.note("crash at place %d", place)
	s.worker(place).Crash()
	for _, one := range s.streams {
		if one.place == place && !one.Ended() {
			one.End()
		}
	}
}

// calm ends all faults, and lets time pass until all is mended.
func (s *fleetSearch) calm() {
	s.note("calm")
	for _, e := range s.Envoys {
		e.Reach, e.Stopped = etcdhost.Answered, false
	}
	for _, step := range s.late {
		if s.Pending(step) {
			s.Do(step)
		}
	}
	s.late = nil
	for range 25 {
		s.Etcd.Advance(time.Second)
		for _, one := range s.streams {
			one.answer()
		}
	}
	for place := range places { // a VM that has crashed starts with a request
		warm := s.ask(place, "warm")
		s.Etcd.Advance(time.Second)
		warm.End()
	}
	s.Etcd.Advance(longOutage)
}

// check checks the promise.
func (s *fleetSearch) check() {
	s.t.Helper()
	var open []*fleetStream
	each := map[string]int{}
	for _, one := range s.streams {
		if one.isOpen() {
			open = append(open, one)
			if each[one.client]++; each[one.client] > s.most {
				s.t.Errorf("%s has %d streams, want %d at most", one.client, each[one.client], s.most)
			}
		}
	}
	s.wantOpen(open...)
	for client, one := range s.last {
		if s.newest[client] && !s.reject {
			s.sights[sawNewest]++
			if strings.HasSuffix(one.reason(), "superseded") {
				s.t.Errorf("the newest stream of %s was superseded", client)
			}
		}
	}
}

// probe lets a client open one more stream.
func (s *fleetSearch) probe(client string) {
	s.t.Helper()
	before := 0
	for _, one := range s.streams {
		if one.client == client && one.isOpen() {
			before++
		}
	}
	one := s.opens(s.r.IntN(places), client)
	s.Run()
	one.answer()
	s.Run()
	if want := !s.reject || before < s.most; one.isOpen() != want {
		s.t.Errorf("%s has %d streams and opens one more: it is let in %t, %q", client, before, one.isOpen(), one.reason())
	}
	s.check()
}
