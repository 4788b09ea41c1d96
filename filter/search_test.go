package main_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/host"
)

var (
	searches   = flag.Int64("searches", 40, "TestSearch: how many searches")
	searchSeed = flag.Int64("search-seed", -1, "TestSearch: replay the search with this seed, as a failing test prints it")
)

// The search runs the module as it is shipped in random schedules: three workers serve a few
// clients, and each can be interrupted at every call to shared data or to a queue, and go on after
// any call of another. Workers stall, so the others sweep them while they own streams, VMs crash,
// also between a write and its messages, operators dismiss clients, and messages are lost. When all
// is quiet again, the registry's promises must hold: see search.check. Package registry searches
// its own code in the same way, and faster. Here Envoy's contexts, timers, clocks and reloads take
// part, and all of the filter.
func TestSearch(t *testing.T) {
	t.Parallel()
	if *searchSeed >= 0 {
		got := runSearch(t, *searchSeed, true)
		t.Logf("%s", strings.Join(got.trace, "\n"))
		if got.err != nil {
			t.Error(got.err)
		}
		return
	}
	seeds := *searches
	if testing.Short() {
		seeds = min(seeds, 4)
	}
	total := sights{}
	for seed := range seeds {
		got := runSearch(t, seed, true)
		if got.err != nil {
			t.Fatalf("  %s\n%v\nreplay: go test ./filter -run '^TestSearch$' -search-seed %d", strings.Join(got.trace, "\n  "), got.err, seed)
		}
		for what, n := range got.sights {
			total[what] += n
		}
	}
	t.Logf("%d searches: %v", seeds, total)
	for _, what := range []string{sawSweep, sawReturn, sawCrash, sawCrashInCall, sawReload, sawDismissal, sawTakeover, sawRefusal, sawComeback} {
		if total[what] == 0 {
			t.Errorf("no schedule had a %s: the search does not see what it is for", what)
		}
	}
}

// Somebody sets the wall clock again and again. Nothing that the filter does, decides or stores may
// differ.
func TestSearchWithAnotherClock(t *testing.T) {
	t.Parallel()
	seeds := int64(10)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		steady, set := runSearch(t, seed, false), runSearch(t, seed, true)
		if steady.err != nil || set.err != nil {
			t.Fatalf("seed %d: %v; when somebody sets the clock: %v", seed, steady.err, set.err)
		}
		for i := range max(len(steady.trace), len(set.trace)) {
			if i >= len(steady.trace) || i >= len(set.trace) || steady.trace[i] != set.trace[i] {
				t.Fatalf("seed %d: step %d differs when somebody sets the clock:\n  %s\nand without:\n  %s", seed, i,
					strings.Join(set.trace[max(0, i-5):min(len(set.trace), i+1)], "\n  "),
					strings.Join(steady.trace[max(0, i-5):min(len(steady.trace), i+1)], "\n  "))
			}
		}
		if !maps.EqualFunc(steady.data, set.data, func(a, b host.SharedValue) bool { return string(a.Bytes) == string(b.Bytes) }) {
			t.Errorf("seed %d: what is stored differs when somebody sets the clock", seed)
		}
	}
}

// sights counts what the schedules had in them.
type sights map[string]int

const (
	sawSweep       = "sweep of a worker that lives"
	sawReturn      = "return of a swept worker's stream"
	sawCrash       = "crash"
	sawCrashInCall = "crash in the middle of a callback"
	sawReload      = "reload"
	sawDismissal   = "dismissal"
	sawTakeover    = "takeover"
	sawRefusal     = "refusal"
	sawComeback    = "comeback of a client after a crash with reject_new"
)

// searched is what came of one search.
type searched struct {
	trace  []string // what happened in the last episode
	data   map[string]host.SharedValue
	sights sights
	err    error
}

