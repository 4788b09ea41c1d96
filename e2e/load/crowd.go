package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A crowd is all clients of an edge, and what they have seen.
type crowd struct {
	edge    *edge
	members []*client

	pending atomic.Int64 // opens that are not over: see client

	// How often a stream was asked for, took the place of another, was refused, was not answered
	// or not with a stream, and ended although no newer stream of its client was let in.
	opened, took, refused, failed, lost atomic.Int64

	mu     sync.Mutex
	why    map[string]int          // how requests failed
	guests map[*client]bool        // clients that come and go, and are not gone
	recent *hdrhistogram.Histogram // how long takeovers took since the last sample, in microseconds
	all    *hdrhistogram.Histogram
}

func newCrowd(e *edge) *crowd {
	return &crowd{edge: e, why: make(map[string]int), guests: make(map[*client]bool), recent: newHistogram(), all: newHistogram()}
}

// newHistogram counts from 1 us to 10 minutes with three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 600_000_000, 3) }

func (c *crowd) record(took time.Duration) {
	c.took.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	us := min(max(took.Microseconds(), 1), 600_000_000)
	c.recent.RecordValue(us)
}

func (c *crowd) fail(why string) {
	c.failed.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.why[why]++
}

// complain returns an error if a stream was lost or a request failed.
func (c *crowd) complain(ctx context.Context) error {
	if c.lost.Load()+c.failed.Load() == 0 {
		return nil
	}
	all, err := c.edge.Envoy().Admin().Stats(ctx, "^cluster.backend.*(fail|timeout|overflow|reset|5xx)|^http.edge.*(_5xx|overload)")
	maps.DeleteFunc(all.Values, func(_ string, n uint64) bool { return n == 0 })
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(err, fmt.Errorf("%d streams ended although no newer one was let in, want 0; requests failed: %v, want none; Envoy counts %v", c.lost.Load(), c.why, all.Values))
}

// takeRecent returns how long takeovers took since its last call.
func (c *crowd) takeRecent() *hdrhistogram.Histogram {
	c.mu.Lock()
	defer c.mu.Unlock()
	recent := c.recent
	c.recent = newHistogram()
	c.all.Merge(recent)
	return recent
}

// join adds members and opens a stream for each. At most inFlight opens are pending at a time.
func (c *crowd) join(ctx context.Context, n int, via transport) error {
	first := len(c.members)
	for range n {
		c.members = append(c.members, &client{crowd: c, key: fmt.Sprint("member-", len(c.members)), via: via})
	}
	return c.reopen(ctx, c.members[first:])
}

// joinBoth adds n members, half of them over HTTP/1.1 and half over HTTP/2.
func (c *crowd) joinBoth(ctx context.Context, n int) error {
	if err := c.join(ctx, n/2, &overH1{address: c.edge.Address()}); err != nil {
		return err
	}
	return c.joinH2(ctx, n-n/2)
}

// joinH2 adds n members over HTTP/2.
func (c *crowd) joinH2(ctx context.Context, n int) error {
	return c.join(ctx, n, newOverH2(c.edge.Address(), 2+4*n/perConn))
}

const inFlight = 4000

// reopen makes each client open a stream, as fast as they can, and waits until all opens are over.
func (c *crowd) reopen(ctx context.Context, clients []*client) error {
	next := make(chan *client)
	var dialers sync.WaitGroup
	for range 64 {
		dialers.Go(func() {
			for member := range next {
				member.open()
			}
		})
	}
	for _, member := range clients {
		for c.pending.Load() >= inFlight && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		next <- member
	}
	close(next)
	dialers.Wait()
	return until(ctx, patience, func() error {
		if n := c.pending.Load(); n > 0 {
			return fmt.Errorf("%d opens are not over", n)
		}
		return nil
	})
}

// A load is what happens while a crowd is there, in events a second.
type load struct {
	takeovers int // members that open a second stream
	guests    int // clients that come, stay, and leave
	events    int // events that the backend sends, on one stream after the other

	stay time.Duration // of a guest, at most
}

// under runs f under load.
func (c *crowd) under(ctx context.Context, l load, f func(context.Context) error) error {
	loading, stop := context.WithCancel(ctx)
	var loops sync.WaitGroup
	loops.Go(func() { every(loading, l.takeovers, c.takeover) })
	loops.Go(func() { every(loading, l.guests, func(n int) { c.invite(n, l.stay) }) })
	loops.Go(func() { every(loading, l.events, c.edge.backend.send) })
	err := f(ctx)
	stop()
	loops.Wait()
	return err
}

