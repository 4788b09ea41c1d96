package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
)

// unlimited lets a client take over as often as this benchmark does.
const unlimited = `{"rules": [{"name": "events", "client": [{"query": "client"}], "takeover_limit": false}]}`

// benchTakeovers measures how long a takeover takes: from the moment the client sends its next
// request to the moment it sees the reset of its old stream.
func benchTakeovers(ctx context.Context, streams, takeovers int) error {
	const workers = 2
	r, err := rig.Start(ctx, rig.Options{Concurrency: workers, Filter: unlimited})
	if err != nil {
		return err
	}
	defer r.Stop()

	open := make([]*rig.Stream, streams)
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range open {
		group.Go(func() error {
			c, err := r.Dial(opening, rig.HTTP1)
			if err != nil {
				return err
			}
			open[i], err = c.Open(opening, request(i))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}

	took := make([]float64, 0, takeovers)
	for range takeovers {
		i := rand.IntN(streams)
		old := open[i]
		c, err := r.Dial(ctx, rig.HTTP1)
		if err != nil {
			return err
		}
		sent := time.Now()
		if open[i], err = c.Open(ctx, request(i)); err != nil {
			return err
		}
		end, err := old.End(ctx)
		if err != nil {
			return err
		}
		if end.How != rig.Reset {
			return fmt.Errorf("end of a superseded stream: got %v (%w), want a reset", end.How, end.Err)
		}
		took = append(took, float64(end.At.Sub(sent))/float64(time.Millisecond))
	}

	metrics, err := r.Metrics(ctx)
	if err != nil {
		return err
	}
	if got := metrics["events.active"]; got != uint64(streams) {
		return fmt.Errorf("streams in the registry at the end: got %d, want %d", got, streams)
	}
	fmt.Printf("\nTakeover over HTTP/1.1, request to the old stream's end at its client: %d takeovers among %d open streams, %d workers\n\n", takeovers, streams, workers)
	fmt.Println("| p50, ms | p90, ms | p99, ms | worst, ms |")
	fmt.Println("|---|---|---|---|")
	fmt.Printf("| %.2f | %.2f | %.2f | %.2f |\n", measure.Quantile(took, 0.5), measure.Quantile(took, 0.9), measure.Quantile(took, 0.99), measure.Quantile(took, 1))
	return nil
}

// request returns the request of client i for its event stream.
func request(i int) rig.Request {
	client := fmt.Sprint(i)
	return rig.Request{Client: client, Path: "/events?client=" + client}
}
