package rigtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// Metrics returns the filter's metrics now.
func Metrics(t *testing.T, r *rig.Rig) map[string]uint64 {
	t.Helper()
	m, err := r.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Counts are the metrics of a rule that most stories are about.
type Counts struct{ Opened, Superseded, Released, Active uint64 }

func CountsOf(m map[string]uint64, rule string) Counts {
	return Counts{
		Opened:     m[rule+".opened"],
		Superseded: m[rule+".superseded"],
		Released:   m[rule+".released"],
		Active:     m[rule+".active"],
	}
}

func (c Counts) Since(before Counts) Counts {
	return Counts{c.Opened - before.Opened, c.Superseded - before.Superseded, c.Released - before.Released, c.Active - before.Active}
}

// WantCounts waits until a rule's metrics are these.
func WantCounts(t *testing.T, r *rig.Rig, rule string, want Counts) {
	t.Helper()
	WantCountsSince(t, r, rule, Counts{}, want)
}

// WantCountsSince waits until a rule's metrics have moved by so much.
func WantCountsSince(t *testing.T, r *rig.Rig, rule string, before, want Counts) {
	t.Helper()
	wait.Until(t, func() error {
		if got := CountsOf(Metrics(t, r), rule).Since(before); got != want {
			return fmt.Errorf("metrics of rule %s: %+v, want %+v", rule, got, want)
		}
		return nil
	})
}

// WantLive waits until the backend has exactly these streams of the client open.
func WantLive(t *testing.T, r *rig.Rig, client string, want ...*rig.Stream) {
	t.Helper()
	var ids []int
	for _, s := range want {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	wait.Until(t, func() error {
		if live := r.Backend.Live(client); !slices.Equal(live, ids) {
			return fmt.Errorf("the backend has the client's streams %v open, want %v", live, ids)
		}
		return nil
	})
}

// WantFlow checks that an event goes from the backend to the client on a stream.
func WantFlow(t *testing.T, r *rig.Rig, s *rig.Stream) {
	t.Helper()
	const event = "are you there?"
	if !r.Backend.Send(s.ID, event) {
		t.Fatalf("stream %d is not open at the backend", s.ID)
	}
	late := time.After(wait.Patience)
	for {
		select {
		case got := <-s.Events():
			if got == event {
				return
			}
		case <-s.Done():
			t.Fatalf("stream %d has ended before an event came", s.ID)
		case <-late:
			t.Fatalf("no event came on stream %d", s.ID)
		}
	}
}

// WantEnd waits for the end of a stream.
func WantEnd(t *testing.T, s *rig.Stream, want rig.How) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	end, err := s.End(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if end.How != want {
		t.Fatalf("stream %d: %v (%v), want %v", s.ID, end.How, end.Err, want)
	}
}

// WantReasons stops Envoy and compares the reasons in its access log.
func WantReasons(t *testing.T, r *rig.Rig, want map[string]int) {
	t.Helper()
	if t.Failed() {
		return
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, line := range r.Access.Lines() {
		var written struct{ Reason *string }
		if err := json.Unmarshal([]byte(line), &written); err != nil {
			t.Fatalf("access log: %s: %v", line, err)
		}
		if written.Reason != nil {
			got[*written.Reason]++
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the access log has the reasons %v, want %v", got, want)
	}
}

// WantDelete sends DELETE and compares the answer's status, and its body if there is a want.
func WantDelete(t *testing.T, c *rig.Conn, path string, want int, body string) {
	t.Helper()
	got := Do(t, c, rig.Request{Method: "DELETE", Path: path})
	if got.Status != want || body != "" && got.Body != body {
		t.Errorf("DELETE %s: status %d, %q; want %d, %q", path, got.Status, got.Body, want, body)
	}
	if got.Header.Get("content-type") != "application/json" || !json.Valid([]byte(got.Body)) {
		t.Errorf("DELETE %s: %q of type %q, want JSON", path, got.Body, got.Header.Get("content-type"))
	}
}

// StatsUnder returns Envoy's counters and gauges that begin with a prefix, by the rest of their names.
func StatsUnder(t *testing.T, r *rig.Rig, prefix string) map[string]uint64 {
	t.Helper()
	stats, err := r.Envoy().Admin().Stats(t.Context(), "^"+regexp.QuoteMeta(prefix))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]uint64)
	for name, value := range stats.Values {
		found[strings.TrimPrefix(name, prefix)] = value
	}
	return found
}

// WantSamples waits until Prometheus would read these lines.
func WantSamples(t *testing.T, r *rig.Rig, samples ...string) {
	t.Helper()
	wait.Until(t, func() error {
		text := Ask(t, r, http.MethodGet, "/stats/prometheus")
		for _, sample := range samples {
			if !strings.Contains(text, sample+"\n") {
				var like []string
				name, _, _ := strings.Cut(sample, "{")
				for line := range strings.Lines(text) {
					if strings.Contains(line, name) {
						like = append(like, line)
					}
				}
				return fmt.Errorf("Prometheus does not read %s, but\n%s", sample, strings.Join(like, ""))
			}
		}
		return nil
	})
}

// SoftRefusal matches the body of a refusal that an EventSource comes back from.
var SoftRefusal = regexp.MustCompile(`^retry: (\d+)\nevent: streamlatch\ndata: {"reason":"([a-z_]+)"}\n\n$`)
