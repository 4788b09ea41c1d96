package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/demo"
)

// patience bounds each wait.
const patience = 30 * time.Second

// The program prints its address, serves the page, and ends on a signal although a stream is open.
func TestServe(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, options{listen: "127.0.0.1:0", interval: time.Hour}, w)
		w.Close()
		ended <- err
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	address, found := strings.CutPrefix(strings.TrimSpace(line), "The demo backend serves on ")
	if err != nil || !found {
		t.Fatalf("it printed %q, %v, want its address", line, err)
	}
	client := &http.Client{Timeout: patience}
	page, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(page.Body)
	page.Body.Close()
	if err != nil || !strings.Contains(string(body), "<title>Streamlatch demo</title>") {
		t.Errorf("the page: %.200s, %v", body, err)
	}
	stream, err := client.Get(address + "events?client=ann")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("run does not return")
	}
	if _, err := io.ReadAll(stream.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the open stream: %v, want a cut", err)
	}
}

// With -config it prints the configuration for the ports that envoy/compose.yaml expects.
func TestConfig(t *testing.T) {
	settings := envoy.Settings{Listener: 10000, Internal: 10001, Admin: 9901, Backend: 8080}
	alone, err := demo.Render(settings)
	if err != nil {
		t.Fatal(err)
	}
	settings.Etcd = 2379
	fleet, err := demo.RenderFleet(settings)
	if err != nil {
		t.Fatal(err)
	}
	for o, want := range map[options]string{{config: true}: alone, {config: true, fleet: true}: fleet} {
		var printed strings.Builder
		if err := run(t.Context(), o, &printed); err != nil || printed.String() != want {
			t.Errorf("fleet %v: got %v, and it printed %s", o.fleet, err, printed.String())
		}
	}
}

func TestBadAddress(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	used := other.Addr().String()
	for address, want := range map[string]string{
		used:              `-listen "` + used + `": address in use: stop the program that uses it, or choose another address`,
		"8080":            `-listen "8080": listen tcp: address 8080: missing port in address`,
		"127.0.0.1:99999": `-listen "127.0.0.1:99999": listen tcp: address 99999: invalid port`,
	} {
		if err := run(t.Context(), options{listen: address, interval: time.Second}, io.Discard); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", address, err, want)
		}
	}
}

func TestFlags(t *testing.T) {
	if o, err := parseFlags(nil, io.Discard); err != nil || o != (options{"127.0.0.1:8080", time.Second, "127.0.0.1:10000", "127.0.0.1:10001", false, false}) {
		t.Errorf("got %+v, %v", o, err)
	}
	for args, want := range map[string]string{
		"8081":          "unexpected argument \"8081\"\n",
		"-interval=0s":  "-interval 0s, want more than 0s\n",
		"-interval=-1s": "-interval -1s, want more than 0s\n",
		"-edge=a:1,b:1": "-edge has 2 addresses and -internal has 1, want as many\n",
	} {
		var printed strings.Builder
		if _, err := parseFlags([]string{args}, &printed); err == nil || printed.String() != want {
			t.Errorf("%s: got %v, and it printed %q, want %q", args, err, printed.String(), want)
		}
	}
}
