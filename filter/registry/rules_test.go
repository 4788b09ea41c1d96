package registry

import (
	"errors"
	"fmt"
	"maps"
	"testing"
)

// ruleNames returns the stored names.
func ruleNames(t *testing.T, th *thread) map[RuleID]string {
	t.Helper()
	names, err := th.Rules()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// withTable starts a thread that has read the table and holds no slot.
func withTable(t *testing.T, w *world) *thread {
	t.Helper()
	th := w.thread()
	if err := th.Open(); err != nil {
		t.Fatal(err)
	}
	return th
}

func TestRules(t *testing.T) {
	w := newWorld()
	a, b := withTable(t, w), withTable(t, w)
	if got := ruleNames(t, b); len(got) != 0 {
		t.Fatalf("names before there are any: %v", got)
	}
	want := map[RuleID]string{}
	for _, name := range []string{"events", "orders", "a", "events"} {
		id, err := a.NameRule(name)
		if err != nil || id != a.table.Rule(name) {
			t.Fatalf("name %q: %x, %v", name, id, err)
		}
		want[id] = name
		if got := ruleNames(t, b); !maps.Equal(got, want) {
			t.Fatalf("names %v, want %v", got, want)
		}
	}
	writes := w.envoy.cas
	if _, err := b.NameRule("orders"); err != nil || w.envoy.cas != writes {
		t.Errorf("a name that was stored already was written again, or failed: %v", err)
	}
	if a.owner.Incarnation != 0 {
		t.Error("a worker took a slot only to store a name")
	}
}

// Two workers store names at the same time. Both names are there afterwards.
func TestTwoWorkersStoreNames(t *testing.T) {
	for _, before := range []string{"", "first"} {
		w := newWorld()
		a, b := withTable(t, w), withTable(t, w)
		if before != "" {
			if _, err := b.NameRule(before); err != nil {
				t.Fatal(err)
			}
		}
		n := len(ruleNames(t, a))
		a.port.before = once(func(c call) bool { return c == call{"set", rulesKey} }, func() {
			if _, err := b.NameRule("orders"); err != nil {
				t.Fatal(err)
			}
		})
		if _, err := a.NameRule("events"); err != nil {
			t.Fatal(err)
		}
		if got := ruleNames(t, a); len(got) != n+2 || got[a.table.Rule("events")] != "events" || got[a.table.Rule("orders")] != "orders" {
			t.Errorf("after %q, names %v", before, got)
		}
	}
}

func TestRulesOnABrokenStore(t *testing.T) {
	for _, test := range []struct {
		name  string
		call  call
		err   error
		want  error
		tries int
	}{
		{"every race is lost", call{"set", rulesKey}, ErrCasMismatch, ErrContended, casAttempts},
		{"writes fail", call{"set", rulesKey}, errBroken, errBroken, 1},
		{"reads fail", call{"get", rulesKey}, errBroken, errBroken, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld()
			a := withTable(t, w)
			tries := 0
			a.port.before = func(c call) error {
				if c == test.call {
					tries++
					return test.err
				}
				return nil
			}
			id, err := a.NameRule("events")
			if !errors.Is(err, test.want) || tries != test.tries || id != a.table.Rule("events") {
				t.Errorf("%x, %v after %d tries; want %v after %d", id, err, tries, test.want, test.tries)
			}
			if _, err := a.Rules(); test.call.name == "get" && !errors.Is(err, test.want) {
				t.Errorf("Rules: %v, want %v", err, test.want)
			}
		})
	}
}

// Reading malformed names does not fail, and the next name starts them afresh.
func TestMalformedRules(t *testing.T) {
	w := newWorld()
	a := withTable(t, w)
	w.envoy.write(rulesKey, []byte("junk"))
	if got := ruleNames(t, a); len(got) != 0 {
		t.Errorf("names %v", got)
	}
	if string(w.envoy.data[rulesKey].value) != "junk" {
		t.Error("Rules wrote the malformed value")
	}
	if n := w.meter.counts[Malformed]; n != 1 {
		t.Errorf("%d malformed values counted, want 1", n)
	}
	if _, err := a.NameRule("events"); err != nil {
		t.Fatal(err)
	}
	if got := ruleNames(t, a); len(got) != 1 || got[a.table.Rule("events")] != "events" {
		t.Errorf("names %v", got)
	}
}

