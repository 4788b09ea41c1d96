//go:build container

package compose

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/streamlatch/streamlatch/envoy/container"
)

// `docker compose up` for a fleet: a client's stream ends when it opens one at the other Envoy,
// also when one of the three etcds is gone.
func TestFleetUpAndDown(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t.Setenv(container.Variable, "podman")
	podman, err := container.Find(ctx)
	if err != nil {
		t.Fatal(err)
	}
	others := []string{"envoy-a", "envoy-b", "etcd-1", "etcd-2", "etcd-3"}
	s := &stack{t: t, ctx: ctx, podman: podman, project: fmt.Sprintf("streamlatch-fleet-test-%d", os.Getpid()), file: fleetFile, first: others}
	address := s.up(fleetSubstitutes(t, ctx, podman, s.project), append([]string{"demo"}, others...),
		"EDGE_A_PORT", "EDGE_B_PORT", "INTERNAL_A_PORT", "INTERNAL_B_PORT")
	a, b := "http://"+address["EDGE_A_PORT"], "http://"+address["EDGE_B_PORT"]
	for _, edge := range []string{a, b} {
		s.until(func() error { return s.shows(edge+"/", "<title>Streamlatch demo</title>") })
	}
	s.registers(address["INTERNAL_A_PORT"], a, "ann")

	first, second := s.open(a+"/events?client=bob"), s.open(b+"/events?client=bob")
	if _, err := io.Copy(io.Discard, first); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the first stream: got the end %v, want a reset", err)
	}
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("the second stream: got %v, want an event", err)
	}
	// The page's devices are at one Envoy each.
	s.until(func() error { return s.shows(a+"/demo/envoys", "2") })
	s.until(func() error {
		return s.shows(a+"/demo/line/events?client=page&envoy=1&events=1", `"client":"page"`)
	})

	s.must("kill", "etcd-1")
	s.registers(address["INTERNAL_A_PORT"], a, "cid")
	s.registers(address["INTERNAL_B_PORT"], b, "dan")
	third, fourth := s.open(b+"/events?client=eve"), s.open(a+"/events?client=eve")
	if _, err := io.Copy(io.Discard, third); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream at Envoy B, with two etcds: got the end %v, want a reset", err)
	}
	if _, err := fourth.Read(make([]byte, 1)); err != nil {
		t.Errorf("the stream at Envoy A, with two etcds: got %v, want an event", err)
	}
}

// registers waits until an Envoy's etcd answers: then DELETE says how many streams a client has.
func (s *stack) registers(internal, edge, client string) {
	s.t.Helper()
	s.open(edge + "/events?client=" + client)
	s.until(func() error {
		request, err := http.NewRequestWithContext(s.ctx, http.MethodDelete, "http://"+internal+"/streamlatch/streams/events/"+client, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound {
			err = fmt.Errorf("DELETE: got %s, %s", response.Status, body)
		}
		return err
	})
}
