// Package measure is what the programs that measure share: the CPU time of a process, and medians.
package measure

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// CPU returns the CPU time of all threads of a process, in user and kernel mode. It reads the
// scheduler's counters in nanoseconds; getrusage and /proc/<pid>/stat count ticks of 10 ms. Linux
// only.
func CPU(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("CPU time of process %d: no /proc/%d/task/*/schedstat: the process has ended, or this is not Linux", pid, pid)
	}
	var total time.Duration
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
		}
		run, _, _ := strings.Cut(string(data), " ")
		ns, err := strconv.ParseInt(run, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of process %d: %s: %w", pid, file, err)
		}
		total += time.Duration(ns)
	}
	return total, nil
}

// Quantile returns the smallest value that is not exceeded by a fraction q of the values.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// Median returns the middle one of the values.
func Median(values []float64) float64 { return Quantile(values, 0.5) }
