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

// Each situation has its own rule or its own Envoy. No alert may fire for the rule steady.
//
// StreamlatchCrashLoop, StreamlatchContention, StreamlatchLostWakeups, StreamlatchRegistryMalformed
// and most alerts of a fleet are missing here, because no client can cause them within a minute.
// Promtool's unit tests have them.

// crowdRules are the rules for the situations of a rule.
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

// inFleet is for an Envoy whose etcd does not answer: nothing listens on that port.
func inFleet(s envoy.Settings) (string, error) {
	s.Etcd = 1
	return envoy.RenderFleet(s)
}

const fleetRule = `{"rules": [{"name": "events", "client": [{"query": "client"}]}],
	"fleet": {"clusters": ["etcd"], "secret": "000102030405060708090a0b0c0d0e0f"}}`

// expected are the alerts that must fire: by Envoy, and by rule if they belong to one.
var expected = []string{
	"alone: StreamlatchFleetAway",
	"broken: StreamlatchMissing",
	"crashed: StreamlatchWorkerDied",
	"crowd/nameless: StreamlatchClientsUnknown",
	"crowd/refusing: StreamlatchRefusalsRising",
	"crowd/silent: StreamlatchBackendSilent",
	"crowd/storm: StreamlatchTakeoverStorm",
	"full: StreamlatchFull",
	"full: StreamlatchNearLimit",
	"late: StreamlatchClientsLearnLate",
	"near: StreamlatchNearLimit",
	"untagged: StreamlatchRuleInNames",
}

// A real Prometheus reads real Envoys under load. Every expression of the dashboard and of the
// alerts has data. In each situation the alert for it fires, and no other.
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
		"late": {Concurrency: 1, Filter: `{"rules": [{"name": "events", "client": [{"query": "client"}], "takeover_limit": false}]}`,
			Edits: []rig.Edit{rig.Replace("          delayed_close_timeout: 0s\n", "")}},
		"alone":    {Concurrency: 1, Filter: fleetRule, Base: inFleet, Edits: []rig.Edit{rig.AnyPath, quickHistograms}},
		"untagged": {Concurrency: 1, Filter: limited(0), Edits: []rig.Edit{rig.Remove("  stats_tags:\n", "  # In milliseconds.")}},
	} {
		if o.Base == nil {
			o.Edits = append(o.Edits, quickHistograms)
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
	wait.Until(t, func() error { // the counters must be read before they rise
		up, err := p.query(t, "count_over_time(up[1m]) > 2")
		if err == nil && len(up) != len(envoys) {
			err = fmt.Errorf("prometheus: got scrapes of %v, want all %d Envoys", up, len(envoys))
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
		for _, expr := range compared(parse(t, shorter(alert.Expr), besides...)) {
			wantData(t, p, alert.Alert, expr)
		}
	}
	wantHealthyRules(t, p)
	if err := p.fired(t, expected); err != nil { // no other alert has fired since
		t.Error(err)
	}
}

// quickHistograms makes Envoy add up its histograms each second, as often as it is scraped. The
// default is 5s, which is as far as the shortened rules look back.
var quickHistograms = rig.Replace("\nstats_config:\n", "\nstats_flush_interval: 1s\nstats_config:\n")

// delivered makes an Envoy read the filter from a file, with a configuration that the filter
// refuses. Such an Envoy starts without the filter.
func delivered(file string) rig.Base {
	return func(s envoy.Settings) (string, error) {
		config, filter, err := envoy.RenderECDS(s, file)
		if err != nil {
			return "", err
		}
		return config, os.WriteFile(file, []byte(filter), 0o600)
	}
}

// fired returns an error unless all these alerts have fired at some time. Any other alert fails the
// test.
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
			t.Fatalf("got the alert %s, want only those for the situations", of)
		}
		got[of] = true
	}
	if fired := slices.Sorted(maps.Keys(got)); !slices.Equal(fired, want) {
		return fmt.Errorf("got the alerts\n%s\nwant\n%s", strings.Join(fired, "\n"), strings.Join(want, "\n"))
	}
	return nil
}

// compared returns the operands of an alert's comparisons: the expressions that have data even if
// the alert does not fire.
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
			err = fmt.Errorf("%s: %s: got no data, want some", of, expr)
		}
		return err
	})
}

// wantHealthyRules checks that all rules are evaluated without an error, and that the texts of the
// alerts are complete.
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
	texts := 0
	for _, group := range data.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				t.Errorf("%s: got health %s (%s), want ok", rule.Name, rule.Health, rule.LastError)
			}
			for _, alert := range rule.Alerts {
				for name, text := range alert.Annotations {
					texts++
					if strings.Contains(text, "<") || strings.Contains(text, "%!") || strings.Contains(text, "  ") {
						t.Errorf("%s: %s: got %q, want a complete text", rule.Name, name, text)
					}
				}
			}
		}
	}
	if texts == 0 {
		t.Error("got no text of an alert, want some")
	}
}
