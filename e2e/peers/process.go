package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

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

// port returns the port of its address.
func (p *process) port() (int, error) {
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
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
	return startStore(ctx, "redis-server", func(port string) []string {
		return []string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--daemonize", "no"}
	})
}

// startEtcd starts an etcd of one node with its data in a folder, and waits until it serves.
func startEtcd(ctx context.Context, dir string) (*process, error) {
	return startStore(ctx, "etcd", func(port string) []string {
		client, peer := "http://127.0.0.1:"+port, "http://127.0.0.1:0"
		return []string{
			"--name", "one", "--data-dir", dir, "--logger", "zap", "--log-level", "error",
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one=" + peer,
		}
	})
}

// startStore starts a program of a Debian package, which listens on the port that is among its
// arguments.
func startStore(ctx context.Context, program string, arguments func(port string) []string) (*process, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%s is not on PATH; Debian and others have it in the package redis-server or etcd-server", program)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	p, out, err := start(ctx, path, arguments(port)...)
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
			return nil, errors.Join(fmt.Errorf("%s does not serve: %w", program, err), p.stop())
		}
	}
}
