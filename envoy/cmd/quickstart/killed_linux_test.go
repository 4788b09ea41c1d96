package main

import (
	"os"
	"slices"
	"testing"
	"time"
)

// A quick start that is killed cannot stop Envoy, so the kernel must do it.
func TestKilled(t *testing.T) {
	p, _ := start(t)
	p.signal(os.Kill)
	<-p.exit
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(processes(t), func(q process) bool { return q.pid == p.envoy }) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Envoy, pid %d, is still there", p.envoy)
		}
	}
}
