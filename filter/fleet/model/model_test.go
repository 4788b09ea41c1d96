package model

import (
	"flag"
	"testing"
)

var (
	states = flag.Int("states", 60_000, "states after which each search stops")
	walks  = flag.Int("walks", 1000, "random ways through each large world")
)

// Each of these is exhausted with -states 40000000; the first eight with -states 300000.
var searches = []Config{
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 3},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2, Losses: 1, Ends: 1, Breaks: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2, Outages: 1, Expiries: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2, Crashes: 1, Expiries: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2, RefuseUnavailable: true, Outages: 1, Losses: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2, RejectNew: true, Losses: 1, Outages: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, SecondMaxStreams: 2, Streams: 2, Losses: 1, Expiries: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2, Skew: 25, Outages: 1, Losses: 1},
	{Workers: []int{1, 1}, MaxStreams: 2, Streams: 3, Losses: 1},
	{Workers: []int{2, 1}, MaxStreams: 1, Streams: 3, Losses: 1},
	{Workers: []int{1, 1}, MaxStreams: 1, Streams: 3, Losses: 1, Ends: 1},
}

func TestSearch(t *testing.T) {
	for _, c := range searches {
		c.MaxStates = *states
		if testing.Short() {
			c.MaxStates = min(c.MaxStates, 20_000)
		}
		r := Search(c)
		if r.Violation != nil {
			t.Errorf("%+v: %s", c, r.Violation)
		}
		t.Logf("%+v: %d states, all: %t", c, r.States, r.Exhausted)
	}
}

// Random ways through worlds that are too large to search.
func TestWalks(t *testing.T) {
	all := Config{Workers: []int{2, 1}, MaxStreams: 1, Streams: 4, Losses: 2, Ends: 2, Breaks: 2, Expiries: 2, Crashes: 1, Outages: 2}
	for _, change := range []func(*Config){
		func(*Config) {},
		func(c *Config) { c.MaxStreams = 2 },
		func(c *Config) { c.SecondMaxStreams = 2 },
		func(c *Config) { c.RefuseUnavailable = true },
		func(c *Config) { c.RejectNew = true },
		func(c *Config) { c.Skew = 25 },
		func(c *Config) { c.Workers, c.Crashes = []int{1, 1, 1}, 0 },
	} {
		c := all
		change(&c)
		for seed := range uint64(*walks) {
			if r := Walk(c, seed); r.Violation != nil {
				t.Errorf("%+v, seed %d: %s", c, seed, r.Violation)
				break
			}
		}
	}
}

func TestEachRuleIsNeeded(t *testing.T) {
	two := Config{Workers: []int{1, 1}, MaxStreams: 1, Streams: 2}
	worlds := map[Rule]func(*Config){
		NoGuard:         func(*Config) {},
		NoKept:          func(c *Config) { c.Streams, c.MaxStreams, c.Ends = 3, 2, 1 },
		NoSentinel:      func(c *Config) { c.Expiries = 1 },
		NoReturn:        func(c *Config) { c.Expiries = 1 },
		FreshStamp:      func(c *Config) { c.Outages = 1 },
		LocalOrder:      func(*Config) {},
		Ties:            func(c *Config) { c.Losses = 1 },
		RefuseLate:      func(c *Config) { c.Losses, c.RefuseUnavailable = 1, true },
		NoGhost:         func(c *Config) { c.Losses, c.Ends = 1, 1 },
		NoRelease:       func(c *Config) { c.Outages, c.Ends = 1, 1 },
		NoResync:        func(c *Config) { c.Breaks = 1 },
		SnapRev:         func(c *Config) { c.Breaks = 1 },
		StaleEvent:      func(c *Config) { c.Losses, c.Ends = 1, 1 },
		DelBeforeAnswer: func(*Config) {},
		AnswerAfterSnap: func(c *Config) { c.Breaks = 1 },
	}
	for _, rule := range Rules {
		t.Run(rule.String(), func(t *testing.T) {
			c := two
			worlds[rule](&c)
			c.Without = rule
			r := Search(c)
			if r.Violation == nil {
				t.Fatalf("nothing is broken in %d states: why is this a rule?", r.States)
			}
			t.Logf("%d states: %s", r.States, r.Violation)
		})
	}
}
