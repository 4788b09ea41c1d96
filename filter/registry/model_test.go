package registry

import (
	"errors"
	"flag"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// A check takes a tenth of a millisecond, so rapid's default of 100 checks is too few. The flag
// -rapid.checks on the command line still wins.
func init() {
	if err := flag.Set("rapid.checks", "3000"); err != nil {
		panic(err)
	}
}

// model is the registry as one would explain it: each client has a list of streams, a newcomer goes
// to the end of it, and streams over the limit fall out at the front.
type model map[string]*account

// account is what one would note about a client.
type account struct {
	list                  []*stream
	superseded            []policy.Instance // instances that were superseded by another
	takeovers, reconnects purse
}

// purse holds the tokens of a bucket. A new one is full.
type purse struct {
	spent  int
	filled int64 // when tokens were last added, or the first was taken
}

// take takes a token at now, and reports whether there was one.
func (p *purse) take(bucket policy.TokenBucket, now int64) bool {
	if bucket.MaxTokens == 0 {
		return true
	}
	for ; p.spent > 0 && p.filled+int64(bucket.FillInterval) <= now; p.filled += int64(bucket.FillInterval) {
		p.spent = max(p.spent-bucket.TokensPerFill, 0)
	}
	if p.spent == bucket.MaxTokens {
		return false
	}
	if p.spent == 0 {
		p.filled = now
	}
	p.spent++
	return true
}

// open returns the refusal that s gets, or the streams that yield to it.
func (m model) open(s *stream, now int64) (refusal policy.Refusal, out []*stream) {
	limits, instance := s.handle.Limits, s.handle.Instance
	a := m[s.client]
	if a == nil {
		a = &account{}
		m[s.client] = a
	}
	again := slices.IndexFunc(a.list, func(r *stream) bool { return instance != 0 && r.handle.Instance == instance })
	switch {
	case again >= 0:
		if !a.reconnects.take(policy.ReconnectLimit, now) {
			return policy.TakeoverLimit, nil
		}
		out = append(out, a.list[again])
		a.list = slices.Delete(a.list, again, again+1)
	case len(a.list) < limits.MaxStreams:
	case slices.Contains(a.superseded, instance):
		return policy.Superseded, nil
	case limits.RejectNew:
		return policy.Duplicate, nil
	default:
		if !a.takeovers.take(limits.TakeoverLimit, now) {
			return policy.TakeoverLimit, nil
		}
		out = append(out, a.list[0])
		a.list = a.list[1:]
		if loser := out[0].handle.Instance; loser != 0 {
			a.superseded = append(a.superseded, loser)
		}
	}
	a.list = append(a.list, s)
	a.superseded = slices.DeleteFunc(a.superseded, func(i policy.Instance) bool { return i == instance })
	if len(a.superseded) > 4 {
		a.superseded = a.superseded[1:]
	}
	return 0, out
}

func (m model) close(s *stream) {
	if a := m[s.client]; a != nil {
		a.list = slices.DeleteFunc(slices.Clone(a.list), func(r *stream) bool { return r == s })
		if len(a.list) == 0 {
			a.superseded = nil
		}
	}
}

func (m model) holds(s *stream) bool {
	return m[s.client] != nil && slices.Contains(m[s.client].list, s)
}

// machine drives workers and the model side by side.
type machine struct {
	*world
	model model
}

func newMachine(t *rapid.T) *machine {
	m := &machine{world: newWorld().small(uint8(rapid.SampledFrom([]int{0, 3}).Draw(t, "table bits"))), model: model{}}
	m.limits = policy.Limits{MaxStreams: rapid.IntRange(1, 3).Draw(t, "max_streams"), RejectNew: rapid.IntRange(0, 3).Draw(t, "reject_new") == 0}
	if n := rapid.IntRange(-2, 3).Draw(t, "takeover_limit"); n > 0 {
		m.limits.TakeoverLimit = policy.TokenBucket{MaxTokens: n, TokensPerFill: rapid.IntRange(1, 2).Draw(t, "tokens_per_fill"), FillInterval: 10 * policy.Second}
	}
	if n := rapid.IntRange(-5, 5).Draw(t, "max_total_streams"); n > 0 {
		m.total = n
	}
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
	if err := th.Join(m.now); err != nil {
		t.Fatalf("join: %v", err)
	}
	return th
}

// claim is a stream that arrives on any worker. It checks that a peek before the claim gives the
// claim's verdict.
func (m *machine) claim(t *rapid.T) *stream {
	th := m.joinedThread(t)
	client := rapid.SampledFrom([]string{"alice", "alice/A", "alice/B", "alice/C", "bob", "bob/A", "bob/B", "carol"}).Draw(t, "client")
	s := th.newStream(client)
	peeked := th.peek(t, s)
	if s.err = th.claim(s); s.err != nil && !errors.Is(s.err, errSwept) {
		t.Fatalf("claim: %v", s.err)
	}
	if s.err == nil && !equal(peeked, s.verdict) && !m.swept {
		t.Fatalf("stream %d: peek says %+v, but the claim says %+v", s.handle.Context, peeked, s.verdict)
	}
	return s
}

// ops are the events of every day, lost messages included.
func (m *machine) ops() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"open": func(t *rapid.T) {
			s := m.claim(t)
			if s.verdict.Refusal == policy.Overloaded {
				return // the count includes superseded streams until their owners have read their messages
			}
			refusal, out := m.model.open(s, m.now)
			var yields []uint32
			for _, r := range out {
				yields = append(yields, r.handle.Context)
			}
			var yielding []uint32
			for _, r := range s.verdict.Superseded {
				yielding = append(yielding, r.Context)
			}
			if s.verdict.Refusal != refusal || !slices.Equal(yielding, yields) {
				t.Fatalf("stream %d: refusal %v, streams %v yield; the model has refusal %v, and %v yield", s.handle.Context, s.verdict.Refusal, yielding, refusal, yields)
			}
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
		"dismiss": func(t *rapid.T) {
			client := rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "client")
			n, err := m.anyThread(t).dismiss(client)
			if err != nil {
				t.Fatalf("dismiss: %v", err)
			}
			had := 0
			if a := m.model[client]; a != nil {
				had = len(a.list)
			}
			if n != had && !m.swept {
				t.Fatalf("dismissed %d streams of %s; the model has %d", n, client, had)
			}
			if had > 0 { // otherwise nobody was dismissed, and nothing is forgotten
				delete(m.model, client)
			}
		},
		"time passes": func(t *rapid.T) {
			m.now += int64(rapid.SampledFrom([]int{1, 500, 9_999, 10_000, 25_000}).Draw(t, "ms"))
			for _, th := range m.threads {
				if !th.crashed && th.owner.Incarnation != 0 {
					th.Worker.now = m.now
					if err := th.beat(th.registered); err != nil && !errors.Is(err, errSwept) {
						t.Fatalf("heartbeat: %v", err)
					}
				}
			}
		},
		"peek": func(t *rapid.T) { // for a stream whose backend will not answer
			th := m.joinedThread(t)
			s := th.newStream(rapid.SampledFrom([]string{"alice", "alice/A", "bob", "carol"}).Draw(t, "client"))
			s.fate = unanswered
			th.peek(t, s)
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

// Whatever happens, except the death of a worker: in the end exactly those streams live that the
// model holds. All workers tick in turn, so none declares another dead.
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
				t.Fatalf("stream %d of %s is %s; in the model it lives: %v", s.handle.Context, s.client, s.fate, m.model.holds(s))
			}
		}
	})
}

