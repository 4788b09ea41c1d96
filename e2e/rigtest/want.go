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

// Counts are those metrics of a rule that most tests look at.
type Counts struct{ Opened, Superseded, Released, Active uint64 }

// CountsOf returns the Counts of a rule.
func CountsOf(m map[string]uint64, rule string) Counts {
	return Counts{
		Opened:     m[rule+".opened"],
		Superseded: m[rule+".superseded"],
		Released:   m[rule+".released"],
		Active:     m[rule+".active"],
	}
}

// Since returns c minus before.
func (c Counts) Since(before Counts) Counts {
	return Counts{c.Opened - before.Opened, c.Superseded - before.Superseded, c.Released - before.Released, c.Active - before.Active}
}

// WantCounts waits until a rule has these metrics.
func WantCounts(t *testing.T, r *rig.Rig, rule string, want Counts) {
	t.Helper()
	WantCountsSince(t, r, rule, Counts{}, want)
}

// WantCountsSince waits until a rule's metrics differ from before by want.
func WantCountsSince(t *testing.T, r *rig.Rig, rule string, before, want Counts) {
	t.Helper()
	wait.Until(t, func() error {
		if got := CountsOf(Metrics(t, r), rule).Since(before); got != want {
			return fmt.Errorf("metrics of rule %s: got %+v, want %+v", rule, got, want)
		}
		return nil
	})
}

// WantLive waits until exactly these streams of the client are open at the backend.
func WantLive(t *testing.T, r *rig.Rig, client string, want ...*rig.Stream) {
	t.Helper()
	var ids []int
	for _, s := range want {
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	wait.Until(t, func() error {
		if live := r.Backend.Live(client); !slices.Equal(live, ids) {
			return fmt.Errorf("got the client's streams %v open at the backend, want %v", live, ids)
		}
		return nil
	})
}

// WantFlow checks that an event reaches the client on a stream.
func WantFlow(t *testing.T, r *rig.Rig, s *rig.Stream) {
	t.Helper()
	const event = "are you there?"
	if !r.Backend.Send(s.ID, event) {
		t.Fatalf("stream %d: want it open at the backend", s.ID)
	}
	late := time.After(wait.Patience)
	for {
		select {
		case got := <-s.Events():
			if got == event {
				return
			}
		case <-s.Done():
			t.Fatalf("stream %d: got its end, want an event", s.ID)
		case <-late:
			t.Fatalf("stream %d: got no event in %v, want one", s.ID, wait.Patience)
		}
	}
}

// WantEnd waits until a stream has ended, and checks how.
func WantEnd(t *testing.T, s *rig.Stream, want rig.How) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	end, err := s.End(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if end.How != want {
		t.Fatalf("stream %d: got the end %v (%v), want %v", s.ID, end.How, end.Err, want)
	}
}

// WantLost waits for the end of a stream whose connection was closed.
func WantLost(t *testing.T, s *rig.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	end, err := s.End(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if end.How == rig.Finished || end.How == rig.Closed {
		t.Fatalf("stream %d: got the end %v, want a lost connection", s.ID, end.How)
	}
}

// WantReasons stops Envoy and checks how often its access log gives each reason.
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
		t.Errorf("access log: got the reasons %v, want %v", got, want)
	}
}

// WantDelete sends DELETE to the admin path and checks the status, and also the body unless the
// wanted one is empty.
func WantDelete(t *testing.T, c *rig.Conn, path string, want int, body string) {
	t.Helper()
	got := Do(t, c, rig.Request{Method: "DELETE", Path: path})
	if got.Status != want || body != "" && got.Body != body {
		t.Errorf("DELETE %s: got status %d, %q; want %d, %q", path, got.Status, got.Body, want, body)
	}
	if got.Header.Get("content-type") != "application/json" || !json.Valid([]byte(got.Body)) {
		t.Errorf("DELETE %s: got %q of type %q, want JSON", path, got.Body, got.Header.Get("content-type"))
	}
}

// StatsUnder returns Envoy's counters and gauges whose names begin with prefix. The names in the
// result do not have the prefix.
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

// WantSamples waits until these lines are in what Envoy serves to Prometheus.
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
				return fmt.Errorf("metrics for Prometheus: want the line %s, got\n%s", sample, strings.Join(like, ""))
			}
		}
		return nil
	})
}

// SoftRefusal matches the body of a refusal after which a browser's EventSource tries again.
var SoftRefusal = regexp.MustCompile(`^retry: (\d+)\nevent: streamlatch\ndata: {"reason":"([a-z_]+)","retry_ms":\d+}\n\n$`)

// SettledMetrics returns the metrics without the counts of requests that matched, which a tick
// brings up to date.
func SettledMetrics(t *testing.T, r *rig.Rig) map[string]uint64 {
	t.Helper()
	metrics := Metrics(t, r)
	maps.DeleteFunc(metrics, func(name string, _ uint64) bool { return strings.HasSuffix(name, ".matched") })
	return metrics
}
