//go:build prometheus

package operators

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
)

// Situations that alerts are for, each at a rule or an Envoy of its own, and one that is none: steady.
//
// Not here, as no client can bring them about within a minute, are StreamlatchCrashLoop, StreamlatchContention,
// StreamlatchLostWakeups and StreamlatchRegistryMalformed. Promtool's unit tests have them.

// crowdRules are for the situations that a rule is in.
const crowdRules = `{"rules": [
	{"name": "steady",   "match": {"path": {"prefix": "/steady/"}},   "client": [{"query": "client"}], "idle_timeout": "1h", "max_lifetime": "1h"},
	{"name": "storm",    "match": {"path": {"prefix": "/storm/"}},    "client": [{"query": "client"}], "takeover_limit": false},
	{"name": "refusing", "match": {"path": {"prefix": "/refusing/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new"},
	{"name": "nameless", "match": {"path": {"prefix": "/nameless/"}}, "client": [{"query": "client"}]},
	{"name": "silent",   "match": {"path": {"prefix": "/silent/"}},   "client": [{"query": "client"}], "idle_timeout": "1s"}
]}`

func limited(streams int) string {
	return fmt.Sprintf(`{"max_total_streams": %d, "rules": [{"name": "events", "client": [{"query": "client"}]}]}`, streams)
}

// The alerts that are to fire: by Envoy, and by rule where they are of one.
var expected = []string{
	"broken: StreamlatchMissing",
	"crashed: StreamlatchWorkerDied",
	"crowd/nameless: StreamlatchClientsUnknown",
	"crowd/refusing: StreamlatchRefusalsRising",
	"crowd/silent: StreamlatchBackendSilent",
	"crowd/storm: StreamlatchTakeoverStorm",
	"full: StreamlatchFull",
	"full: StreamlatchNearLimit",
	"near: StreamlatchNearLimit",
}

// A real Prometheus reads real Envoys under load: every expression of the dashboard and of the alerts has data, and in
// each situation the alert fires that is made for it, and no other.
func TestSituations(t *testing.T) {
	envoys := map[string]*rig.Rig{}
	var starting sync.WaitGroup
	var mu sync.Mutex
	for name, o := range map[string]rig.Options{
		"crowd":   {Concurrency: 2, Filter: crowdRules},
		"near":    {Concurrency: 1, Filter: limited(10)},
		"full":    {Concurrency: 1, Filter: limited(2)},
		"crashed": {Concurrency: 2, Filter: limited(0), Module: rig.Guest("crash")},
		"broken":  {Concurrency: 1, Filter: `{"rules": 1}`, Base: delivered(filepath.Join(t.TempDir(), "streamlatch.yaml"))},
	} {
		if o.Base == nil {
			o.Edits = []rig.Edit{quickHistograms}
		}
		starting.Go(func() {
			r, err := rig.Start(t.Context(), o)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			t.Cleanup(func() {
				if err := r.Stop(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			envoys[name] = r
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	targets := map[string]string{}
	for name, r := range envoys {
		targets[name] = strings.TrimPrefix(r.Envoy().Admin().URL, "http://")
	}
	p := startPrometheus(t, targets)
	wait.Until(t, func() error { // before there is anything to count
		up, err := p.query(t, "count_over_time(up[1m]) > 2")
		if err == nil && len(up) != len(envoys) {
			err = fmt.Errorf("prometheus has read %v", up)
		}
		return err
	})

	load(t, envoys)
	wait.Until(t, func() error { return p.fired(t, expected) })
	for title, exprs := range expressions(t) {
		for _, expr := range exprs {
			wantData(t, p, title, variables.Replace(expr))
		}
	}
	for _, alert := range alerts(t) {
		for _, expr := range compared(parse(t, shorter(alert.Expr), "up")) {
			wantData(t, p, alert.Alert, expr)
		}
	}
	wantHealthyRules(t, p)
	if err := p.fired(t, expected); err != nil { // none besides has come since
		t.Error(err)
	}
}

// quickHistograms has Envoy add up its histograms each second, as it is scraped. By default it does in five, which is as
// long as the rules look back here.
var quickHistograms = rig.Replace("\nstats_config:\n", "\nstats_flush_interval: 1s\nstats_config:\n")

// delivered has an Envoy follow a file for its filter, with a configuration that the filter does not take. Such an Envoy
// starts, and has no filter.
func delivered(file string) rig.Base {
	return func(s envoy.Settings) (string, error) {
		config, filter, err := envoy.RenderECDS(s, file)
		if err != nil {
			return "", err
		}
		return config, os.WriteFile(file, []byte(filter), 0o600)
	}
}

// fired returns an error unless these alerts have fired, whether they do so still or not. Another one ends the test.
func (s *server) fired(t *testing.T, want []string) error {
	t.Helper()
	points, err := s.query(t, `max by (envoy, streamlatch_rule, alertname) (max_over_time(ALERTS{alertstate="firing"}[10m]))`)
	if err != nil {
		return err
	}
	got := make(map[string]bool)
	for _, p := range points {
		of := p.labels["envoy"]
		if rule := p.labels["streamlatch_rule"]; rule != "" {
			of += "/" + rule
		}
		of += ": " + p.labels["alertname"]
		if !slices.Contains(want, of) {
			t.Fatalf("an alert has fired that is for another situation: %s", of)
		}
		got[of] = true
	}
	if fired := slices.Sorted(maps.Keys(got)); !slices.Equal(fired, want) {
		return fmt.Errorf("these alerts have fired\n%s\nwant\n%s", strings.Join(fired, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

// compared returns what an alert compares: the expressions in it that have a value whatever that is.
func compared(expr parser.Expr) []string {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return compared(e.Expr)
	case *parser.NumberLiteral:
		return nil
	case *parser.BinaryExpr:
		if e.Op.IsComparisonOperator() || e.Op.IsSetOperator() {
			return append(compared(e.LHS), compared(e.RHS)...)
		}
	}
	return []string{expr.String()}
}

func wantData(t *testing.T, p *server, of, expr string) {
	t.Helper()
	wait.Until(t, func() error {
		points, err := p.query(t, expr)
		if err == nil && len(points) == 0 {
			err = fmt.Errorf("%s: %s has no data", of, expr)
		}
		return err
	})
}

// wantHealthyRules checks that all rules are evaluated without an error, and that what the alerts say is complete.
func wantHealthyRules(t *testing.T, p *server) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct {
				Name, Health, LastError string
				Alerts                  []struct{ Annotations map[string]string }
			}
		}
	}
	if err := p.ask(t, "rules", url.Values{}, &data); err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("%s: %s, %s", rule.Name, rule.Health, rule.LastError)
			}
			for _, alert := range rule.Alerts {
				for name, text := range alert.Annotations {
					said++
					if strings.Contains(text, "<") || strings.Contains(text, "%!") || strings.Contains(text, "  ") {
						t.Errorf("%s: %s says %q", rule.Name, name, text)
					}
				}
			}
		}
	}
	if said == 0 {
		t.Error("no alert says anything")
	}
}