// runSearch is some episodes in one Envoy. At the end of each all streams have ended, so the next
// begins anew, but with the slots and queues that the last has left.
func runSearch(t *testing.T, seed int64, setsClock bool) searched {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	s := newSearch(seed)
	s.setsClock = setsClock
	s.World, err = host.NewWorld(m, host.Config{
		Workers: len(s.workers), Seed: uint64(seed), FailurePolicy: host.FailReload,
		PluginConfig: []byte(s.config()), Intercept: s.intercept,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	s.SetSharedData("streamlatch/3/table", registry.Table{Bits: 2, Seed: [16]byte{1}}.Append(nil)) // a few ticks visit all
	for n := range 6 {
		s.episode(n)
		if s.broken != nil {
			break
		}
	}
	for _, w := range s.workers {
		w.abandon()
	}
	s.sights[sawTakeover] = int(s.Metrics().Counters["streamlatch.events.superseded"])
	return searched{s.trace, s.SharedData(), s.sights, s.broken}
}

// round is how long a round of a search takes. A worker ticks in every second one.
const round = 500 * time.Millisecond

// search is a random schedule under way. The workers' callbacks are coroutines that stop before
// each call to shared data or to a queue.
type search struct {
	*host.World
	rnd       *rand.Rand
	clocks    *rand.Rand // apart from rnd: so the rest does not change with the clock
	setsClock bool

	limit     int
	reject    bool
	atRequest bool
	instances []string

	workers    []*searchWorker
	streams    []*searchStream // of this episode
	names      map[streamName]*searchStream
	slots      map[string]slotHolder
	uncounted  int // changes that workers had written when they crashed, and not counted yet
	claims     int // streams that have reached the registry
	dismissals []*dismissal
	clients    []string
	rounds     int  // of this search
	calm       bool // no faults happen
	trace      []string
	sights     sights
	broken     error // the first promise that was broken
}

func newSearch(seed int64) *search {
	s := &search{
		rnd: rand.New(rand.NewPCG(uint64(seed), 1)), clocks: rand.New(rand.NewPCG(uint64(seed), 2)),
		names: map[streamName]*searchStream{}, slots: map[string]slotHolder{}, sights: sights{},
	}
	s.limit = 1 + s.rnd.IntN(2)
	s.reject = s.rnd.IntN(2) == 0
	s.atRequest = s.rnd.IntN(3) == 0
	s.instances = []string{"", "", "A", "B"}[:1+s.rnd.IntN(4)]
	for n := range 3 {
		s.workers = append(s.workers, &searchWorker{search: s, index: n})
	}
	return s
}

func (s *search) config() string {
	onDuplicate, claimAt := "reset_previous", "response"
	if s.reject {
		onDuplicate = "reject_new"
	}
	if s.atRequest {
		claimAt = "request"
	}
	return fmt.Sprintf(`{"rules": [{"name": "events", "match": {"path": {"exact": "/events"}}, "client": [{"header": "x-client-id"}],
		"instance": [{"header": "x-instance"}], "max_streams": %d, "on_duplicate": %q, "claim_at": %q, "takeover_limit": false}],
		"admin_path": "/admin"}`, s.limit, onDuplicate, claimAt)
}

func (s *search) note(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf("%5.1fs ", (time.Duration(s.rounds)*round).Seconds())+fmt.Sprintf(format, args...))
}

// breaks notes the first broken promise.
func (s *search) breaks(format string, args ...any) {
	if s.broken == nil {
		s.broken = fmt.Errorf(format, args...)
		s.note("BROKEN: %v", s.broken)
	}
}

// episode is some seconds of clients, operators and faults, then some of quiet, and the promises.
func (s *search) episode(n int) {
	s.trace, s.streams, s.dismissals, s.calm = nil, nil, nil, false
	s.clients = []string{fmt.Sprintf("alice-%d", n), fmt.Sprintf("bob-%d", n)}
	s.note("limit %d, reject_new %t, claim at request %t, instances %q", s.limit, s.reject, s.atRequest, s.instances)
	stalls, crashes := s.rnd.IntN(4), s.rnd.IntN(3)
	for range 16 + s.rnd.IntN(16) {
		for range s.rnd.IntN(3) {
			s.happen()
		}
		if stalls > 0 && s.rnd.IntN(8) == 0 {
			stalls--
			w := s.anyWorker()
			w.stalled = s.rounds + 2 + s.rnd.IntN(18) // it is swept after 8 rounds or so
			s.note("worker %d stalls until %.1fs", w.index, (time.Duration(w.stalled) * round).Seconds())
		}
		if crashes > 0 && s.rnd.IntN(8) == 0 {
			crashes--
			s.anyWorker().crashIn = 1 + s.rnd.IntN(12)
		}
		s.pass()
	}
	s.revive()
	s.settle()
	s.check()
	s.probe()
	s.settle()
	s.check()
	for _, st := range s.streams {
		if !st.ended() {
			st.on.then("end of all: hang up %s", st.end, st)
		}
	}
	s.settle()
	s.check()
	if left := s.stored(); len(left) > 0 {
		s.breaks("all streams have ended, and %d are left in the registry", len(left))
	}
}

// happen lets something arrive at a worker.
func (s *search) happen() {
	w := s.anyWorker()
	switch n := s.rnd.IntN(20); {
	case n < 9:
		w.open(s.clients[s.rnd.IntN(len(s.clients))])
	case n < 12:
		if st := s.anyStream(); st != nil {
			st.on.then("hang up %s", st.end, st)
		}
	case n < 14:
		if st := s.anyStream(); st != nil {
			st.on.then("bytes for %s", st.send, st)
		}
	case n < 17:
		w.dismiss(s.clients[s.rnd.IntN(len(s.clients))])
	case n < 18:
		s.note("%d wake-ups are lost", s.DropWakeups())
	case n < 19:
		w.loses = 1
		s.note("the next message of worker %d is lost", w.index)
	}
}

func (s *search) anyWorker() *searchWorker { return s.workers[s.rnd.IntN(len(s.workers))] }

func (s *search) anyStream() *searchStream {
	if len(s.streams) == 0 {
		return nil
	}
	return s.streams[s.rnd.IntN(len(s.streams))]
}

// pass lets one round pass, in which the workers run in any order.
func (s *search) pass() {
	s.rounds++
	s.SkipTime(round)
	if step := time.Duration(s.clocks.Int64N(int64(4*time.Hour))) - 2*time.Hour; s.setsClock && s.clocks.IntN(3) == 0 {
		s.SetWallClock(step)
	}
	for _, st := range s.streams {
		if st.isOpen() && !st.answered && st.on.has(st) && (s.calm || s.rnd.IntN(2) == 0) {
			st.on.then("answer %s", st.answer, st)
		}
	}
	for _, w := range s.workers {
		if s.calm {
			w.stalled, w.crashIn, w.loses = 0, 0, 0
		}
		if (s.rounds+w.index)%2 == 0 {
			w.tick()
		}
		w.wake()
	}
	for {
		var busy []*searchWorker
		for _, w := range s.workers {
			if w.stalled <= s.rounds && (w.next != nil || len(w.inbox) > 0) {
				busy = append(busy, w)
			}
		}
		if len(busy) == 0 {
			return
		}
		busy[s.rnd.IntN(len(busy))].step()
		for _, w := range s.workers {
			w.wake()
		}
		for _, st := range s.streams {
			st.notice()
		}
	}
}

// revive lets faults end. A VM that has crashed starts with the next request after its back-off.
// One at least must run, to sweep the others.
func (s *search) revive() {
	s.note("no more faults")
	s.calm = true
	for range 4 {
		for _, w := range s.workers {
			if s.Worker(w.index).Failed() && (w.index == 0 || s.rnd.IntN(4) == 0) {
				w.open("warm")
			}
		}
		s.pass()
	}
}

// settle lets time pass until the workers must have mended everything.
func (s *search) settle() {
	for range 24 {
		s.pass()
	}
}

// probe lets each client open one more stream, under a new instance.
func (s *search) probe() {
	for _, client := range s.clients {
		var w *searchWorker
		for w == nil || s.Worker(w.index).Failed() {
			w = s.anyWorker()
		}
		live := 0
		for _, st := range s.streams {
			if st.client == client && st.isOpen() {
				live++
			}
		}
		st := w.openAs(client, "new")
		s.pass()
		s.pass()
		if wanted := !s.reject || live < s.limit; wanted != st.isOpen() {
			s.breaks("%s has %d streams and opens one more: it is let in %t, want %t; it is %v", client, live, st.isOpen(), wanted, st)
		}
	}
}
