package host

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// LeakKind says what a [Leak] is.
type LeakKind int

// The kinds of leaks.
const (
	LeakedStream     LeakKind = iota + 1 // a stream that has not ended
	LeakedConnection                     // a TCP connection that is not closed
	LeakedPlugin                         // a plugin whose on_done returned false, and that never called proxy_done
	LeakedCallout                        // an HTTP or gRPC callout without an answer
	LeakedQueueItem                      // an item that nobody has taken out of a shared queue
	LeakedSharedData                     // a key of shared data
)

var leakKindNames = [...]string{"", "open stream", "open connection", "plugin that waits for proxy_done", "callout", "item in queue", "shared data"}

func (k LeakKind) String() string {
	if k > 0 && int(k) < len(leakKindNames) {
		return leakKindNames[k]
	}
	return fmt.Sprintf("LeakKind(%d)", int(k))
}

// Leak is something that still takes memory.
type Leak struct {
	Kind   LeakKind
	Worker int    // that has it, or MainThread; also MainThread for what all threads share
	Name   string // context id, cluster, queue or key
	Bytes  int    // of a queue's item, or of a key and its value
}

func (l Leak) String() string {
	s := fmt.Sprintf("%v %q", l.Kind, l.Name)
	switch l.Kind {
	case LeakedQueueItem, LeakedSharedData:
		return fmt.Sprintf("%s, %d bytes", s, l.Bytes)
	}
	return threadName(l.Worker) + ": " + s
}

// Leaks returns what the guest, or the test, has left behind. At the end of a test, when all
// streams have ended, there should be nothing but shared data whose number of keys has a limit. No
// hostcall deletes a key, so Envoy keeps each one until it stops: a filter that makes a key for
// every client leaks.
//
//	for _, leak := range world.Leaks() {
//		if leak.Kind != host.LeakedSharedData {
//			t.Error(leak)
//		}
//	}
func (w *World) Leaks() []Leak {
	var leaks []Leak
	for _, t := range w.threads() {
		if t.vm == nil || t.vm.failed {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(t.vm.contexts)) {
			c := t.vm.contexts[id]
			switch {
			case c.connection != nil:
				leaks = append(leaks, Leak{Kind: LeakedConnection, Worker: t.index, Name: fmt.Sprint(id)})
			case c.stream != nil:
				leaks = append(leaks, Leak{Kind: LeakedStream, Worker: t.index, Name: fmt.Sprint(id)})
			case c.plugin != nil && t.vm.pendingDone[c.plugin.key()] == c.plugin:
				leaks = append(leaks, Leak{Kind: LeakedPlugin, Worker: t.index, Name: fmt.Sprint(id)})
			}
		}
	}
	for _, o := range w.network.open {
		c := o.common()
		if c.world != w {
			continue
		}
		leaks = append(leaks, Leak{Kind: LeakedCallout, Worker: c.Worker, Name: c.Cluster})
	}
	for _, token := range slices.Sorted(maps.Keys(w.queues.queues)) {
		q := w.queues.queues[token]
		if q.name.vmID != w.config.VMID {
			continue
		}
		for _, item := range q.items {
			leaks = append(leaks, Leak{Kind: LeakedQueueItem, Worker: MainThread, Name: q.name.name, Bytes: len(item)})
		}
	}
	for key, value := range w.data.values {
		leaks = append(leaks, Leak{Kind: LeakedSharedData, Worker: MainThread, Name: key, Bytes: len(key) + len(value.Bytes)})
	}
	slices.SortStableFunc(leaks, func(a, b Leak) int {
		if a.Kind == LeakedSharedData && b.Kind == LeakedSharedData {
			return cmp.Compare(a.Name, b.Name)
		}
		return cmp.Compare(a.Kind, b.Kind)
	})
	return leaks
}
