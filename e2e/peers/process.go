package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/streamlatch/streamlatch/envoy/etcd"
)

// A process is a child that serves at an address.
type process struct {
	*exec.Cmd
	address string
	end     context.CancelFunc
}

func (p *process) stop() {
	p.end()
	p.Wait() // that it was killed is no error
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

// A store is what Envoys, or what stands beside them, share.
type store struct {
	address string
	pid     int
	stop    func()
}

// startRedis starts a Redis that keeps nothing on disk, and waits until it serves.
func startRedis(ctx context.Context) (*store, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not on PATH; it is in the package redis-server of Debian and others")
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, out, err := start(ctx, path, "--bind", "127.0.0.1", "--port", strconv.Itoa(portOf(address)), "--save", "", "--appendonly", "no", "--daemonize", "no")
	if err != nil {
		return nil, err
	}
	go io.Copy(io.Discard, out)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return &store{address, p.Process.Pid, p.stop}, conn.Close()
		}
		if time.Now().After(deadline) {
			p.stop()
			return nil, fmt.Errorf("redis does not serve: %w", err)
		}
	}
}

// startEtcd starts an etcd of one node, and waits until it serves.
func startEtcd(ctx context.Context) (*store, error) {
	path, _, err := etcd.Find(ctx)
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p, err := etcd.Start(ctx, path, portOf(address), io.Discard)
	if err != nil {
		return nil, err
	}
	return &store{address, p.PID(), p.Stop}, nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// portOf returns the port of an address that a listener had.
func portOf(address string) int { return int(netip.MustParseAddrPort(address).Port()) }
