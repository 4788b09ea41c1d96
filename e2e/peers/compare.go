package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamlatch/streamlatch/e2e/measure"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy"
)

// A contender is one way to keep one live stream per client, and what it needs.
type contender struct {
	name    string
	filter  bool   // the filter is in Envoy
	fleet   string // and asks the store, an etcd, with this configuration; "": it does not
	extProc bool   // the external processor is in Envoy
	backend bool   // the backend uses the store, a Redis
	store   *store // nil: it uses none
	envoys  int

	rigs      []*rig.Rig
	processes []*process // its own, without Envoy and the store
	conns     []*rig.Conn
	last      atomic.Int64 // client
	rounds    []costs
}

// costs are those of one round.
type costs struct {
	us, storeUs float64 // CPU time a stream, and the store's part of it
	rate        float64 // streams a second
}

// unlimited lets a client take over as often as is measured here.
const unlimited = `{"rules": [{"name": "events", "client": [{"query": "client"}], "takeover_limit": false}]}`

// compare measures all contenders and prints the result.
func compare(ctx context.Context, rounds, streams, open, takeovers int) (err error) {
	redis, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer redis.stop()
	contenders := []*contender{
		{name: "bare Envoy: streams are not ended", envoys: 1},
		{name: "the filter", filter: true, envoys: 1},
		{name: "ext_proc in Go with Redis", extProc: true, store: redis, envoys: 1},
		{name: "backends with Redis", backend: true, store: redis, envoys: 1},
	}
	defer func() { err = errors.Join(err, stopAll(contenders)) }()
	if err := takeTurns(ctx, contenders, rounds, streams); err != nil {
		return err
	}
	bare := contenders[0]
	fmt.Printf("A stream of one event over HTTP/2: CPU time of Envoy, backend, and what else it needs, medians of %d rounds of %d. Takeovers over HTTP/1.1: %d among %d open streams, from the request to the end of the old stream at its client. 2 workers.\n\n", rounds, streams, takeovers, open)
	fmt.Println("| | us a stream | added to bare Envoy, us | takeover p50, p99, longest, ms |\n|---|---|---|---|")
	for _, c := range contenders {
		took := "-"
		if c != bare {
			all, err := c.gather(ctx, open)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			ms, err := all.takeovers(ctx, takeovers)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			all.leave()
			took = fmt.Sprintf("%.1f, %.1f, %.1f", measure.Quantile(ms, 0.5), measure.Quantile(ms, 0.99), measure.Quantile(ms, 1))
		}
		fmt.Printf("| %s | %.0f | %.0f | %s |\n", c.name, c.median(c.us), c.median(c.over(bare)), took)
	}
	return nil
}

// takeTurns starts all contenders and measures what a stream costs with each, in rounds.
func takeTurns(ctx context.Context, contenders []*contender, rounds, streams int) error {
	for _, c := range contenders {
		if err := c.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for round := range rounds + 1 {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			of, err := c.cost(ctx, streams)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 { // the first one warms up
				c.rounds = append(c.rounds, of)
			}
		}
	}
	return nil
}

func stopAll(contenders []*contender) (err error) {
	for _, c := range contenders {
		err = errors.Join(err, c.stop())
	}
	return err
}

// median is the median of all rounds of what is seen in one.
func (c *contender) median(of func(round int) float64) float64 {
	values := make([]float64, len(c.rounds))
	for i := range values {
		values[i] = of(i)
	}
	return measure.Median(values)
}

func (c *contender) us(round int) float64      { return c.rounds[round].us }
func (c *contender) storeUs(round int) float64 { return c.rounds[round].storeUs }
func (c *contender) rate(round int) float64    { return c.rounds[round].rate }

// over returns how much more than another contender c costs.
func (c *contender) over(other *contender) func(round int) float64 {
	return func(round int) float64 { return c.us(round) - other.us(round) }
}

const (
	workers = 2
	senders = 32 // streams at a time, on so many connections as there are workers
)

func (c *contender) start(ctx context.Context) error {
	var arguments []string
	if c.backend {
		arguments = append(arguments, "-redis", c.store.address)
	}
	backend, err := c.run(ctx, append(arguments, "backend"))
	if err != nil {
		return err
	}
	for range c.envoys {
		o, err := c.options(ctx, backend)
		if err != nil {
			return err
		}
		r, err := rig.Start(ctx, o)
		if err != nil {
			return err
		}
		c.rigs = append(c.rigs, r)
		for worker := range workers {
			conn, err := r.DialWorker(ctx, rig.HTTP2, worker)
			if err != nil {
				return err
			}
			c.conns = append(c.conns, conn)
		}
	}
	return nil
}

// options are those of one Envoy. They start what it needs.
func (c *contender) options(ctx context.Context, backend *process) (rig.Options, error) {
	port := portOf(backend.address)
	o := rig.Options{Concurrency: workers, Filter: unlimited, Base: func(s envoy.Settings) (string, error) {
		s.Backend = port
		return envoy.Render(s)
	}}
	if c.fleet != "" {
		etcd := portOf(c.store.address)
		o.Filter = c.fleet
		o.Base = func(s envoy.Settings) (string, error) {
			s.Backend, s.Etcd = port, etcd
			return envoy.RenderFleet(s)
		}
	}
	o.Edits = append(o.Edits, rig.Remove("  - name: internal\n", "\n  clusters:\n"))
	if !c.filter {
		o.Edits = append(o.Edits,
			rig.Remove("          - name: envoy.filters.http.wasm\n", "          - name: envoy.filters.http.router\n"),
			rig.Remove("                typed_per_filter_config:\n", "              - name: other\n"))
	}
	if c.extProc {
		processor, err := c.run(ctx, []string{"-redis", c.store.address, "ext_proc"})
		if err != nil {
			return o, err
		}
		o.Edits = append(o.Edits, withExtProc(processor.address)...)
	}
	return o, nil
}