// every calls f again and again, with how much has become due since the last call.
func every(ctx context.Context, rate int, f func(n int)) {
	const step = 10 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	due := 0.0
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			due += min(now.Sub(last), time.Second).Seconds() * float64(rate)
			last = now
			f(int(due))
			due -= float64(int(due))
		}
	}
}

// takeover makes n members open another stream, in their own goroutines because they may have to
// dial. At most inFlight opens are pending.
func (c *crowd) takeover(n int) {
	for range n {
		if c.pending.Load() < inFlight {
			go c.members[rand.IntN(len(c.members))].open()
		}
	}
}

// invite lets n new clients come, if there are not too many, for as long as longest each.
func (c *crowd) invite(n int, longest time.Duration) {
	for range n {
		guest := &client{crowd: c, key: fmt.Sprint("guest-", lastID.Add(1)), via: c.members[rand.IntN(len(c.members))].via,
			stay: 1 + rand.N(longest)}
		c.mu.Lock()
		full := len(c.guests) >= inFlight
		if !full {
			c.guests[guest] = true
		}
		c.mu.Unlock()
		if full || c.pending.Load() >= inFlight {
			c.forget(guest)
			return
		}
		go guest.open()
	}
}

func (c *crowd) forget(guest *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.guests, guest)
}

// present returns the guests that are not gone.
func (c *crowd) present() []*client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.guests))
}

// patience bounds every wait for a condition. What takes longer has failed.
const patience = 3 * time.Minute

// until waits until check returns nil.
func until(ctx context.Context, patience time.Duration, check func() error) error {
	said := time.Now()
	for deadline := time.Now().Add(patience); ; {
		err := check()
		switch {
		case err == nil || ctx.Err() != nil:
			return ctx.Err()
		case err != nil && time.Since(said) > time.Second:
			said = time.Now()
			fmt.Printf("#   %v\n", err)
		case time.Now().After(deadline):
			return fmt.Errorf("after %v: %w", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// settle makes all guests leave, waits until the promise holds, and returns how long that took:
// every member has exactly one stream, which is its newest, and backend and filter know of these
// streams and of no other.
func (c *crowd) settle(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	for _, guest := range c.present() {
		guest.leave()
	}
	err := until(ctx, patience, func() error { return c.promise(ctx) })
	return time.Since(begun), err
}

func (c *crowd) promise(ctx context.Context) error {
	if guests, pending := c.present(), c.pending.Load(); len(guests) > 0 || pending > 0 {
		unanswered, old := 0, 0
		for _, client := range append(guests, c.members...) {
			client.mu.Lock()
			if client.opening != nil {
				unanswered++
			}
			if client.old != nil {
				old++
			}
			client.mu.Unlock()
		}
		return fmt.Errorf("%d guests have not left; %d requests have no answer, %d superseded streams have not ended", len(guests), unanswered, old)
	}
	open := c.edge.backend.ids()
	for _, member := range c.members {
		member.mu.Lock()
		newest := member.current
		member.mu.Unlock()
		if newest == nil {
			return fmt.Errorf("%s has no stream", member.key)
		}
		if !open[newest.id] {
			return fmt.Errorf("%s: its newest stream is not open at the backend", member.key)
		}
		delete(open, newest.id)
	}
	if len(open) > 0 {
		return fmt.Errorf("%d streams are open at the backend that are nobody's newest", len(open))
	}
	return c.edge.counts(ctx, len(c.members))
}

// counts checks what Envoy and the filter count: n open streams, and nothing that was malformed.
func (e *edge) counts(ctx context.Context, n int) error {
	want := []struct {
		name string
		n    int
	}{
		{"http.edge.downstream_rq_active", n}, {"cluster.backend.upstream_rq_active", n},
		{"wasmcustom.streamlatch.events.active", n}, {"wasmcustom.streamlatch.malformed", 0},
	}
	if e.setup.bare {
		want = want[:2]
	}
	for _, w := range want {
		got, err := stats(ctx, e.Rig, w.name)
		if err != nil {
			return err
		}
		if got[0] != int64(w.n) {
			return fmt.Errorf("%s: got %d, want %d", w.name, got[0], w.n)
		}
	}
	return nil
}

// disperse makes all members leave, and waits until nothing is left of them. It returns how long
// that took.
func (c *crowd) disperse(ctx context.Context) (time.Duration, error) {
	begun := time.Now()
	for _, member := range c.members {
		member.leave()
	}
	err := until(ctx, patience, func() error {
		if n := len(c.edge.backend.ids()); n > 0 {
			return fmt.Errorf("%d streams are open at the backend, want 0", n)
		}
		return c.edge.counts(ctx, 0)
	})
	c.members = nil
	return time.Since(begun), err
}
