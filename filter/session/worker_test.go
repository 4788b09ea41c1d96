//go:build !wasip1

package session

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// A faulty configuration is refused with all its faults in the log.
func TestConfigure(t *testing.T) {
	for _, c := range []struct {
		config string
		faults []string // nil: it is good
	}{
		{configured("", ""), nil},
		{``, []string{"configuration refused: "}},
		{configured(`"max_streams": 0, "mode": "both"`, ""), []string{"max_streams", "mode"}},
	} {
		e := newEdge(t)
		ok := e.host().worker.Configure([]byte(c.config))
		if ok != (c.faults == nil) {
			t.Errorf("%q is good: %v", c.config, ok)
		}
		errors := strings.Join(e.lines("error configuration refused: "), "\n")
		for _, fault := range c.faults {
			if !strings.Contains(errors, fault) {
				t.Errorf("the log says %q, want %q", errors, fault)
			}
		}
		if ok && (errors != "" || len(e.lines("info started version=v1 config={")) != 1) {
			t.Errorf("the log says %q", e.log)
		}
	}
}

// All configurations share the gauge of the limit. It shows that of the last one that has rules.
func TestTotalLimitGauge(t *testing.T) {
	e := newEdge(t)
	e.worker(configured("", `"max_total_streams": 70`))
	e.worker(`{"rules": [], "admin_path": "/admin"}`)
	e.counted(map[string]int64{"max_total_streams": 70})
	e.worker(configured("", ""))
	e.counted(map[string]int64{"max_total_streams": 0})
}

// One tick finds more to end than one callback can carry, and of every kind: messages whose
// wake-ups were lost, late claims that are refused, streams that are not in the registry, lifetimes
// that are over, and waits. It acts on 256 of them, the next callbacks on the others.
func TestOneTickEndsABoundedNumber(t *testing.T) {
	const many = registry.EndsPerCall - 56 // of each kind
	rule := func(name, more string) string {
		return `{"name": "` + name + `", "match": {"path": {"exact": "/` + name + `"}}, "client": [{"header": "x-client-id"}], ` + more + `}`
	}
	config := `{"admin_path": "/admin", "rules": [` + strings.Join([]string{
		rule("taken", `"claim_at": "request", "goodbye_grace": "0s"`),
		rule("late", `"on_duplicate": "reject_new"`),
		rule("missing", `"mode": "enforce"`),
		rule("timed", `"max_lifetime": "2s", "lifetime_jitter_percent": 0`),
	}, ",") + `]}`
	e := newEdge(t)
	a, b := e.worker(config), e.worker(config)
	each := func(rule string, open func(client string, more ...string) *exchange) (all []*exchange) {
		for i := range many {
			all = append(all, open(strconv.Itoa(i), ":path", "/"+rule, ":method", "POST"))
		}
		return all
	}
	missing := each("missing", a.open)
	each("missing", b.open)
	e.loseMessages()
	a.tickNow() // has missed them once
	timed := each("timed", a.open)
	late := each("late", a.openContended)
	each("late", b.open)
	taken := each("taken", a.open)
	waiting := each("taken", b.ask)
	e.wakeups = nil
	e.now += 2000
	b.tickNow() // lives

	ended := func() (by map[string]int, n int) {
		by = map[string]int{}
		for _, x := range slices.Concat(missing, timed, late, taken) {
			if x.ended == byReset {
				by[x.reason]++
				n++
			}
		}
		return by, n
	}
	a.tickNow()
	if by, n := ended(); n != registry.EndsPerCall || len(by) < 2 {
		t.Errorf("the first tick ends %d streams, %v, want %d of several kinds", n, by, registry.EndsPerCall)
	}
	for range 4 {
		e.run()
		e.now += tickPeriodMs
		a.tickNow()
		b.tickNow()
	}
	e.run()
	want := fmt.Sprint(map[string]int{"superseded": many, "refused_duplicate": many, "unregistered": many, "expired": many})
	if by, _ := ended(); fmt.Sprint(by) != want {
		t.Errorf("ended: %v, want %v", by, want)
	}
	if slices.ContainsFunc(waiting, func(x *exchange) bool { return x.waits || x.ended != "" }) {
		t.Error("not all requests go on that waited for the superseded streams")
	}
}

