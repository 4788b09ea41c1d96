//go:build etcd

package quickstart

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/wait"
)

var servesFleet = regexp.MustCompile(`(?m)^Envoy 1\.\d+\.\d+ runs twice \(pids (\d+) and (\d+)\), with etcd \d+\.\d+\.\d+ \(pid (\d+)\)\.

                Envoy A                    Envoy B
  demo page     (http://127\.0\.0\.1:\d+)/ +(http://127\.0\.0\.1:\d+)/
  Envoy admin   (http://127\.0\.0\.1:\d+) +(http://127\.0\.0\.1:\d+)
  Envoy log     \S+/envoy\.log +\S+/envoy-b\.log
  etcd          (http://127\.0\.0\.1:\d+) +its log: \S+/etcd\.log
`)

// fleet is a running `make run-fleet`. Its program is that of Envoy A.
type fleet struct {
	*program
	etcd int    // its process id
	b    string // where Envoy B serves clients
}

// startFleet starts a fleet and waits until it serves. It also returns the output until then.
func startFleet(t *testing.T) (*fleet, string) {
	t.Helper()
	p := launch(t, nil, "-fleet", "-listen-b", "0", "-internal-b", "0", "-admin-b", "0", "-etcd", "0")
	printed := p.read("Press Ctrl-C to stop everything.")
	found := servesFleet.FindStringSubmatch(printed)
	status := statusCommand.FindAllStringSubmatch(printed, -1)
	if found == nil || len(status) != 2 {
		t.Fatalf("output: want the addresses of both Envoys and commands for their status, got %s", printed)
	}
	var pids [3]int
	for i := range pids {
		pids[i], _ = strconv.Atoi(found[i+1])
	}
	p.envoy, p.others = pids[0], pids[1:]
	p.url, p.admin, p.internal = found[4], found[6], status[0][1]
	p.urls = append(found[4:9:9], status[0][1], status[1][1])
	return &fleet{p, pids[2], found[5]}, printed
}

// A user runs the two commands that are printed, looks at the page, and presses Ctrl-C.
func TestFleet(t *testing.T) {
	p, printed := startFleet(t)
	for _, url := range []string{p.url, p.b} {
		command := fmt.Sprintf("  curl -N '%s/events?client=demo' -H 'accept: text/event-stream'\n", url)
		if !strings.Contains(printed, command) {
			t.Errorf("output: want %q, got\n%s", command, printed)
		}
		page, err := io.ReadAll(p.open(url + "/").Body)
		if err != nil || !strings.Contains(string(page), "<title>Streamlatch demo</title>") {
			t.Errorf("the page at %s: got %.200s (%v), want the demo", url, page, err)
		}
	}
	first, second := p.open(p.url+"/events?client=demo"), p.open(p.b+"/events?client=demo")
	if _, err := io.ReadAll(first.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the first stream: got the end %v, want a reset", err)
	}
	line := p.read("takeover")
	want := regexp.MustCompile(`^\d\d:\d\d:\d\d  takeover  Envoy B: rule events, client [0-9a-f]{8}: a new stream opened, so the previous one \(\d+\.\d s old\) was reset\n$`)
	if !want.MatchString(line) {
		t.Errorf("output: got %q, want %s", line, want)
	}
	if _, err := second.Body.Read(make([]byte, 1)); err != nil {
		t.Errorf("the second stream: got %v, want an event", err)
	}

	// The page's devices: the second one is at the other Envoy, whichever serves the page.
	laptop := p.open(p.b + "/demo/line/events?client=page&envoy=0")
	p.open(p.b + "/demo/line/events?client=page&envoy=1")
	if _, err := io.ReadAll(laptop.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the laptop's stream: got the end %v, want a reset", err)
	}
	if line := p.read("takeover"); !strings.Contains(line, "Envoy B: ") {
		t.Errorf("output: got %q, want a takeover at Envoy B", line)
	}

	// Envoy A is asked, and the streams are at Envoy B.
	for _, client := range []string{"demo", "page"} {
		if got, want := p.ask(http.MethodDelete, "/streamlatch/streams/events/"+client), "{\"streams\":1}\n"; got != want {
			t.Errorf("DELETE of %s: got %q, want %q", client, got, want)
		}
		if line := p.read("deleted"); !strings.Contains(line, "Envoy A: rule events, ") || !strings.Contains(line, " (1)\n") {
			t.Errorf("output: got %q, want it to say that Envoy A was asked, and that one stream has ended", line)
		}
	}
	if _, err := io.ReadAll(second.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the dismissed stream: got the end %v, want a reset", err)
	}

	p.signal(os.Interrupt)
	p.end(0)
	if p.stderr.Len() > 0 {
		t.Errorf("stderr: %s", p.stderr.String())
	}
}

// If etcd ends, nothing of the fleet is left, not even files.
func TestEtcdIsKilled(t *testing.T) {
	p, _ := startFleet(t)
	p.open(p.b + "/events?client=demo")
	if err := syscall.Kill(p.etcd, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.end(1)
	if want := "quickstart: etcd ended by itself: signal: killed\n"; p.stderr.String() != want {
		t.Errorf("stderr: got %q, want %q", p.stderr.String(), want)
	}
	p.wantNoFiles()
}

func TestSecondEnvoyIsKilled(t *testing.T) {
	p, _ := startFleet(t)
	if err := syscall.Kill(p.others[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.end(1)
	if want := "quickstart: envoy ended by itself: signal: killed\n"; p.stderr.String() != want {
		t.Errorf("stderr: got %q, want %q", p.stderr.String(), want)
	}
	p.wantNoFiles()
}

// wantNoFiles checks that the program has removed its temporary files.
func (p *program) wantNoFiles() {
	p.t.Helper()
	left, err := os.ReadDir(p.tmp)
	if err != nil || len(left) > 0 {
		p.t.Errorf("got the temporary files %v (%v), want none", left, err)
	}
}

// If the program is killed, it cannot stop what it has started. The kernel does it.
func TestFleetIsKilled(t *testing.T) {
	p, _ := startFleet(t)
	p.signal(os.Kill)
	<-p.exit
	for _, pid := range append(p.others, p.envoy) {
		wait.Gone(t, pid)
	}
}
