package registry

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var seed = flag.Int64("seed", -1, "replay one random schedule: its seed, as a failing test prints it (with -run)")

// Random schedules reach what the exhaustive search cannot: three workers, four streams of one
// client and some of another, and in the same run sweeps, instances, limits, operators, crashes,
// lost messages, and an interruption before any call.
func TestRandomSchedules(t *testing.T) {
	if *seed >= 0 {
		sc, trace, err := randomRun(*seed)
		t.Logf("%+v\n  %s", sc, strings.Join(trace, "\n  "))
		if err != nil {
			t.Error(err)
		}
		return
	}
	runs := int64(6000)
	if testing.Short() {
		runs = 2000
	}
	for n := range runs {
		if sc, trace, err := randomRun(n); err != nil {
			t.Fatalf("%v\n%+v\n  %s\nreplay: go test ./filter/registry -run '^TestRandomSchedules$' -seed %d", err, sc, strings.Join(trace, "\n  "), n)
		}
	}
}

func randomRun(seed int64) (scenario, []string, error) {
	rnd := rand.New(rand.NewPCG(uint64(seed), 0))
	sc := randomScenario(rnd)
	stay := rnd.Float64() // the probability that the same worker goes on; long runs reach other states than short ones
	trace, err := sc.execute(func(choices []choice) int {
		if rnd.Float64() < stay {
			return 0
		}
		return rnd.IntN(len(choices))
	})
	return sc, trace, err
}

func randomScenario(rnd *rand.Rand) scenario {
	const workers, streams = 3, 4
	sc := scenario{limit: 1 + rnd.IntN(2), crashes: rnd.IntN(2), losses: rnd.IntN(3), reject: rnd.IntN(4) == 0}
	if rnd.IntN(3) == 0 {
		sc.takeovers = 1 + rnd.IntN(2)
	}
	if rnd.IntN(3) == 0 {
		sc.total = 1 + rnd.IntN(4)
	}
	instances := []string{"", "", "/A", "/A", "/B", "/C"}[:1+rnd.IntN(6)]
	sweeps := rnd.IntN(3) > 0
	sc.scripts = make([]script, workers)
	opened := make([]int, workers)
	for range streams {
		w := rnd.IntN(workers)
		sc.scripts[w] = append(sc.scripts[w], "open c"+instances[rnd.IntN(len(instances))])
		opened[w]++
	}
	for w := range sc.scripts {
		extra := []string{"tick", "tick", "wake", "open d"}
		if sweeps {
			extra = append(extra, fmt.Sprintf("sweep %d", (w+1+rnd.IntN(workers-1))%workers))
		}
		if rnd.IntN(3) == 0 {
			extra = append(extra, "dismiss c")
		}
		if opened[w] > 0 {
			extra = append(extra, fmt.Sprintf("close %d", rnd.IntN(opened[w])))
		}
		rnd.Shuffle(len(extra), func(i, j int) { extra[i], extra[j] = extra[j], extra[i] })
		sc.scripts[w] = append(sc.scripts[w], extra[:rnd.IntN(len(extra)+1)]...)
		rnd.Shuffle(len(sc.scripts[w]), func(i, j int) {
			s := sc.scripts[w]
			s[i], s[j] = s[j], s[i]
		})
	}
	return sc
}