// So it is with waits that are over: each is a request that Envoy lets go on in the same way.
func TestOneTickResumesABoundedNumber(t *testing.T) {
	e := newEdge(t)
	config := configured(`"claim_at": "request"`, "")
	a, b := e.worker(config), e.worker(config)
	const many = 2*registry.EndsPerCall + 10
	var waiting []*exchange
	for i := range many {
		a.open(strconv.Itoa(i))
		waiting = append(waiting, b.ask(strconv.Itoa(i)))
	}
	e.loseMessages()
	goOn := func() (n int) {
		for _, x := range waiting {
			if !x.waits {
				n++
			}
		}
		return n
	}
	e.now += mostWaitMs
	b.tickNow()
	var after []int
	for range 3 {
		after = append(after, goOn())
		if len(e.wakeups) > 0 {
			e.wake()
		}
	}
	if want := []int{256, 512, many}; !slices.Equal(after, want) {
		t.Errorf("after each callback %d requests go on, want %d", after, want)
	}
}

// A callback looks at 8,192 timers at most, however many streams are busy. It reminds itself of the
// others, and if that is lost the next tick goes on.
func TestTimersAreBounded(t *testing.T) {
	const many = timersPerCall + 100
	for _, lost := range []bool{false, true} {
		t.Run(fmt.Sprintf("reminder lost %v", lost), func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(configured(`"idle_timeout": "2s"`, ""))
			var last *exchange
			for i := range many {
				last = w.open(strconv.Itoa(i))
			}
			e.now += 1990
			for _, x := range w.live {
				if x != last {
					x.send(":\n\n", false)
				}
			}
			e.now += 10
			w.tickNow()
			if last.ended != "" || len(e.wakeups) != 1 {
				t.Fatalf("the last stream %q, %d reminders, want it live and 1", last.ended, len(e.wakeups))
			}
			if lost {
				e.loseMessages()
				e.now += 100
				w.tickNow()
			} else {
				e.run()
			}
			if last.ended != byReset {
				t.Error("the silent stream behind the busy ones is not ended")
			}
			if n := len(w.live); n != many-1 {
				t.Errorf("%d streams live, want %d", n, many-1)
			}
		})
	}
}

// Envoy's log level may change at any time. A worker asks for it on every tick, and builds debug
// lines only while they are written.
func TestLogLevelIsReadOnTheTick(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	w.open("alice")
	for _, c := range []struct {
		level Level
		lines int
	}{{Debug, 3}, {Info, 0}} {
		e.level = c.level
		w.tick()
		e.level = Debug // writes what the worker builds
		e.log = nil
		w.open("alice")
		e.run()
		if len(e.log) != c.lines {
			t.Errorf("at level %d the worker logs %q, want %d lines", c.level, e.log, c.lines)
		}
	}
}

// The debug log follows a stream by its client's short id, from takeover to end.
func TestDebugLines(t *testing.T) {
	e := newEdge(t)
	e.level = Debug
	w := e.worker(configured("", ""))
	old := w.open("alice")
	client := old.stream.place.Client.Short()
	e.now += 30
	w.open("alice")
	e.run()
	for _, want := range []string{
		"debug joined slot=0 incarnation=",
		"debug takeover rule=events client=" + client + " claim=1 age_ms=30",
		"debug reset rule=events client=" + client + " reason=superseded",
		"debug ended rule=events client=" + client + " held=false duration_ms=30",
	} {
		if len(e.lines(want)) != 1 {
			t.Errorf("the log has no line %q: %q", want, e.log)
		}
	}
	if strings.Contains(strings.Join(e.log, "\n"), "alice") {
		t.Errorf("the log names the raw key: %q", e.log)
	}
}

// Over HTTP/3 nobody tells of the end of a stream. A tick asks Envoy, and the place is given back.
func TestForgottenStreams(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	gone, healthy := w.open("alice"), w.open("bob")
	gone.vanish()
	e.advance(forgottenWithin)
	e.counted(map[string]int64{"events.active": 1, "events.released": 1})
	if gone.stream.phase != done || healthy.stream.phase != open {
		t.Errorf("gone %v, healthy %v", gone.stream.phase, healthy.stream.phase)
	}
}

