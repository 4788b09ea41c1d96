package model

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

// world is what TestSearch searches. Its flags make it larger.
var world Config

func init() {
	flag.IntVar(&world.MaxStreams, "max_streams", 1, "streams that the client may have")
	flag.IntVar(&world.Streams, "streams", 2, "streams that are opened")
	flag.IntVar(&world.Crashes, "crashes", 1, "workers that crash")
	flag.IntVar(&world.Sweeps, "sweeps", 1, "workers that are declared dead, truly or not")
	flag.IntVar(&world.Losses, "losses", 1, "messages that are lost")
	flag.IntVar(&world.Hangups, "hangups", 1, "clients that hang up")
	flag.IntVar(&world.Peeks, "peeks", 1, "peeks that a claim or release may begin with")
	flag.IntVar(&world.MaxStates, "states", 0, "states after which the search stops; 0: it does not")
}

func TestSearch(t *testing.T) {
	r := search(t, world)
	if r.Exhausted == (world.MaxStates > 0 && r.States > world.MaxStates) {
		t.Errorf("%d states, exhausted: %t", r.States, r.Exhausted)
	}
}

// More streams, with fewer kinds of faults at a time: each of these is exhausted in a second or
// two.
func TestThreeStreams(t *testing.T) {
	for _, c := range []Config{
		{MaxStreams: 1, Streams: 3, Crashes: 1, Losses: 1},
		{MaxStreams: 1, Streams: 3, Sweeps: 1},
		{MaxStreams: 1, Streams: 3, Hangups: 1, Peeks: 2},
		{MaxStreams: 2, Streams: 3, Losses: 1, Hangups: 1},
		{MaxStreams: 2, Streams: 3, Sweeps: 1},
	} {
		if r := search(t, c); !r.Exhausted {
			t.Errorf("%+v: stopped after %d states", c, r.States)
		}
	}
}

func search(t *testing.T, c Config) Result {
	t.Helper()
	r := Search(c)
	if r.Violation != nil {
		t.Errorf("%+v: %s, after\n%s", c, r.Violation.Broken, strings.Join(r.Violation.Path, "\n"))
	}
	t.Logf("%+v: %d states", c, r.States)
	return r
}

func TestEachRuleIsNeeded(t *testing.T) {
	for _, rule := range Rules {
		t.Run(rule.String(), func(t *testing.T) {
			r := Search(Config{MaxStreams: 1, Streams: 3, Crashes: 1, Sweeps: 1, Losses: 1, Hangups: 1, Peeks: 1, Without: rule, MaxStates: 500_000})
			if r.Violation == nil {
				t.Fatalf("nothing is broken in %d states: why is this a rule?", r.States)
			}
			t.Logf("%s, after\n%s", r.Violation.Broken, strings.Join(r.Violation.Path, "\n"))
		})
	}
}

// DESIGN.md says of each rule what goes wrong without it.
func TestDesignHasTheRules(t *testing.T) {
	design, err := os.ReadFile("../../DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(design), "| rule | what it says | without it |\n|---|---|---|\n")
	if !found {
		t.Fatal("DESIGN.md has no table of rules")
	}
	var got, want []string
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			break
		}
		got = append(got, strings.Trim(cells[1], " *"))
	}
	for _, rule := range Rules {
		want = append(want, rule.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("DESIGN.md has the rules %q, want %q", got, want)
	}
}
