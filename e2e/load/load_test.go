package main

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// The rig builds the filter and finds Envoy from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A small soak: the promise holds afterwards, and the plot has a point for each sample.
func TestSoak(t *testing.T) {
	s := soak{
		members: 60,
		workers: workers,
		load:    load{takeovers: 100, guests: 50, events: 200, stay: 10 * time.Second},
		lasts:   3 * time.Second,
		every:   time.Second,
		plot:    t.TempDir() + "/soak.svg",
	}
	if err := s.run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Each fault, for a small crowd.
func TestFaults(t *testing.T) {
	x := extent{members: 60, load: load{takeovers: 50, guests: 20, events: 200, stay: 10 * time.Second}, times: 3, stall: 2 * time.Second, many: 2000}
	for _, group := range faults {
		e, err := group.setup.start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer e.stop()
		for _, f := range group.faults {
			t.Run(f.name, func(t *testing.T) {
				o, err := f.suffer(t.Context(), e, x)
				t.Logf("%+v", o)
				if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