// This adds crashes, and workers that are declared dead while they live. When an orphan is removed
// depends on timing, and so does which streams a swept worker puts back in time. The model
// therefore does not know who lives. The test checks the registry's promises, and that a client's
// newest stream was never ended if the model still holds it.
func TestAgainstModelWithDeaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine(t)
		ops := m.ops()
		late := map[string]bool{}
		ops["open"] = func(t *rapid.T) {
			s := m.claim(t)
			if s.err != nil {
				late[s.client] = true // a tick claims it, perhaps after others
			}
			if s.err != nil || s.verdict.Refusal != 0 {
				return // perhaps because of streams that are dead or out
			}
			a := m.model[s.client]
			if a == nil {
				a = &account{}
				m.model[s.client] = a
			}
			sameInstance := func(r *stream) bool { return r.handle.Instance != 0 && r.handle.Instance == s.handle.Instance }
			a.list = append(slices.DeleteFunc(a.list, sameInstance), s)
			a.list = a.list[max(0, len(a.list)-s.handle.Limits.MaxStreams):]
		}
		ops["dismiss"] = func(t *rapid.T) {
			client := rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "client")
			if _, err := m.anyThread(t).dismiss(client); err != nil {
				t.Fatalf("dismiss: %v", err)
			}
			delete(m.model, client)
		}
		ops["crash"] = func(t *rapid.T) {
			m.anyThread(t).crash()
			m.thread()
		}
		ops["false sweep"] = func(t *rapid.T) { m.joinedThread(t).fence() }
		t.Repeat(ops)
		if err := m.drain(); err != nil {
			t.Fatal(err)
		}
		for client, a := range m.model {
			if len(a.list) == 0 {
				continue
			}
			if newest := a.list[len(a.list)-1]; !late[client] && newest.fate != alive && newest.fate != cutByCrash {
				t.Fatalf("stream %d, the newest of %s, must not be ended; it was %s", newest.handle.Context, client, newest.fate)
			}
		}
	})
}
