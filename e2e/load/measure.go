package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
)

// Memory is what Envoy's process has, in bytes.
type memory struct {
	rss    int64 // resident
	heap   int64 // what Envoy has allocated, without the guests; Envoy counts it every five seconds
	guests int64 // linear memory of all VMs: the filter's on each worker and on the main thread, and those of guest peek
}

// memory reads /proc/<pid>/smaps. V8 reserves 8 GiB of addresses for the linear memory of each VM,
// and makes the first part of them writable. So a guest's memory is a writable mapping that a huge
// inaccessible one follows.
func (e *edge) memory(ctx context.Context) (m memory, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", e.Envoy().PID()))
	if err != nil {
		return m, err
	}
	const reserved = 4 << 30 // more than any other inaccessible mapping has
	var lastEnd, lastSize int64
	var lastRights string
	for line := range bytes.Lines(maps) {
		var first, end, kb int64
		var rights string
		if n, _ := fmt.Sscanf(string(line), "%x-%x %s", &first, &end, &rights); n == 3 {
			if first == lastEnd && lastRights == "rw-p" && rights == "---p" && end-first > reserved {
				m.guests += lastSize
			}
			lastEnd, lastSize, lastRights = end, end-first, rights
		} else if n, _ := fmt.Sscanf(string(line), "Rss: %d kB", &kb); n == 1 {
			m.rss += kb << 10
		}
	}
	heap, err := stats(ctx, e.Rig, "server.memory_allocated")
	m.heap = heap[0]
	return m, err
}

// cpu returns the CPU time of Envoy's process.
func (e *edge) cpu() (time.Duration, error) { return measure.CPU(e.Envoy().PID()) }

// stats returns statistics of Envoy by their names. One that is not there is 0.
func stats(ctx context.Context, r *rig.Rig, names ...string) ([]int64, error) {
	quoted := strings.ReplaceAll(strings.Join(names, "|"), ".", `\.`)
	all, err := r.Envoy().Admin().Stats(ctx, "^("+quoted+")$")
	values := make([]int64, len(names))
	for i, name := range names {
		values[i] = int64(all.Values[name])
	}
	return values, err
}
