package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpuTime returns the CPU time of all threads of a process, in user and kernel mode. It reads the
// scheduler's counters in nanoseconds; getrusage and /proc/<pid>/stat count ticks of 10 ms. Linux
// only.
func cpuTime(pid int) (time.Duration, error) {
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
