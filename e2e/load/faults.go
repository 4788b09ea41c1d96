package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy"
)

// A fault is something that goes wrong while there is load. Afterwards the promise must hold again.
type fault struct {
	name string
	run  func(context.Context, *crowd, extent) (seen string, err error)
}

// An extent says how bad a fault is.
type extent struct {
	members int           // clients that stay; half of them over HTTP/1.1
	load    load          // while the fault lasts, and before
	times   int           // how often it happens, if it happens again and again
	stall   time.Duration // how long Envoy is stopped
	many    int           // requests of misbehaving clients
}

// faults are those of one Envoy after the other.
var faults = []struct {
	setup  setup
	faults []fault
}{
	{setup{}, []fault{
		{"SIGSTOP of Envoy", stall},
		{"the backend restarts", restartBackend},
		{"clients that never read", neverRead},
		{"streams that are reset at once", rapidReset},
	}},
	{setup{module: rig.Guest("crash")}, []fault{{"the VM of one worker crashes again and again", crashLoop}}},
	{setup{ecds: true}, []fault{{"a new configuration every second (ECDS)", updates}}},
}

// An outcome is what was seen of a fault.
type outcome struct {
	seen          string
	opened, lost  int64         // streams
	failed        int64         // requests
	settled, left time.Duration // see crowd.settle and crowd.disperse
	before, after memory
}

// suffer lets a fault happen to an edge without streams. It checks the promise before and after.
func (f fault) suffer(ctx context.Context, e *edge, x extent) (o outcome, err error) {
	c := newCrowd(e)
	if err := c.joinBoth(ctx, x.members); err != nil {
		return o, err
	}
	if _, err := c.settle(ctx); err != nil {
		return o, fmt.Errorf("before the fault: %w", err)
	}
	if o.before, err = e.memory(ctx); err != nil {
		return o, err
	}
	err = c.under(ctx, x.load, func(ctx context.Context) error {
		o.seen, err = f.run(ctx, c, x)
		return err
	})
	if err != nil {
		return o, err
	}
	// A dead VM's streams are cut at their next event, so every stream gets one every two seconds.
	err = c.under(ctx, load{events: x.members / 2}, func(ctx context.Context) error {
		o.settled, err = c.settle(ctx)
		return err
	})
	if err != nil {
		return o, fmt.Errorf("after the fault: %w", err)
	}
	if o.after, err = e.memory(ctx); err != nil {
		return o, err
	}
	if o.left, err = c.disperse(ctx); err != nil {
		return o, fmt.Errorf("after all have left: %w", err)
	}
	o.opened, o.lost, o.failed = c.opened.Load(), c.lost.Load(), c.failed.Load()
	return o, nil
}

// stall stops Envoy's process for a while. Clients go on sending.
func stall(ctx context.Context, c *crowd, x extent) (string, error) {
	pid := c.edge.Envoy().PID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return "", err
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	err := pause(ctx, x.stall)
	return fmt.Sprintf("for %v; %d requests were waiting at its end", x.stall, c.pending.Load()), err
}

