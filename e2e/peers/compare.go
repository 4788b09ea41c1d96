package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
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
	filter  bool // the filter is in Envoy
	extProc bool // the external processor is
	backend bool // the backend uses Redis

	rig       *rig.Rig
	processes []*process // its own, without Envoy and Redis
	redis     *process   // nil: it does not use Redis
	conns     []*rig.Conn
	last      atomic.Int64 // client
	us        []float64    // CPU time a stream, one for each round
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
		{name: "bare Envoy: streams are not ended"},
		{name: "the filter", filter: true},
		{name: "ext_proc in Go with Redis", extProc: true, redis: redis},
		{name: "backends with Redis", backend: true, redis: redis},
	}
	for _, c := range contenders {
		defer func() { err = errors.Join(err, c.stop()) }()
		if err := c.start(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for round := range rounds + 1 {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			us, err := c.cost(ctx, streams)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 { // the first one warms up
				c.us = append(c.us, us)
			}
		}
	}
	bare := contenders[0]
	fmt.Printf("A stream of one event over HTTP/2: CPU time of Envoy, backend, and what else it needs, medians of %d rounds of %d. Takeovers over HTTP/1.1: %d among %d open streams, from the request to the end of the old stream at its client. 2 workers.\n\n", rounds, streams, takeovers, open)
	fmt.Println("| | us a stream | added to bare Envoy, us | takeover p50, p99, longest, ms |\n|---|---|---|---|")
	for _, c := range contenders {
		added := make([]float64, len(c.us))
		for i := range c.us {
			added[i] = c.us[i] - bare.us[i]
		}
		took := "-"
		if c != bare {
			ms, err := c.takeovers(ctx, open, takeovers)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			took = fmt.Sprintf("%.1f, %.1f, %.1f", measure.Quantile(ms, 0.5), measure.Quantile(ms, 0.99), measure.Quantile(ms, 1))
		}
		fmt.Printf("| %s | %.0f | %.0f | %s |\n", c.name, measure.Median(c.us), measure.Median(added), took)
	}
	return nil
}

const (
	workers = 2
	senders = 32 // streams at a time, on so many connections as there are workers
)

func (c *contender) start(ctx context.Context) error {
	var arguments []string
	if c.backend {
		arguments = append(arguments, "-redis", c.redis.address)
	}
	backend, err := c.run(ctx, append(arguments, "backend"))
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(backend.address)
	if err != nil {
		return err
	}
	o := rig.Options{Concurrency: workers, Filter: unlimited, Base: func(s envoy.Settings) (string, error) {
		s.Backend, err = strconv.Atoi(port)
		if err != nil {
			return "", err
		}
		return envoy.Render(s)
	}}
	o.Edits = append(o.Edits, rig.Remove("  - name: internal\n", "\n  clusters:\n"))
	if !c.filter {
		o.Edits = append(o.Edits,
			rig.Remove("          - name: envoy.filters.http.wasm\n", "          - name: envoy.filters.http.router\n"),
			rig.Remove("                typed_per_filter_config:\n", "              - name: other\n"))
	}
	if c.extProc {
		processor, err := c.run(ctx, []string{"-redis", c.redis.address, "ext_proc"})
		if err != nil {
			return err
		}
		o.Edits = append(o.Edits, withExtProc(processor.address)...)
	}
	if c.rig, err = rig.Start(ctx, o); err != nil {
		return err
	}
	for range workers {
		conn, err := c.rig.DialWorker(ctx, rig.HTTP2, len(c.conns))
		if err != nil {
			return err
		}
		c.conns = append(c.conns, conn)
	}
	return nil
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
	if c.rig != nil {
		err = errors.Join(err, c.rig.Stop())
	}
	for _, p := range c.processes {
		err = errors.Join(err, p.stop())
	}
	return err
}

// cpu is the CPU time of all processes that the contender uses.
func (c *contender) cpu() (all time.Duration, err error) {
	ids := []int{c.rig.Envoy().PID()}
	for _, p := range c.processes {
		ids = append(ids, p.Process.Pid)
	}
	if c.redis != nil {
		ids = append(ids, c.redis.Process.Pid)
	}
	for _, id := range ids {
		one, err := measure.CPU(id)
		if err != nil {
			return 0, err
		}
		all += one
	}
	return all, nil
}

// cost opens streams, each of a new client, and returns the CPU time of each, in microseconds.
func (c *contender) cost(ctx context.Context, streams int) (us float64, err error) {
	before, err := c.cpu()
	if err != nil {
		return 0, err
	}
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
		return 0, err
	}
	after, err := c.cpu()
	return float64((after - before).Nanoseconds()) / 1000 / float64(streams/senders*senders), err
}

func request(client, more string) rig.Request {
	return rig.Request{Client: client, Path: "/events?client=" + client + more}
}

// takeovers returns how long takeovers take among so many open streams, in milliseconds.
func (c *contender) takeovers(ctx context.Context, open, takeovers int) ([]float64, error) {
	streams, conns := make([]*rig.Stream, open), make([]*rig.Conn, open)
	reopen := func(ctx context.Context, i int) (err error) {
		if conns[i], err = c.rig.Dial(ctx, rig.HTTP1); err == nil {
			streams[i], err = conns[i].Open(ctx, request(fmt.Sprint("member-", i), ""))
		}
		return err
	}
	group, opening := errgroup.WithContext(ctx)
	group.SetLimit(64)
	for i := range streams {
		group.Go(func() error { return reopen(opening, i) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	ms := make([]float64, 0, takeovers)
	for range takeovers {
		i := rand.IntN(open)
		old := streams[i]
		sent := time.Now()
		if err := reopen(ctx, i); err != nil {
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
	for _, conn := range conns {
		conn.Close()
	}
	return ms, nil
}

// A process is a child that serves at an address.
type process struct {
	*exec.Cmd
	address string
	end     context.CancelFunc
}

func (p *process) stop() error {
	p.end()
	p.Wait() // that it was killed is no error
	return nil
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

func start(ctx context.Context, program string, arguments ...string) (*process, io.Reader, error) {
	ctx, end := context.WithCancel(ctx)
	p := &process{Cmd: exec.CommandContext(ctx, program, arguments...), end: end}
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	return p, out, nil
}

// startRedis starts a Redis that keeps nothing on disk, and waits until it serves.
func startRedis(ctx context.Context) (*process, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not on PATH; it is in the package redis-server of Debian and others")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	p, out, err := start(ctx, program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--daemonize", "no")
	if err != nil {
		return nil, err
	}
	go io.Copy(io.Discard, out)
	p.address = address
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return p, conn.Close()
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("redis does not serve: %w", err), p.stop())
		}
	}
}
