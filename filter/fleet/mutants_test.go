package fleet

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/fleet/model"
)

// mutants are the rules of the protocol, each with the place in the code that keeps it. The test
// compiles a copy of the code in which each can be left out, and sees that the random ways find it.
// Package model has the same rules, under the same names.
var mutants = []struct{ name, file, old, new string }{
	{"no-guard", "view.go",
		"Compare: []etcd.Compare{{Key: all.Key",
		"Compare: []etcd.Compare{{Key: all.Key + left(`no-guard`, `zzz`)"},
	{"no-kept", "view.go",
		"if len(p.yield) > 0 {",
		"if len(p.yield) > 0 && !leftOut(`no-kept`) {"},
	{"no-sentinel", "watch.go",
		"if e.Delete { // etcd",
		"if e.Delete && !leftOut(`no-sentinel`) { // etcd"},
	{"no-return", "claim.go",
		"if m.away || m.lease == 0 ||",
		"if leftOut(`no-return`) || m.away || m.lease == 0 ||"},
	{"fresh-stamp", "claim.go",
		"	if s.state.in() {\n		verdict = policy.Return",
		"	if s.state.in() && leftOut(`fresh-stamp`) {\n		p.Stamp = after(max(s.view.newest(), m.newest(s)), m.now, m.random())\n" +
			"		verdict = policy.Decide(client, policyStream(me, p.Stamp, s.Instance), *s.Limits, false, m.now)\n" +
			"	} else if s.state.in() {\n		verdict = policy.Return"},
	{"refuse-late", "claim.go",
		"	verdict := Verdict{Stream: s, Outcome: how}\n",
		"	if s.RefuseUnavailable && leftOut(`refuse-late`) {\n		m.refuse(s, 1, 0)\n		return\n	}\n	verdict := Verdict{Stream: s, Outcome: how}\n"},
	{"no-ghost", "watch.go",
		"	id, known := parseID(value)\n",
		"	if leftOut(`no-ghost`) {\n		return\n	}\n	id, known := parseID(value)\n"},
	{"no-release", "claim.go",
		"if sent != 0 && sent == m.lease {",
		"if sent != 0 && sent == m.lease && !leftOut(`no-release`) {"},
	{"no-resync", "watch.go",
		"	m.watch.resumed = true\n",
		"	m.watch.resumed = true\n	if leftOut(`no-resync`) {\n		m.watchFrom(1 << 40)\n		return\n	}\n"},
	{"snap-rev", "watch.go",
		"s.revision != 0 && s.revision <= revision:",
		"s.revision != 0 && (s.revision <= revision || leftOut(`snap-rev`)):"},
	{"stale-event", "watch.go",
		"s.state.in() && revision > s.revision {",
		"s.state.in() && (revision > s.revision || leftOut(`stale-event`)) {"},
	{"del-before-answer", "watch.go",
		"if s.state == Claiming && s.sending ||",
		"if s.state == Claiming && s.sending && !leftOut(`del-before-answer`) ||"},
	{"answer-after-snap", "claim.go",
		"(s.doubt == 0 || revision > s.doubt)",
		"(s.doubt == 0 || revision > s.doubt || leftOut(`answer-after-snap`))"},
}

const leftOutFile = `package fleet

import "os"

func leftOut(rule string) bool { return os.Getenv("LEFT_OUT") == rule }

func left(rule, s string) string {
	if leftOut(rule) {
		return s
	}
	return ""
}
`

func TestEachRuleIsNeeded(t *testing.T) {
	left := map[string]bool{"local-order": true, "ties": true} // see TestEachRuleOfTheCallerIsNeeded
	for _, rule := range mutants {
		left[rule.name] = true
	}
	for _, rule := range model.Rules {
		if !left[rule.String()] {
			t.Errorf("%s is a rule in package model, and is not left out here", rule)
		}
	}
	binary := mutate(t)
	for _, rule := range mutants {
		t.Run(rule.name, func(t *testing.T) {
			cmd := exec.Command(binary, "-test.run", "^TestMutant$", "-walks", "4000")
			cmd.Env = append(cmd.Environ(), "LEFT_OUT="+rule.name)
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "VIOLATION") {
				t.Fatalf("nothing is broken: why is this a rule?\n%v\n%s", err, out)
			}
			t.Log(string(out))
		})
	}
}