// Whatever becomes of the stored names, the workers store theirs again at the next tick. If nothing
// is wrong, a tick only reads.
func TestDamagedRulesAreStoredAgain(t *testing.T) {
	for about, damaged := range map[string]func(w *world){
		"malformed":        func(w *world) { w.envoy.write(rulesKey, []byte("junk")) },
		"empty":            func(w *world) { w.envoy.write(rulesKey, nil) },
		"gone":             func(w *world) { delete(w.envoy.data, rulesKey) },
		"without them":     func(w *world) { w.envoy.write(rulesKey, appendRules(nil, map[RuleID]string{7: "other"})) },
		"of another table": func(w *world) { w.envoy.write(rulesKey, []byte{formatVersion}) },
	} {
		t.Run(about, func(t *testing.T) {
			w := newWorld().small(4)
			a, b, admin := w.thread(), w.thread(), withTable(t, w)
			want := map[RuleID]string{}
			for th, names := range map[*thread][]string{a: {"events", "orders"}, b: {"events", "stocks"}} {
				th.open("alice")
				for _, name := range names {
					id, err := th.NameRule(name)
					if err != nil {
						t.Fatal(err)
					}
					want[id] = name
				}
			}
			w.settle(t)
			damaged(w)
			w.ticks(t, 1)
			got := ruleNames(t, admin)
			delete(got, 7)
			if !maps.Equal(got, want) {
				t.Errorf("after a tick the names are %v, want %v", got, want)
			}
			w.ticks(t, 1)
			writes := w.envoy.data[rulesKey].cas
			parsed := w.meter.counts[Malformed]
			w.ticks(t, 3)
			if w.envoy.data[rulesKey].cas != writes || w.meter.counts[Malformed] != parsed {
				t.Error("ticks go on to write the names, or to count malformed ones")
			}
		})
	}
}

// A tick that cannot read or write the names does the rest of its work, and the next one tries
// again.
func TestNamesThatCannotBeStored(t *testing.T) {
	for _, fails := range []call{{"get", rulesKey}, {"set", rulesKey}} {
		w := newWorld().small(0)
		a, b := w.thread(), w.thread()
		first := a.open("alice")
		if _, err := a.NameRule("events"); err != nil {
			t.Fatal(err)
		}
		b.open("alice")
		w.loseWakeups(a)
		w.envoy.write(rulesKey, []byte("junk"))
		a.port.before = func(c call) error {
			if c == fails {
				return errBroken
			}
			return nil
		}
		if _, err := a.tick(); !errors.Is(err, errBroken) {
			t.Errorf("%v fails: the tick says %v", fails, err)
		}
		expect(t, endedByMessage, first)
		a.port.before = nil
		w.ticks(t, 1)
		if got := ruleNames(t, a); len(got) != 1 {
			t.Errorf("%v failed: a tick later the names are %v", fails, got)
		}
	}
}

// However many configurations there are, at most maxRules names are stored.
func TestRulesAreBounded(t *testing.T) {
	w := newWorld()
	a := withTable(t, w)
	names := map[RuleID]string{}
	for i := 0; len(names) < maxRules-1; i++ {
		name := fmt.Sprintf("rule_%d", i)
		names[a.table.Rule(name)] = name
	}
	w.envoy.write(rulesKey, appendRules(nil, names))
	for i, name := range []string{"last", "one_too_many"} {
		id, err := a.NameRule(name)
		if err != nil || id != a.table.Rule(name) {
			t.Fatalf("name %q: %x, %v", name, id, err)
		}
		got := ruleNames(t, a)
		if _, there := got[id]; there != (i == 0) || len(got) != maxRules {
			t.Errorf("%d names, want %d; %q is there: %v, want %v", len(got), maxRules, name, there, i == 0)
		}
	}
}
