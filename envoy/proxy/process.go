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

	"github.com/streamlatch/streamlatch/envoy/child"
)

const (
	// startLimit bounds a start, however long its context lasts. The slow part is V8's compilation
	// of the filter: two seconds on two idle cores, but minutes on a busy core.
	startLimit = 5 * time.Minute
	// startPoll is how often Start asks whether Envoy serves.
	startPoll = 10 * time.Millisecond
	// defaultGrace is the default of Options.Grace. Envoy normally needs a tenth of a second.
	defaultGrace = 5 * time.Second
)

// Options say how to start an Envoy. Only Config is required.
type Options struct {
	Config string // YAML; it must have an admin address

	Dir               string        // the working directory; "" is the current one
	Concurrency       int           // number of worker threads; 0 is one per hardware thread
	ComponentLogLevel string        // for example "wasm:debug,http:trace"; "" is info everywhere
	LogFlush          time.Duration // how often Envoy writes the access log; 0 is every ten seconds
	Stdout            io.Writer     // receives Envoy's standard output; nil discards it
	Stderr            io.Writer     // receives Envoy's log: see [EachLine], [ParseLogEntry]; nil discards it
	Grace             time.Duration // how long Stop waits before it kills Envoy; 0 is five seconds
	Args              []string      // more arguments; hot restart is off unless they include "--base-id"
}

// A Process is an Envoy that serves. It runs until Stop, until it ends by itself, or until the
// program that started it ends (if that program is killed: on Linux only).
type Process struct {
	command
	grace time.Duration
	admin *Admin
	files string // the directory of the configuration and the admin address, which Envoy needs to start
	tail  tail

	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}
	err      error // set before done is closed
}

// Start starts an Envoy and returns when it serves: its workers run and its listeners are bound.
// ctx only bounds the start. The caller must Stop the process. If Envoy ends before it serves, the
// error wraps an [ExitError] with the log lines that say why.
func Start(ctx context.Context, l Launcher, o Options) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p, err := launch(l, o)
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	if err := p.waitReady(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	os.RemoveAll(p.files) // now, so that no file is left behind if this program is killed
	return p, nil
}

// PID returns the process ID. For an Envoy in a container it is the ID of the process that runs the
// container.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Admin returns Envoy's admin interface.
func (p *Process) Admin() *Admin { return p.admin }

// Done returns a channel that is closed when Envoy has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns nil while Envoy runs and after a clean Stop. Otherwise it returns an [ExitError].
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop sends SIGTERM to Envoy, and SIGKILL if it still runs after Options.Grace. It waits for the
// end of Envoy and returns the result of Err. It may be called several times and concurrently.
func (p *Process) Stop() error {
	p.stopOnce.Do(func() { close(p.stopping) })
	<-p.done
	return p.err
}

// launch starts Envoy and the goroutine that waits for its end.
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
	args := []string{"--config-path", config, "--admin-address-path", p.addressFile()}
	// Two Envoys with hot restart on one machine share memory unless each has its own base ID.
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
	p.command = l.serverCommand(o.Dir, append(args, o.Args...))
	p.cmd.Stdout = o.Stdout
	p.cmd.Stderr = EachLine(p.tail.add)
	if o.Stderr != nil {
		p.cmd.Stderr = io.MultiWriter(p.cmd.Stderr, o.Stderr)
	}
	p.cmd.WaitDelay = time.Second // a child of Envoy may hold the pipes open

	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		os.RemoveAll(files)
		return nil, err
	}
	return p, nil
}

// run starts the process, sends the result to started, and waits for the end of the process. It
// does both in one goroutine: see [child.OnLockedThread].
func (p *Process) run(started chan<- error) {
	child.OnLockedThread(func() {
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		go p.terminateOnStop()
		status := p.cmd.Wait()
		if status != nil {
			p.kill() // a child or a container may be left
		}
		p.err = p.exitError(status)
		os.RemoveAll(p.files)
		close(p.done)
	})
}

// terminateOnStop waits for Stop and then ends Envoy.
func (p *Process) terminateOnStop() {
	select {
	case <-p.done:
		return
	case <-p.stopping:
	}
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.kill() // this system has no SIGTERM, or Envoy has already ended
	}
	select {
	case <-p.done:
	case <-time.After(p.grace):
		p.kill()
	}
}

// exitError returns the error for the end of the process, or nil if Stop ended it cleanly. Envoy
// exits with status 0 after every SIGTERM, also after one from another program.
func (p *Process) exitError(status error) error {
	stopped := false
	select {
	case <-p.stopping:
		stopped = true
	default:
	}
	if status == nil && stopped {
		return nil
	}
	return &ExitError{Stopped: stopped, Status: status, LogLines: p.tail.reasons(status)}
}

func (p *Process) addressFile() string { return filepath.Join(p.files, "admin") }

// waitReady returns nil when Envoy serves, or an error when Envoy or ctx has ended before.
func (p *Process) waitReady(ctx context.Context) error {
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	last := errors.New("envoy has not opened its admin interface")
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
			return fmt.Errorf("not ready: %w: %w", context.Cause(ctx), last)
		case <-poll.C:
		}
	}
}
