package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// startLimit bounds a start whose context has no deadline. The slow part is V8's compilation of the filter: two
	// seconds on two idle cores, and minutes on one that many others use.
	startLimit = 5 * time.Minute
	// startPoll is how often a starting Envoy is asked whether it serves.
	startPoll = 10 * time.Millisecond
	// defaultGrace is how long Stop waits; an Envoy that is well takes a tenth of a second.
	defaultGrace = 5 * time.Second
)

// Options say how an Envoy is started. Config is required.
type Options struct {
	Config string // the configuration as YAML; it needs an admin address

	Dir               string        // the directory that relative paths in Config start from; "" is the current one
	Concurrency       int           // worker threads; 0: one a hardware thread
	ComponentLogLevel string        // as "wasm:debug,http:trace"; "": info throughout
	LogFlush          time.Duration // how often the access log is written; 0: every ten seconds
	Stdout            io.Writer     // gets what Envoy writes there: the access log; nil: nobody
	Stderr            io.Writer     // gets Envoy's own log: see [EachLine], [ParseLogEntry]; nil: nobody
	Grace             time.Duration // from SIGTERM to SIGKILL; 0: five seconds
	Args              []string      // more arguments, as "--drain-time-s", "1"; with "--base-id" among them hot restart is on
}

// A Process is an Envoy that serves. It ends by Stop, by itself, or with the program that started it, even if that is
// killed (there on Linux only).
type Process struct {
	job
	grace time.Duration
	admin *Admin
	files string // of the run: the configuration, the admin's address
	tail  tail

	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}
	err      error // set before done is closed
}

// Start starts an Envoy and returns when it serves: its workers run and its listeners are bound. ctx bounds the start
// alone; the caller owns the Process and must Stop it. If Envoy ends before it serves, the error has the lines of its
// log that say why.
func Start(ctx context.Context, l Launcher, o Options) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := launch(l, o)
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	if err := p.await(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	os.RemoveAll(p.files) // all read by now; so a program that is killed from now on leaves nothing behind
	return p, nil
}

// PID returns the process id; of an Envoy in a container, that of what runs the container and waits for it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Admin returns the admin interface.
func (p *Process) Admin() *Admin { return p.admin }

// Done is closed when Envoy has ended and been waited for.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns nil while Envoy runs and after an orderly Stop, else why it ended, with the lines of its log that say so.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop ends Envoy: SIGTERM, and SIGKILL if it has not ended after the grace. It returns when Envoy has been waited for,
// with what Err returns then. It may be called again, and at the same time.
func (p *Process) Stop() error {
	p.stopOnce.Do(func() { close(p.stopping) })
	<-p.done
	return p.err
}

// launch starts the process and what watches over it.
func launch(l Launcher, o Options) (*Process, error) {
	files, err := os.MkdirTemp("", "streamlatch-envoy-")
	if err != nil {
		return nil, err
	}
	p := &Process{
		grace:    cmp.Or(o.Grace, defaultGrace),
		files:    files,
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	config := filepath.Join(files, "envoy.yaml")
	if err := os.WriteFile(config, []byte(o.Config), 0o600); err != nil {
		os.RemoveAll(files)
		return nil, err
	}
	// Hot restart is off unless it is asked for: with it two Envoys on a machine share memory and need an id each.
	args := []string{"--config-path", config, "--admin-address-path", p.addressFile()}
	if !slices.Contains(o.Args, "--base-id") {
		args = append(args, "--disable-hot-restart")
	}
	if o.Concurrency > 0 {
		args = append(args, "--concurrency", strconv.Itoa(o.Concurrency))
	}
	if o.ComponentLogLevel != "" {
		args = append(args, "--component-log-level", o.ComponentLogLevel)
	}
	if o.LogFlush > 0 {
		args = append(args, "--file-flush-interval-msec", strconv.FormatInt(o.LogFlush.Milliseconds(), 10))
	}
	p.job = l.job(o.Dir, append(args, o.Args...))
	p.cmd.Stdout = o.Stdout
	p.cmd.Stderr = EachLine(p.tail.add)
	if o.Stderr != nil {
		p.cmd.Stderr = io.MultiWriter(p.cmd.Stderr, o.Stderr)
	}
	p.cmd.WaitDelay = time.Second // for pipes that somebody holds open who inherited them

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		os.RemoveAll(files)
		return nil, err
	}
	return p, nil
}

// run is the life of the process. See onThread for why start and wait are in one goroutine.
func (p *Process) run(started chan<- error) {
	onThread(func() {
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		go p.terminate()
		end := p.cmd.Wait()
		if end != nil {
			p.kill() // what the command may have left of itself
		}
		p.err = p.verdict(end)
		os.RemoveAll(p.files)
		close(p.done)
	})
}

// terminate waits for Stop and carries it out.
func (p *Process) terminate() {
	select {
	case <-p.done:
		return
	case <-p.stopping:
	}
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.kill() // no SIGTERM on this system; or it is gone already, and so is this one's target
	}
	select {
	case <-p.done:
	case <-time.After(p.grace):
		p.kill()
	}
}

// verdict says what the end of the process means. Envoy exits with 0 after SIGTERM, whoever sent it.
func (p *Process) verdict(err error) error {
	stopped := false
	select {
	case <-p.stopping:
		stopped = true
	default:
	}
	if err == nil && stopped {
		return nil
	}
	return &ExitError{Stopped: stopped, Status: err, LastWords: p.tail.lastWords(err)}
}

func (p *Process) addressFile() string { return filepath.Join(p.files, "admin") }

// await returns when the Envoy serves, with an error when it has ended or ctx has.
func (p *Process) await(ctx context.Context) error {
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	last := errors.New("it has not opened its admin interface")
	for {
		if p.admin == nil {
			if address, _ := os.ReadFile(p.addressFile()); len(address) > 0 {
				p.admin = &Admin{URL: "http://" + string(address)}
			}
		}
		if p.admin != nil {
			if last = p.admin.Ready(ctx); last == nil {
				return nil
			}
		}
		select {
		case <-p.done:
			return p.err
		case <-ctx.Done():
			return fmt.Errorf("it does not serve: %w: %w", context.Cause(ctx), last)
		case <-poll.C:
		}
	}
}
