package registry

import (
	"cmp"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The value is in the message of a failing test, with the command that replays it.
var schedule = flag.String("schedule", "", "replay one schedule: the choice at each step, as a failing test prints it (with -run)")

// scenarios are explored exhaustively: every schedule with a bounded number of pre-emptions, and
// every place for the faults.
var scenarios = []scenario{
	{name: "two open",
		scripts: []script{{"open c", "wake"}, {"open c", "wake"}}},
	{name: "two first streams", // nobody has joined before, so this includes the race for the slots
		scripts: []script{{"open c"}, {"open c"}}},
	{name: "open and close",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"close 0", "open c"}, {"open c", "close 1", "wake"}}},
	{name: "open and message",
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"wake", "open c"}, {"open c", "wake"}}},
	{name: "open and tick",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"tick"}, {"open c"}}},
	{name: "three streams of two",
		limit:   2,
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"open c", "close 0"}, {"open c", "wake"}}},
	{name: "sweep of a worker that opens",
		before:  []script{{"open d"}, {"open d"}},
		scripts: []script{{"open c"}, {"sweep 0"}}},
	{name: "sweep of a worker that ticks",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"tick"}, {"sweep 0"}}},
	{name: "sweep of a worker that closes",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"close 0", "open c"}, {"sweep 0", "open c"}}},
	{name: "sweep and take over",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"wake", "tick"}, {"sweep 0", "open c"}}},
	{name: "each sweeps the other",
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"sweep 1"}, {"sweep 0"}}},
	{name: "crash while opening",
		before:  []script{{"open d"}, {"open c"}},
		scripts: []script{{"open c"}, {"open c", "wake"}}, crashes: 1},
	{name: "crash of a swept worker",
		before:  []script{{"open d"}, {"open d"}},
		scripts: []script{{"open c"}, {"sweep 0", "open c"}}, crashes: 1},
	{name: "crash while closing",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"close 0"}, {"open c"}}, crashes: 1},
	{name: "lost message",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"wake", "tick"}, {"open c", "close 1"}}, losses: 1},

	{name: "two peek",
		scripts: []script{{"peek c", "claim 0", "wake"}, {"peek c", "claim 0", "wake"}}},
	{name: "peek for two",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"peek c", "peek c", "claim 2", "claim 1"}, {"open c", "wake"}}},
	{name: "peek and close",
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"peek c", "wake", "close 0", "claim 1"}, {"close 0", "open c"}}},
	{name: "peek, refused by the claim",
		reject:  true,
		before:  []script{{"open d"}, {"open e"}},
		scripts: []script{{"peek c", "claim 1"}, {"open c", "close 1"}}},
	{name: "peek and tick",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"peek c", "tick", "claim 1"}, {"open c", "wake"}}},
	{name: "peek and sweep",
		before:  []script{{"open d"}, {"open d"}},
		scripts: []script{{"peek c", "claim 1", "tick"}, {"sweep 0", "open c"}}},
	{name: "peek and crash",
		before:  []script{{"open d"}, {"open c"}},
		scripts: []script{{"peek c", "claim 1"}, {"open c", "wake"}}, crashes: 1},
	{name: "peek and dismiss",
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"peek c", "claim 1", "wake"}, {"dismiss c", "wake"}}},
	{name: "peek and dismiss another's stream",
		before:  []script{{"open d"}, {"open e"}},
		scripts: []script{{"peek c", "dismiss c", "claim 1", "wake"}, {"open c", "wake"}}},
	{name: "peek for the last room",
		total:   1,
		before:  []script{{"open c", "close 0"}, {"open d"}},
		scripts: []script{{"peek c", "claim 1"}, {"close 0", "open e"}}},

	{name: "two instances open",
		scripts: []script{{"open c/A", "wake"}, {"open c/B", "wake"}}},
	{name: "superseded instance reconnects",
		before:  []script{{"open c/A"}, {"open d"}},
		scripts: []script{{"wake", "open c/A"}, {"open c/B", "wake"}}, preemptions: 6},
	{name: "superseded instance waits for a place",
		limit:   2,
		before:  []script{{"open c/A", "open c/B"}, {"open c/C"}},
		scripts: []script{{"wake", "close 1", "open c/A"}, {"close 0", "open c/B"}}},
	{name: "instance reconnects elsewhere",
		reject:  true,
		before:  []script{{"open c/A"}, {"open d"}},
		scripts: []script{{"wake", "close 0"}, {"open c/A", "wake"}}, preemptions: 6},
	{name: "instance reconnects to both",
		reject:  true,
		before:  []script{{"open c/A"}, {"open d"}},
		scripts: []script{{"open c/A", "wake"}, {"open c/A", "wake"}}},
	{name: "reject new",
		limit:   2,
		reject:  true,
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"close 0", "open c"}, {"open c", "close 0", "open c"}}},
	{name: "reject new and sweep",
		reject:  true,
		before:  []script{{"open c/A"}, {"open d"}},
		scripts: []script{{"wake", "tick"}, {"sweep 0", "open c/B"}}},
	{name: "instance of a swept worker reconnects",
		before:  []script{{"open c/A"}, {"open d"}},
		scripts: []script{{"open c/A"}, {"sweep 0", "open c/B"}}},
	{name: "takeover limit",
		takeovers: 1,
		before:    []script{{"open c"}, {"open d"}},
		scripts:   []script{{"wake", "open c"}, {"open c", "wake"}}, preemptions: 6},
	{name: "dismiss and open",
		limit:   2,
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"dismiss c", "wake"}, {"open c", "wake"}}},
	{name: "dismiss and close",
		limit:   2,
		before:  []script{{"open c"}, {"open c"}},
		scripts: []script{{"dismiss c", "wake"}, {"close 0", "tick"}}},
	{name: "dismiss twice",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"dismiss c", "wake"}, {"dismiss c", "wake"}}, preemptions: 5},
	{name: "dismiss streams of a swept worker",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"wake", "tick"}, {"sweep 0", "dismiss c"}}},
	{name: "dismiss a client whose streams were swept",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"tick", "wake", "tick"}, {"sweep 0", "dismiss c"}}},
	{name: "dismiss and a lost message",
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"wake", "tick"}, {"dismiss c"}}, losses: 1},

	{name: "room for one",
		total:   2,
		before:  []script{{"open c"}, {"open d", "close 0"}},
		scripts: []script{{"open d"}, {"open e"}}},
	{name: "room for one of three",
		total:   1,
		before:  []script{{"open c", "close 0"}, {"open d", "close 0"}, {"open e", "close 0"}},
		scripts: []script{{"open c"}, {"open d"}, {"open e"}}, preemptions: 2},
	{name: "room is made",
		total:   1,
		before:  []script{{"open c"}, {"dismiss d"}},
		scripts: []script{{"close 0", "open d"}, {"open e", "close 0"}}},
	{name: "takeover when full",
		total:   1,
		before:  []script{{"open c"}, {}, {}},
		scripts: []script{{"close 0"}, {"open c"}, {"open d"}}, preemptions: 2},
	{name: "takeover when full and wake",
		total:   2,
		before:  []script{{"open c", "open f"}, {"open d", "close 0"}},
		scripts: []script{{"wake", "open e"}, {"open c", "close 1"}}},
	{name: "dismiss when full",
		total:   1,
		before:  []script{{"open c"}, {"open d"}},
		scripts: []script{{"dismiss c", "open e"}, {"open d", "wake"}}},
	{name: "reconnect and hang up when full",
		total:   1,
		before:  []script{{"open c/A"}, {"dismiss d"}},
		scripts: []script{{"close 0", "open d"}, {"open c/A", "close 0", "open e"}}},
	{name: "crash with a place reserved",
		total:   2,
		before:  []script{{"open c"}, {"open d", "close 0"}},
		scripts: []script{{"open d"}, {"open e"}}, crashes: 1, preemptions: 2},
}