// With very many streams a tick asks for some of them only, until one was forgotten.
func TestForgottenStreamsAmongMany(t *testing.T) {
	const n = 2 * forgottenWithin * asksPerCall
	e := newEdge(t)
	w := e.worker(configured("", ""))
	streams := make([]*exchange, n)
	for i := range streams {
		streams[i] = w.open(strconv.Itoa(i))
	}
	asks := 0
	w.entered = func() { asks++ }
	most := func() (most int) {
		for range 2 * forgottenWithin {
			asks = 0
			e.advance(1)
			most = max(most, asks)
		}
		return most
	}
	const bucket = 64 // is visited whole, and has fewer streams
	if got := most(); got < asksPerCall || got > asksPerCall+bucket {
		t.Errorf("a tick asked for %d streams, want %d", got, asksPerCall)
	}
	streams[0].vanish()
	e.advance(2*forgottenWithin + 1)
	e.counted(map[string]int64{"events.active": n - 1})
	for _, s := range streams[1:100] { // now it asks for all, but not in one callback
		s.vanish()
	}
	asks = 0
	w.tickNow()
	if asks > asksPerCall+bucket {
		t.Errorf("one callback asked for %d streams, want %d", asks, asksPerCall)
	}
	if e.run(); asks < n/forgottenWithin-bucket {
		t.Errorf("a tick and its reminders asked for %d of %d streams, want a third", asks, n)
	}
	e.advance(forgottenWithin)
	e.counted(map[string]int64{"events.active": n - 100})
	w.worker.watchful = 1 // as after that time
	e.advance(1)
	if got := most(); got > asksPerCall+bucket {
		t.Errorf("later a tick asked for %d streams, want %d", got, asksPerCall)
	}
}

// A worker dies. Others find it after three of their own ticks, remove its streams at once, and
// count them down, also those of a rule that they do not have themselves.
func TestDeadWorker(t *testing.T) {
	for _, other := range []string{"events", "stocks"} {
		t.Run(other, func(t *testing.T) {
			e := newEdge(t)
			e.level = Debug
			a := e.worker(strings.Replace(configured(`"max_streams": 9`, ""), "events", other, 1))
			b := e.worker(configured("", ""))
			for _, client := range []string{"alice", "alice", "carol", "dave"} {
				a.open(client)
			}
			b.open("bob")
			a.period = 0 // dead
			e.counted(map[string]int64{other + ".active": map[string]int64{"events": 5, "stocks": 4}[other]})
			e.advance(4)
			e.counted(map[string]int64{"events.active": 1, "swept": 4})
			if other == "stocks" {
				e.counted(map[string]int64{"stocks.active": 0})
			}
			if e.lines("debug dead workers=1") == nil || e.lines("info swept streams=") == nil {
				t.Errorf("the log says %q", e.log)
			}
		})
	}
}

// The names of the rules cannot be read, are gone, or are damaged: a gauge that has no name is left
// alone, and the rest of the sweep goes on.
func TestDeadWorkerOfAnUnknownRule(t *testing.T) {
	for _, c := range []struct {
		name   string
		breaks func(e *edge)
		warns  bool
	}{
		{"unreadable", func(e *edge) { e.breaks("get", "/rules", errBroken) }, true},
		{"gone", func(e *edge) { delete(e.data, "streamlatch/3/rules") }, false},
		{"damaged", func(e *edge) { e.data["streamlatch/3/rules"] = datum{[]byte("junk"), 99} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			a := e.worker(strings.Replace(configured("", ""), "events", "stocks", 1))
			b := e.worker(configured("", ""))
			a.open("alice")
			b.open("bob")
			a.period = 0
			c.breaks(e)
			e.advance(4)
			e.counted(map[string]int64{"events.active": 1, "stocks.active": 1, "swept": 1})
			if warns := e.lines("warn") != nil; warns != c.warns {
				t.Errorf("the log says %q", e.log)
			}
			// Nothing is forgotten: the gauge is right as soon as the name is known again.
			e.mend()
			e.worker(strings.Replace(configured("", ""), "events", "stocks", 1)).open("carol")
			e.advance(2)
			e.counted(map[string]int64{"events.active": 1, "stocks.active": 1, "swept": 1})
			if n := len(b.worker.owed); n != 0 {
				t.Errorf("changes of %d gauges are still owed", n)
			}
		})
	}
}

