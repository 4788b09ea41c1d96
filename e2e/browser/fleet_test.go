//go:build browser && etcd

package browser

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/demo"
	"github.com/streamlatch/streamlatch/envoy/etcd"
)

// The page of `make run-fleet`: its laptop is at one Envoy and its phone at the other, and they
// take the stream from each other as at a single one.
func TestPageOfAFleet(t *testing.T) {
	t.Parallel()
	path, _, err := etcd.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	process, err := etcd.Start(t.Context(), path, port, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(process.Stop)

	backend := demo.New(500 * time.Millisecond)
	var envoys []*rig.Rig
	var gateways []demo.Gateway
	for range 2 {
		r := rigtest.Start(t, rig.Options{
			Concurrency: 2,
			Handler:     backend,
			Base:        func(s envoy.Settings) (string, error) { s.Etcd = port; return demo.RenderFleet(s) },
		})
		listeners, err := r.Envoy().Admin().Listeners(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		envoys = append(envoys, r)
		gateways = append(gateways, demo.Gateway{Edge: r.Address(), Internal: listeners[rig.Internal]})
	}
	backend.Behind(gateways...)

	d := openDemoAt(t, envoys[0], backend, wide)
	d.says("#filter-name", "^Filter in both Envoys$")
	d.says("#device-laptop .way", "^EventSource, Envoy A$")
	d.says("#device-phone .way", "^fetch, Envoy B$")
	d.says("dd.fleet", "^The laptop is at Envoy A and the phone at Envoy B")
	d.press("#device-phone .open")
	d.shows("phone", "open")
	d.shows("laptop", "taken")
	d.dots(0, "phone")
	d.says("#watch", inTime+`phone\.$`)
	d.press("#device-laptop .reload")
	d.shows("laptop", "open")
	d.shows("phone", "taken")
	d.dots(0, "laptop")
	d.after("laptop", func() { d.press("#kick") })
	d.says("#log", "Kick: the filter ended 1 stream\n")
	for i, least := range []uint64{2, 1} { // the laptop's streams, and the phone's
		if got := rigtest.Metrics(t, envoys[i])["events.opened"]; got < least {
			t.Errorf("Envoy %c: got %d streams, want %d or more", 'A'+i, got, least)
		}
	}
}