func restartBackend(ctx context.Context, c *crowd, x extent) (string, error) {
	for range x.times {
		if err := errors.Join(c.edge.backend.restart(500*time.Millisecond), pause(ctx, 2*time.Second)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d times", x.times), nil
}

// crashLoop makes one worker's VM panic every second. The connection stays with its worker.
func crashLoop(ctx context.Context, c *crowd, x extent) (string, error) {
	conn, err := dialH2(c.edge.Address())
	if err != nil {
		return "", err
	}
	defer conn.conn.Close()
	for range x.times {
		s := newStream("crash", nil)
		s.extra = [][2]string{{"x-crash", "now"}}
		if err := errors.Join(conn.send(s), pause(ctx, time.Second)); err != nil {
			return "", err
		}
	}
	crashed := len(c.edge.Log.Containing("panic: "))
	if crashed == 0 {
		return "", errors.New("the VM never crashed")
	}
	swept, err := stats(ctx, c.edge.Rig, "wasmcustom.streamlatch.swept")
	return fmt.Sprintf("%d crashes, %d streams swept", crashed, swept[0]), err
}

// updates replaces the filter's configuration every second.
func updates(ctx context.Context, c *crowd, x extent) (string, error) {
	const accepted = "extension_config_discovery.http_filter.streamlatch.update_success"
	for i := range x.times {
		settings := c.edge.settings
		settings.Filter = fmt.Sprintf(`{"rules": [{"name": "events", "client": [{"query": "client"}], "retry": "%ds"}]}`, 20+i)
		_, filter, err := envoy.RenderECDS(settings, c.edge.file("streamlatch.yaml"))
		if err := errors.Join(err, c.edge.deliver(filter), pause(ctx, time.Second)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d times", x.times), until(ctx, patience, func() error {
		n, err := stats(ctx, c.edge.Rig, accepted)
		if err == nil && n[0] != int64(x.times)+1 {
			err = fmt.Errorf("%s: got %d, want %d", accepted, n[0], x.times+1)
		}
		return err
	})
}

// neverRead opens streams that the backend floods, on connections that nobody reads after the
// response's headers. Then the same clients open a second stream each, as members of the crowd.
func neverRead(ctx context.Context, c *crowd, x extent) (string, error) {
	var deaf []*deaf
	for i := range x.many / 100 {
		d, err := openDeaf(ctx, c.edge.Address(), i%2 == 1, fmt.Sprint("deaf-", i))
		if err != nil {
			return "", err
		}
		defer d.close()
		deaf = append(deaf, d)
	}
	err := until(ctx, patience, func() error {
		open := c.edge.backend.ids()
		for _, d := range deaf {
			if !open[d.stream.id] {
				return fmt.Errorf("%s: its stream is not open at the backend", d.stream.key)
			}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	over := c.members[0].via
	for _, d := range deaf {
		member := &client{crowd: c, key: d.stream.key, via: over}
		c.members = append(c.members, member)
		member.open()
	}
	return fmt.Sprintf("%d, each superseded", len(deaf)), nil
}

// rapidReset sends requests and cancels them: half of them at once, as in CVE-2023-44487, and half
// when the stream is let in, so that each is claimed.
func rapidReset(ctx context.Context, c *crowd, x extent) (string, error) {
	const conns = 4
	var sent, redialed atomic.Int64
	errs := make([]error, conns)
	var attackers sync.WaitGroup
	for i := range conns {
		attackers.Go(func() {
			var conn *h2Conn
			for ctx.Err() == nil && sent.Load() < int64(x.many) {
				if conn == nil || conn.done() {
					if conn, errs[i] = dialH2(c.edge.Address()); errs[i] != nil {
						return
					}
					defer conn.conn.Close()
					redialed.Add(1)
				}
				var s *stream
				if i%2 == 0 {
					s = newStream(fmt.Sprint("reset-", i), nil)
				} else {
					s = newStream(fmt.Sprint("reset-", lastID.Load()), hangUp{})
				}
				if err := conn.send(s); err == nil {
					sent.Add(1)
					if i%2 == 0 {
						s.leave()
					}
				} else if err == errFull {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	attackers.Wait()
	closed, err := stats(ctx, c.edge.Rig, "http.edge.downstream_rq_too_many_premature_resets")
	return fmt.Sprintf("%d requests; Envoy closed %d connections for it, of %d", sent.Load(), closed[0], redialed.Load()),
		errors.Join(append(errs, err)...)
}

// hangUp hangs up as soon as a stream is let in.
type hangUp struct{}

func (hangUp) answered(s *stream, v verdict) {
	if v == letIn {
		s.leave()
	}
}

func (hangUp) ended(*stream, time.Time) {}

// runFaults suffers all faults whose name contains only, and prints a table.
func runFaults(ctx context.Context, only string, x extent) error {
	var rows strings.Builder
	for _, group := range faults {
		group.faults = slices.DeleteFunc(slices.Clone(group.faults), func(f fault) bool { return !strings.Contains(f.name, only) })
		if len(group.faults) == 0 {
			continue
		}
		e, err := group.setup.start(ctx)
		if err != nil {
			return err
		}
		defer e.stop()
		for _, f := range group.faults {
			o, err := f.suffer(ctx, e, x)
			if err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
			row := fmt.Sprintf("| %s | %s | %d | %d | %d | %.1f | %.1f | %.0f, %.0f | %.0f, %.0f |\n", f.name, o.seen, o.opened, o.lost, o.failed,
				o.settled.Seconds(), o.left.Seconds(), mb(o.before.rss), mb(o.after.rss), mb(o.before.guests), mb(o.after.guests))
			fmt.Print("# ", row)
			rows.WriteString(row)
		}
	}
	fmt.Printf("\n%d members, half over HTTP/1.1 and half over HTTP/2; a second %d takeovers, %d guests, %d events\n\n", x.members, x.load.takeovers, x.load.guests, x.load.events)
	fmt.Print("| fault | seen | streams opened | lost | requests failed | the promise holds again after, s | all have left: nothing is left after, s | RSS before and after, MB | VMs, MB |\n|---|---|---|---|---|---|---|---|---|\n", rows.String())
	return nil
}
