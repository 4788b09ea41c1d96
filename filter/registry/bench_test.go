package registry

import (
	"fmt"
	"testing"
)

// BenchmarkClaimRelease measures a claim and a release while 1,000 or 100,000 other clients are
// connected. With 100,000 they may cost at most twice as much: compare the lines of one run.
//
//	go test ./filter/registry -run '^$' -bench ClaimRelease -count 5
func BenchmarkClaimRelease(b *testing.B) {
	for _, live := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			w := newWorld()
			w.envoy.onWrite = nil
			worker := w.thread()
			for i := range live {
				worker.open(clientName(i))
			}
			// Many clients, because some buckets are full and others empty.
			ids := make([]ClientID, 4096)
			for i := range ids {
				ids[i] = worker.table.Client("events", fmt.Append(nil, "guest-", i))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s := Stream{Client: ids[i%len(ids)], Limits: w.limitsNow(), Context: 1 << 30}
				if _, err := worker.Claim(w.now, &s); err != nil {
					b.Fatal(err)
				}
				if _, err := worker.Release(&s); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTick measures one tick of a worker without streams, and with 10,000.
//
//	go test ./filter/registry -run '^$' -bench Tick
func BenchmarkTick(b *testing.B) {
	for _, live := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			w := newWorld()
			w.envoy.onWrite = nil
			worker := w.thread()
			if err := worker.Join(w.now); err != nil {
				b.Fatal(err)
			}
			for i := range live {
				worker.open(clientName(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := worker.Tick(w.now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
