package registry

import (
	"flag"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A check takes a tenth of a millisecond, so there can be more of them than rapid does by itself. The command line
// still has the last word.
func init() {
	if err := flag.Set("rapid.checks", "3000"); err != nil {
		panic(err)
	}
}

// model is the registry as one would explain it: each client has a list of streams, a new one goes to its end, and
// what is over the limit falls out at the front.
type model map[string][]*stream

func (m model) open(s *stream) {
	list := append(m[s.client], s)
	m[s.client] = list[max(0, len(list)-s.handle.Limits.MaxStreams):]
}

func (m model) close(s *stream) {
	m[s.client] = slices.DeleteFunc(slices.Clone(m[s.client]), func(r *stream) bool { return r == s })
}

func (m model) holds(s *stream) bool { return slices.Contains(m[s.client], s) }

// machine drives workers and the model side by side.
type machine struct {
	*world
	model model
}

func newMachine(t *rapid.T) *machine {
	m := &machine{world: newWorld().small(uint8(rapid.SampledFrom([]int{0, 3}).Draw(t, "table bits"))), model: model{}}
	m.limits.MaxStreams = rapid.IntRange(1, 3).Draw(t, "max_streams")
	for range rapid.IntRange(1, 3).Draw(t, "workers") {
		m.thread()
	}
	return m
}

func (m *machine) anyThread(t *rapid.T) *thread {
	var running []*thread
	for _, th := range m.threads {
		if !th.crashed {
			running = append(running, th)
		}
	}
	if len(running) == 0 {
		return m.thread() // Envoy starts the VM again
	}
	return rapid.SampledFrom(running).Draw(t, "worker")
}

func (m *machine) joinedThread(t *rapid.T) *thread {
	th := m.anyThread(t)
	if err := th.Join(); err != nil {
		t.Fatalf("join: %v", err)
	}
	return th
}

// ops are what happens every day.
func (m *machine) ops() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"open": func(t *rapid.T) {
			s := m.anyThread(t).open(rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "client"))
			if s.err != nil {
				t.Fatalf("claim: %v", s.err)
			}
			m.model.open(s)
		},
		"close": func(t *rapid.T) {
			live := slices.DeleteFunc(slices.Clone(m.opened), func(s *stream) bool { return s.fate != alive })
			if len(live) == 0 {
				t.Skip("nothing is open")
			}
			s := rapid.SampledFrom(live).Draw(t, "stream")
			s.on.close(s)
			if s.err != nil {
				t.Fatalf("release: %v", s.err)
			}
			m.model.close(s)
		},
		"deliver": func(t *rapid.T) {
			if err := m.anyThread(t).wake(); err != nil {
				t.Fatalf("wake: %v", err)
			}
		},
		"tick": func(t *rapid.T) {
			if _, err := m.anyThread(t).tick(); err != nil {
				t.Fatalf("tick: %v", err)
			}
		},
		"lose wake-up":  func(t *rapid.T) { m.loseWakeups(m.joinedThread(t)) },
		"lose messages": func(t *rapid.T) { m.loseMessages(m.joinedThread(t)) },
	}
}

// TestAgainstModel: whatever happens, short of a worker's death, in the end exactly those streams live that the model
// holds. All workers tick in turn, so that none takes another for dead.
func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		ops := m.ops()
		ops["tick"] = func(t *rapid.T) {
			for _, th := range m.threads {
				if _, err := th.tick(); err != nil {
					t.Fatalf("tick: %v", err)
				}
			}
		}
		t.Repeat(ops)
		if err := m.drain(); err != nil {
			t.Fatal(err)
		}
		for _, s := range m.opened {
			if lives := s.fate == alive; lives != m.model.holds(s) {
				t.Fatalf("stream %d of %s is %s; the model says that it lives: %v", s.handle.Context, s.client, s.fate, m.model.holds(s))
			}
		}
	})
}

// TestAgainstModelWithDeaths adds crashes and workers that are taken for dead. When a dead stream is swept is a matter
// of timing, and so is which streams of a worker that was swept come back in time, so the model does not say who lives;
// the promise does, and that the client's newest stream, if the model still has it, was never ended.
func TestAgainstModelWithDeaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		ops := m.ops()
		ops["crash"] = func(t *rapid.T) {
			m.anyThread(t).crash()
			m.thread()
		}
		ops["false sweep"] = func(t *rapid.T) { m.joinedThread(t).fence() }
		t.Repeat(ops)
		if err := m.drain(); err != nil {
			t.Fatal(err)
		}
		for client, list := range m.model {
			if len(list) == 0 {
				continue
			}
			if newest := list[len(list)-1]; newest.fate != alive && newest.fate != cut {
				t.Fatalf("stream %d, the newest of %s, was %s", newest.handle.Context, client, newest.fate)
			}
		}
	})
}
