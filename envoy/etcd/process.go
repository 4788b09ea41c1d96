package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/envoy/child"
)

const (
	// startLimit bounds a start, however long its context lasts. It normally takes a second.
	startLimit = 2 * time.Minute
	// startPoll is how often Start asks whether etcd serves.
	startPoll = 20 * time.Millisecond
	// grace is how long Stop waits before it kills etcd.
	grace = 5 * time.Second
)

// A Process is an etcd that serves. It runs until Stop, until it ends by itself, or until this
// program ends (if this program is killed: on Linux only).
type Process struct {
	// URL is where it serves clients, for example http://127.0.0.1:2379.
	URL string

	cmd      *exec.Cmd
	dir      string // all that it writes
	stopping chan struct{}
	stopOnce sync.Once
	done     chan struct{}
	err      error // set before done is closed
}

// Start starts the etcd at path on a port of 127.0.0.1, which must be free, and returns when it
// serves. It has no data. Its log goes to log. ctx only bounds the start. The caller must Stop the
// process.
func Start(ctx context.Context, path string, port int, log io.Writer) (*Process, error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	dir, err := os.MkdirTemp("", "streamlatch-etcd-")
	if err != nil {
		return nil, err
	}
	p := &Process{
		URL:      "http://127.0.0.1:" + strconv.Itoa(port),
		dir:      dir,
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	// Other members would reach it at a socket in its directory: it needs no second port.
	const peer = "unix://peer:1"
	p.cmd = exec.Command(path, "--name", "one", "--data-dir", filepath.Join(dir, "data"), "--log-level", "warn",
		"--listen-client-urls", p.URL, "--advertise-client-urls", p.URL,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one="+peer)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.WaitDelay = time.Second // a child of etcd may hold the pipes open
	child.EndWithParent(p.cmd, syscall.SIGKILL)
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	if err := p.waitReady(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	return p, nil
}

// run starts the process, sends the result to started, and waits for the end of the process.
func (p *Process) run(started chan<- error) {
	child.OnLockedThread(func() {
		err := p.cmd.Start()
		started <- err
		if err != nil {
			os.RemoveAll(p.dir)
			return
		}
		go p.terminateOnStop()
		_ = p.cmd.Wait() // ProcessState says as much
		select {
		case <-p.stopping: // by the signal that it gets, which is no fault
		default:
			p.err = fmt.Errorf("etcd ended by itself: %s", p.cmd.ProcessState)
		}
		os.RemoveAll(p.dir)
		close(p.done)
	})
}

// terminateOnStop waits for Stop and then ends etcd.
func (p *Process) terminateOnStop() {
	select {
	case <-p.done:
		return
	case <-p.stopping:
	}
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		p.cmd.Process.Kill() // this system has no SIGTERM, or etcd has already ended
	}
	select {
	case <-p.done:
	case <-time.After(grace):
		p.cmd.Process.Kill()
	}
}

// waitReady returns nil when etcd serves, or an error when etcd or ctx has ended before.
func (p *Process) waitReady(ctx context.Context) error {
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for {
		last := p.healthy(ctx)
		if last == nil {
			return nil
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

// healthy asks etcd whether it can read and write.
func (p *Process) healthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/health", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("etcd is not healthy: " + response.Status)
	}
	return nil
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when etcd has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns nil while etcd runs and after Stop. Otherwise it says how etcd ended.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop sends SIGTERM to etcd, and SIGKILL if it still runs after five seconds. It waits for its end
// and removes its data. It may be called several times and concurrently.
func (p *Process) Stop() {
	p.stopOnce.Do(func() { close(p.stopping) })
	<-p.done
}
