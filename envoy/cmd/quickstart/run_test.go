package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/script"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

func TestFilterIsMissing(t *testing.T) {
	err := run(t.Context(), options{wasm: "no/such.wasm"}, os.Stdout)
	if want := "found no filter at \"no/such.wasm\": run `make build` first, in the root of the repository"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestPortInUse(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	inUse := port(other.Addr())
	filter := filepath.Join(t.TempDir(), "filter.wasm")
	if err := os.WriteFile(filter, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for flag, o := range map[string]options{
		" -listen":            {wasm: filter, first: ports{listen: inUse}},
		" -internal":          {wasm: filter, first: ports{internal: inUse}},
		" -admin":             {wasm: filter, first: ports{admin: inUse}},
		" -backend":           {wasm: filter, backend: inUse},
		" -fleet -listen-b":   {wasm: filter, fleet: true, second: ports{listen: inUse}},
		" -fleet -internal-b": {wasm: filter, fleet: true, second: ports{internal: inUse}},
		" -fleet -admin-b":    {wasm: filter, fleet: true, second: ports{admin: inUse}},
		" -fleet -etcd":       {wasm: filter, fleet: true, etcdPort: inUse},
	} {
		err := run(t.Context(), o, os.Stdout)
		if err == nil || !strings.HasPrefix(err.Error(), "port "+strings.TrimPrefix(other.Addr().String(), "127.0.0.1:")+" is in use, and ") || !strings.HasSuffix(err.Error(), flag+" PORT") {
			t.Errorf("%s: got %v, want the port and the flag", flag, err)
		}
	}
}

// fakeRunner has ended if done is closed; if done is nil it never ends.
type fakeRunner struct {
	done chan struct{}
	err  error
}

func (r fakeRunner) Done() <-chan struct{} { return r.done }
func (r fakeRunner) Err() error            { return r.err }

func TestWaitForEnd(t *testing.T) {
	over := make(chan struct{})
	close(over)
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	failed := make(chan error, 1)
	failed <- errors.New("accept: too many open files")
	for name, test := range map[string]struct {
		ctx     context.Context
		program runner
		backend <-chan error
		want    string
	}{
		"Ctrl-C":      {interrupted, fakeRunner{}, nil, ""},
		"the backend": {t.Context(), fakeRunner{}, failed, "the demo backend ended by itself: accept: too many open files"},
		"Envoy, without the log lines that were already printed": {t.Context(), fakeRunner{over, &proxy.ExitError{Status: errors.New("signal: killed"), LogLines: []string{"shown"}}}, nil,
			"envoy ended by itself: signal: killed"},
		"etcd": {t.Context(), fakeRunner{over, errors.New("etcd ended by itself: exit status 1")}, nil, "etcd ended by itself: exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(test.ctx, 10*time.Second)
			defer cancel()
			got := ""
			programs := []runner{fakeRunner{}, test.program}
			if err := waitForEnd(ctx, programs, test.backend); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	o, err := parseFlags(nil)
	if want := (options{ports{10000, 10001, 9901}, ports{10010, 10011, 9911}, 8080, 12379, false, "build/streamlatch.wasm", "build/envoy.log"}); err != nil || o != want {
		t.Errorf("got %+v, %v, want %+v", o, err, want)
	}
	if o, err := parseFlags([]string{"-fleet", "-etcd", "1"}); err != nil || !o.fleet || o.etcdPort != 1 {
		t.Errorf("got %+v, %v, want a fleet with etcd on port 1", o, err)
	}
	for argument, want := range map[string]string{
		"10001":        `unexpected argument "10001"`,
		"-etcd=1":      "-etcd needs -fleet",
		"-listen-b=1":  "-listen-b needs -fleet",
		"-admin-b=1":   "-admin-b needs -fleet",
		"-internal-b=": `invalid value "" for flag -internal-b: parse error`,
	} {
		if _, err := parseFlags([]string{argument}); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", argument, err, want)
		}
	}
}

// Without etcd the error is one sentence, and nothing serves.
func TestNoEtcd(t *testing.T) {
	dir := t.TempDir()
	filter := filepath.Join(dir, "filter.wasm")
	if err := os.WriteFile(filter, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	o := options{wasm: filter, fleet: true, log: filepath.Join(dir, "envoy.log")}
	t.Setenv("ETCD", "")
	t.Setenv("PATH", dir)
	err := run(t.Context(), o, os.Stdout)
	if want := "found no etcd on PATH: install Debian's package etcd-server, or set ETCD to the path of an etcd 3.4 or newer"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// One that does not start: its log says why.
	t.Setenv("ETCD", script.Write(t, filepath.Join(dir, "etcd"), `case $1 in --version) echo "etcd Version: 3.5.0";; *) exit 1; esac
`))
	err = run(t.Context(), o, os.Stdout)
	if want := "start etcd: etcd ended by itself: exit status 1; its log is " + filepath.Join(dir, "etcd.log"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// If ENVOY names an Envoy that the filter cannot run in, the error is one sentence, and nothing
// serves.
func TestUnusableEnvoy(t *testing.T) {
	dir := t.TempDir()
	filter, old := filepath.Join(dir, "filter.wasm"), filepath.Join(dir, "envoy")
	if err := os.WriteFile(filter, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho 'envoy  version: abc/1.32.1/Clean/RELEASE/BoringSSL'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, why := range map[string]string{
		"/no/such/envoy": "no such file or directory",
		old:              "its version is 1.32.1, and the filter needs 1.33.0 or newer",
	} {
		t.Setenv("ENVOY", path)
		err := run(t.Context(), options{wasm: filter, log: filepath.Join(dir, "envoy.log")}, os.Stdout)
		want := fmt.Sprintf("cannot use ENVOY %q: %s; set ENVOY to the path of an Envoy 1.33.0 or newer, or unset it", path, why)
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