func TestExplore(t *testing.T) {
	for _, sc := range scenarios {
		t.Run(strings.ReplaceAll(sc.name, " ", "_"), func(t *testing.T) {
			if *schedule != "" {
				replay(t, sc)
				return
			}
			preemptions, fewest := cmp.Or(sc.preemptions, 3), 100
			if testing.Short() {
				preemptions, fewest = 2, 20
			}
			runs := exhaust(preemptions, func(choose chooser, made *[]int) bool {
				trace, err := sc.execute(choose)
				return !report(t, *made, trace, err)
			})
			if (runs < fewest || runs == mostRuns) && !t.Failed() {
				t.Errorf("ran %d schedules, want at least %d and fewer than %d: does the search see the calls?", runs, fewest, mostRuns)
			}
			t.Logf("%d schedules", runs)
		})
	}
}

// mostRuns is far above what the scenarios need. It stops the search if a mistake in a scenario
// makes it endless.
const mostRuns = 100_000

// exhaust calls try with a chooser for every schedule that has at most so many pre-emptions, until
// try returns false. It returns the number of calls. made holds the choices that the schedule has
// made so far.
func exhaust(preemptions int, try func(choose chooser, made *[]int) bool) (runs int) {
	type prefix struct {
		choices     []int
		preemptions int
	}
	todo := []prefix{{}}
	for len(todo) > 0 && runs < mostRuns {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		var made []int
		runs++
		ok := try(func(choices []choice) int {
			at := len(made)
			if at < len(p.choices) {
				made = append(made, p.choices[at])
				return p.choices[at]
			}
			for i := 1; i < len(choices); i++ {
				cost := p.preemptions
				if choices[i].preempts {
					cost++
				}
				if cost <= preemptions {
					todo = append(todo, prefix{append(slices.Clone(made), i), cost})
				}
			}
			made = append(made, 0)
			return 0
		}, &made)
		if !ok {
			break
		}
	}
	return runs
}

// report fails the test if err is not nil, and prints the command that replays the schedule.
func report(t *testing.T, made []int, trace []string, err error) (failed bool) {
	if err == nil {
		return false
	}
	for len(made) > 0 && made[len(made)-1] == 0 { // a replay makes the first choice when it has no number left
		made = made[:len(made)-1]
	}
	var numbers []string
	for _, n := range made {
		numbers = append(numbers, strconv.Itoa(n))
	}
	t.Errorf("%v\n  %s\nreplay: go test ./filter/registry -run '^%s$' -schedule %s,", err, strings.Join(trace, "\n  "), t.Name(), strings.Join(numbers, ","))
	return true
}

func replay(t *testing.T, sc scenario) {
	var made []int
	for _, n := range strings.FieldsFunc(*schedule, func(r rune) bool { return r == ',' }) {
		i, err := strconv.Atoi(n)
		if err != nil {
			t.Fatalf("schedule: %v", err)
		}
		made = append(made, i)
	}
	at := 0
	trace, err := sc.execute(func(choices []choice) int {
		if at++; at > len(made) {
			return 0
		}
		if made[at-1] >= len(choices) {
			panic(fmt.Sprintf("schedule: step %d chooses %d, want less than %d", at, made[at-1], len(choices)))
		}
		return made[at-1]
	})
	t.Logf("%s", strings.Join(trace, "\n"))
	report(t, made, trace, err)
}