// withExtProc puts an external processor before Envoy's router.
func withExtProc(address string) []rig.Edit {
	host, port, _ := net.SplitHostPort(address)
	const router, clusters = "          - name: envoy.filters.http.router\n", "\n  clusters:\n"
	return []rig.Edit{
		rig.Replace(router, `          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: ext_proc}}
              message_timeout: 5s
              processing_mode: {request_header_mode: SEND, response_header_mode: SKIP, response_trailer_mode: SEND}
`+router),
		rig.Replace(clusters, clusters+fmt.Sprintf(`  - name: ext_proc
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_requests: 100000}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: ext_proc
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: %s, port_value: %s}}}
`, host, port)),
	}
}

func (c *contender) stop() (err error) {
	for _, conn := range c.conns {
		err = errors.Join(err, conn.Close())
	}
	for _, r := range c.rigs {
		err = errors.Join(err, r.Stop())
	}
	for _, p := range c.processes {
		p.stop()
	}
	return err
}

// cpu is the CPU time of all processes that the contender uses, and that of its store.
func (c *contender) cpu() (all, store time.Duration, err error) {
	var ids []int
	for _, r := range c.rigs {
		ids = append(ids, r.Envoy().PID())
	}
	for _, p := range c.processes {
		ids = append(ids, p.Process.Pid)
	}
	for _, id := range ids {
		one, err := measure.CPU(id)
		if err != nil {
			return 0, 0, err
		}
		all += one
	}
	if c.store != nil {
		store, err = measure.CPU(c.store.pid)
	}
	return all + store, store, err
}

// cost opens streams, each of a new client, and notes their costs.
func (c *contender) cost(ctx context.Context, streams int) (of costs, err error) {
	all, store, err := c.cpu()
	if err != nil {
		return of, err
	}
	began := time.Now()
	group, opening := errgroup.WithContext(ctx)
	for i := range senders {
		group.Go(func() error {
			for range streams / senders {
				answer, err := c.conns[i%len(c.conns)].Do(opening, request(fmt.Sprint("guest-", c.last.Add(1)), "&brief=1"))
				if err == nil && answer.Status != 200 {
					err = fmt.Errorf("a stream: status %d", answer.Status)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return of, err
	}
	took, opened := time.Since(began), float64(streams/senders*senders)
	allAfter, storeAfter, err := c.cpu()
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / opened }
	return costs{each(allAfter - all), each(storeAfter - store), opened / took.Seconds()}, err
}

func request(client, more string) rig.Request {
	return rig.Request{Client: client, Path: "/events?client=" + client + more}
}

// crowd is clients with a stream each.
type crowd struct {
	*contender
	streams []*rig.Stream
	conns   []*rig.Conn
	turns   []int // how often each has opened its stream
}

// gather opens streams of so many clients.
func (c *contender) gather(ctx context.Context, clients int) (*crowd, error) {
	all := &crowd{c, make([]*rig.Stream, clients), make([]*rig.Conn, clients), make([]int, clients)}
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range clients {
		group.Go(func() error { return all.open(opening, i) })
	}
	return all, group.Wait()
}

// open opens the next stream of a client, over HTTP/1.1 at the next Envoy.
func (c *crowd) open(ctx context.Context, i int) (err error) {
	r := c.rigs[(i+c.turns[i])%len(c.rigs)]
	c.turns[i]++
	if c.conns[i], err = r.Dial(ctx, rig.HTTP1); err == nil {
		c.streams[i], err = c.conns[i].Open(ctx, request(fmt.Sprint("member-", i), ""))
	}
	return err
}

// takeovers returns how long takeovers by clients of the crowd take, in milliseconds.
func (c *crowd) takeovers(ctx context.Context, takeovers int) ([]float64, error) {
	ms := make([]float64, 0, takeovers)
	for range takeovers {
		i := rand.IntN(len(c.streams))
		old := c.streams[i]
		sent := time.Now()
		if err := c.open(ctx, i); err != nil {
			return nil, err
		}
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		end, err := old.End(limited)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("the old stream is still open: %w", err)
		}
		ms = append(ms, float64(end.At.Sub(sent))/float64(time.Millisecond))
	}
	return ms, nil
}

// idle returns how much CPU time is used while nothing happens, in percent of one core.
func (c *contender) idle(ctx context.Context) (float64, error) {
	const watched = 10 * time.Second
	before, _, err := c.cpu()
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(watched):
	}
	after, _, err := c.cpu()
	return 100 * float64(after-before) / float64(watched), err
}

func (c *crowd) leave() {
	for _, conn := range c.conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// run starts this program in another mode and reads its address.
func (c *contender) run(ctx context.Context, arguments []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p, out, err := start(ctx, self, arguments...)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("%v did not say its address: %w", arguments, err)
	}
	p.address = address[:len(address)-1]
	return p, nil
}
