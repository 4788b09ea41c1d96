package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/e2e/measure"
)

// inFleet is unlimited in a fleet. The time-out is so long that every stream goes through etcd,
// however busy the machine is.
const inFleet = `{"rules": [{"name": "events", "client": [{"query": "client"}], "takeover_limit": false}],
	"fleet": {"clusters": ["etcd"], "secret": "000102030405060708090a0b0c0d0e0f", "timeout": "5s"}}`

// away has the default time-out, for an etcd that does not answer.
const away = `{"rules": [{"name": "events", "client": [{"query": "client"}], "takeover_limit": false}],
	"fleet": {"clusters": ["etcd"], "secret": "000102030405060708090a0b0c0d0e0f"}}`

// compareFleet measures two Envoys between which a client moves, beside one Envoy.
func compareFleet(ctx context.Context, rounds, streams, open, takeovers int) (err error) {
	redis, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer redis.stop()
	etcd, err := startEtcd(ctx)
	if err != nil {
		return err
	}
	defer etcd.stop()
	contenders := []*contender{
		{name: "the filter, one Envoy", filter: true, envoys: 1},
		{name: "the filter in a fleet, two Envoys, etcd", filter: true, fleet: inFleet, envoys: 2, store: etcd},
		{name: "ext_proc in Go with Redis, two Envoys", extProc: true, envoys: 2, store: redis},
	}
	defer func() { err = errors.Join(err, stopAll(contenders)) }()
	if err := takeTurns(ctx, contenders, rounds, streams); err != nil {
		return err
	}
	one := contenders[0]
	fmt.Printf("A stream of one event over HTTP/2: CPU time of all Envoys, of the backend, and of what else they need, medians of %d rounds of %d. Takeovers over HTTP/1.1: %d among %d open streams, each at the next Envoy, from the request to the end of the old stream at its client. Idle: these streams are open, and nothing happens. 2 workers in each Envoy.\n\n", rounds, streams, takeovers, open)
	fmt.Println("| | us a stream | of this, the store | added to one Envoy, us | streams a second | takeover p50, p99, longest, ms | idle, percent of a core |\n|---|---|---|---|---|---|---|")
	for _, c := range contenders {
		ms, idle, err := c.moveAndRest(ctx, open, takeovers)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Printf("| %s | %.0f | %.0f | %.0f | %.0f | %.1f, %.1f, %.1f | %.1f |\n", c.name, c.median(c.us), c.median(c.storeUs), c.median(c.over(one)), c.median(c.rate),
			measure.Quantile(ms, 0.5), measure.Quantile(ms, 0.99), measure.Quantile(ms, 1), idle)
	}
	return openWhileAway(ctx, etcd, takeovers)
}

// moveAndRest measures takeovers of a crowd, and what it costs while nothing happens.
func (c *contender) moveAndRest(ctx context.Context, clients, takeovers int) (ms []float64, idle float64, err error) {
	all, err := c.gather(ctx, clients)
	if err != nil {
		return nil, 0, err
	}
	defer all.leave()
	if ms, err = all.takeovers(ctx, takeovers); err != nil {
		return nil, 0, err
	}
	idle, err = c.idle(ctx)
	return ms, idle, err
}

// openWhileAway measures how long clients wait while etcd does not answer.
func openWhileAway(ctx context.Context, etcd *store, streams int) (err error) {
	c := &contender{name: "etcd is away", filter: true, fleet: away, envoys: 1, store: etcd}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.start(ctx); err != nil {
		return err
	}
	conn := c.conns[0]
	opened := func() (float64, error) {
		sent := time.Now()
		_, err := conn.Do(ctx, request(fmt.Sprint("guest-", c.last.Add(1)), "&brief=1"))
		return float64(time.Since(sent)) / float64(time.Millisecond), err
	}
	measured := func(n int) (ms []float64, err error) {
		for range n {
			took, err := opened()
			if err != nil {
				return nil, err
			}
			ms = append(ms, took)
		}
		return ms, nil
	}
	before, err := measured(streams)
	if err != nil {
		return err
	}
	if err := syscall.Kill(etcd.pid, syscall.SIGSTOP); err != nil {
		return err
	}
	defer syscall.Kill(etcd.pid, syscall.SIGCONT)
	after, err := measured(streams)
	if err != nil {
		return err
	}
	fmt.Printf("\nA stream of one event over HTTP/2 at one worker, from its request to its end, %d before and %d after etcd was stopped\n\n", streams, streams)
	fmt.Println("| | the first, ms | p50, ms | p99, ms | longest, ms |\n|---|---|---|---|---|")
	for _, row := range []struct {
		name string
		ms   []float64
	}{{"etcd answers", before}, {"etcd is stopped", after}} {
		later := row.ms[1:]
		fmt.Printf("| %s | %.1f | %.2f | %.2f | %.1f |\n", row.name, row.ms[0], measure.Quantile(later, 0.5), measure.Quantile(later, 0.99), measure.Quantile(later, 1))
	}
	return nil
}