// TestMutant goes the ways on which a rule that is left out is missed.
func TestMutant(t *testing.T) {
	if os.Getenv("LEFT_OUT") == "stale-event" { // the way to it is long, and random ones rarely take it
		oldDelete(t)
		return
	}
	for seed := range uint64(*walks) {
		for _, c := range []size{
			{workers: []int{1, 1}, streams: 3, most: one, faults: faults{losses: 1, ends: 1, breaks: 1, expiries: 1, outages: 1}},
			{workers: []int{1, 1}, streams: 3, most: []int{2}, faults: faults{losses: 1, ends: 1, breaks: 1}},
			{workers: []int{1, 1}, streams: 3, most: one, faults: faults{losses: 2}, refuse: true},
		} {
			if _, err := walk(c, seed); err != nil {
				t.Fatalf("%+v, seed %d: %v", c, seed, err)
			}
		}
	}
}

// A claim is carried out and its answer is lost. The stream is superseded, its successor hangs up,
// and the stream returns. The delete that its watch then tells of is older than its registration.
func TestOldDelete(t *testing.T) { oldDelete(t) }

func oldDelete(t *testing.T) {
	t.Helper()
	c := size{workers: []int{1, 1}, streams: 2, most: one, faults: faults{losses: 1, ends: 1}}
	w := newWorld(c)
	var path []event
	for _, what := range []string{
		"open 0", "execute 0", "execute 0", "time out 0", // the claim of the first
		"open 1", "execute 1", "execute 1", "answer 1", "hang up 1", "execute 1", // the second, and its release
		"tick 0", "execute 0", "answer 0", // the first returns
		"tell 0", "tell 0", "tell 0",
	} {
		var e event
		e.what, e.i = what[:len(what)-2], int(what[len(what)-1]-'0')
		path = append(path, e)
		w.do(e)
	}
	if err := verify(w, func() []event { return path }); err != nil {
		t.Fatal(err)
	}
	if s := w.opened[0]; s.condition != live || s.State() != Registered {
		t.Errorf("the first stream is %s, want it registered", s.State())
	}
}

// Two rules are the caller's to keep.
func TestEachRuleOfTheCallerIsNeeded(t *testing.T) {
	for name, c := range map[string]size{
		"local-order": {workers: []int{2}, streams: 2, most: one, arrival: true},
		"ties":        {workers: []int{1, 1}, streams: 2, most: one, faults: faults{losses: 1}, ties: true},
	} {
		var err error
		for seed := uint64(0); err == nil && seed < 4000; seed++ {
			_, err = walk(c, seed)
		}
		if err == nil {
			t.Errorf("%s: nothing is broken: why is this a rule?", name)
		}
		t.Logf("%s: %v", name, err)
	}
}

// mutate compiles the tests of this package with the mutants in them.
func mutate(t *testing.T) (binary string) {
	t.Helper()
	dir := t.TempDir()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]string{"leftout.go": leftOutFile}
	for _, m := range mutants {
		if code[m.file] == "" {
			b, err := os.ReadFile(m.file)
			if err != nil {
				t.Fatal(err)
			}
			code[m.file] = string(b)
		}
		if n := strings.Count(code[m.file], m.old); n != 1 {
			t.Fatalf("%s: %d times in %s, want once: %s", m.name, n, m.file, m.old)
		}
		code[m.file] = strings.Replace(code[m.file], m.old, m.new, 1)
	}
	replace := map[string]string{}
	for file, text := range code {
		replace[filepath.Join(here, file)] = filepath.Join(dir, file)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o666); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "mutants.test")
	if out, err := exec.Command("go", "test", "-c", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	return binary
}