// An operator ends streams of a rule whose name was damaged.
func TestDamagedNamesOfRules(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	operator := e.worker(`{"rules": [], "admin_path": "/admin"}`)
	x := w.open("alice")
	e.data["streamlatch/3/rules"] = datum{[]byte("junk"), 99}
	if got := operator.admin("DELETE", "/admin/streams/events/alice").status; got != 404 {
		t.Errorf("status %d, want 404: there is no name", got)
	}
	e.advance(1)
	if got := operator.admin("DELETE", "/admin/streams/events/alice").status; got != 200 {
		t.Errorf("a tick later: status %d, want 200", got)
	}
	e.run()
	if x.ended != byReset {
		t.Error("the stream is not ended")
	}
}

// All slots are held by dead workers. The first requests pass untracked; then the worker has freed
// slots, and tracks.
func TestAllSlotsAreHeldByTheDead(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	for slot := range registry.MaxWorkers {
		e.data[fmt.Sprintf("streamlatch/3/w/%d", slot)] = datum{registry.Record{Incarnation: 7}.Append(nil), 1}
	}
	if x := w.open("alice"); x.stream != nil || x.reply != nil {
		t.Errorf("stream %v, reply %v, want it to pass", x.stream, x.reply)
	}
	e.advance(6)
	w.open("alice")
	e.counted(map[string]int64{"events.opened": 1, "events.active": 1})
}

// All configurations of an Envoy start with the same words on every thread. The log has them once,
// at info, and again only when 256 others have come between.
func TestAnnounce(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	said := func(i int) { w.worker.announce("started " + strconv.Itoa(i)) }
	count := func(i int) int { return len(e.lines("info started " + strconv.Itoa(i))) }
	said(1000)
	said(1000)
	if n := count(1000); n != 1 {
		t.Fatalf("announced %d times, want 1", n)
	}
	for i := range mostAnnounced - 1 {
		said(2000 + i)
	}
	said(1000) // still remembered
	if n := count(1000); n != 1 {
		t.Errorf("announced %d times after %d others, want 1", n, mostAnnounced-1)
	}
	said(3000)
	said(1000)
	said(3000)
	if n, m := count(1000), count(3000); n != 2 || m != 1 {
		t.Errorf("the oldest is announced %d times, the newest %d times, want 2 and 1", n, m)
	}
	if n := len(e.data[announcedKey].value); n != mostAnnounced*8 {
		t.Errorf("%d bytes are kept, want %d", n, mostAnnounced*8)
	}
}

// Two threads announce at the same moment, or the store fails: the words are in the log all the
// same.
func TestAnnounceLosesRaces(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		tries int
	}{{"races", registry.ErrCasMismatch, 32}, {"broken", errBroken, 1}} {
		e := newEdge(t)
		tries := 0
		e.fails = func(call, about string) error {
			if call == "set" && about == announcedKey {
				tries++
				return c.err
			}
			return nil
		}
		e.worker(configured("", ""))
		if n := len(e.lines("info started")); n != 1 || tries != c.tries {
			t.Errorf("%s: %d lines after %d tries, want 1 after %d", c.name, n, tries, c.tries)
		}
	}
}

// Warnings come once a second, and refusals at info; debug has all refusals.
func TestLogIsLimited(t *testing.T) {
	e := newEdge(t)
	e.level = Debug
	w := e.worker(configured(`"on_duplicate": "reject_new"`, ""))
	for i, c := range []struct{ after, all, limited int }{{0, 1, 1}, {0, 2, 1}, {999, 3, 1}, {1, 4, 2}, {0, 5, 2}, {5000, 6, 3}} {
		e.now += int64(c.after)
		client := fmt.Sprint("client ", i)
		w.open(client)
		w.ask(client)
		w.worker.warn(errBroken)
		for text, want := range map[string]int{" refused": c.all, "info refused": c.limited, `warn failed error="broken"`: c.limited} {
			if n := len(e.lines(text)); n != want {
				t.Errorf("%d lines %q after the call %d, want %d", n, text, c.all, want)
			}
		}
	}
}

// A metric that cannot be defined is one warning, and the filter works.
func TestMetricsFail(t *testing.T) {
	e := newEdge(t)
	e.breaks("define", "", errBroken)
	w := e.worker(configured("", ""))
	e.mend()
	old := w.open("alice")
	w.open("alice")
	e.run()
	if old.ended != byReset {
		t.Error("the old stream is not ended")
	}
	if e.lines("warn failed error=\"define metric streamlatch.events.") == nil {
		t.Errorf("the log says %q", e.log)
	}
}
