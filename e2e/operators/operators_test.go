// Package operators tests what is shipped for monitoring: the Grafana dashboard, Prometheus's
// configuration and the alerts. With the tag prometheus, a real Prometheus reads real Envoys.
package operators

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// The rig builds the filter and finds Envoy from the root of the repository.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const (
	alertsFile    = "envoy/prometheus-alerts.yaml"
	alertsTest    = "envoy/prometheus-alerts-test.yaml"
	configFile    = "envoy/prometheus.yaml"
	dashboardFile = "envoy/grafana-dashboard.json"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// alerts returns the shipped alerts.
func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	file, errs := rulefmt.ParseFile(alertsFile, false, model.LegacyValidation, promQL, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errors.Join(errs...))
	}
	var all []rulefmt.Rule
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) < 8 {
		t.Fatalf("%s: got %d alerts, want at least 8", alertsFile, len(all))
	}
	return all
}

var promQL = parser.NewParser(parser.Options{})

// besides are what alerts read besides the metrics of the README's table: how a scrape went, a
// metric of Envoy itself, and metrics by a pattern of names.
var besides = []string{"up", "envoy_http_downstream_cx_delayed_close_timeout", ""}

// parse parses a PromQL expression. It fails the test if the expression is malformed, or reads a
// metric that is neither in the README's table nor in besides.
func parse(t *testing.T, expr string, besides ...string) parser.Expr {
	t.Helper()
	parsed, err := promQL.ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	known := readmeMetrics(t)
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok && !slices.Contains(known, s.Name) && !slices.Contains(besides, s.Name) {
			t.Errorf("%s: unknown metric %q, want one of README.md's table", expr, s.Name)
		}
		return nil
	})
	return parsed
}

// A metric is a row of the README's table: of each rule, or of the whole filter.
type metric struct {
	name, kind string
	ofRule     bool
}

// metricsTable returns the README's table of metrics. e2e/admin/metrics_test.go compares the table
// with a real Envoy.
func metricsTable(t *testing.T) []metric {
	t.Helper()
	var table []metric
	row := regexp.MustCompile("(?m)^\\| `streamlatch\\.(<rule>\\.)?([a-z_]+)` \\| ([a-z]+) \\| ")
	for _, m := range row.FindAllStringSubmatch(read(t, "filter/README.md"), -1) {
		table = append(table, metric{name: m[2], kind: m[3], ofRule: m[1] != ""})
	}
	if len(table) < 20 {
		t.Fatalf("README.md: got %d rows of the table of metrics, want at least 20", len(table))
	}
	return table
}

// readmeMetrics returns the metrics of the README's table by their names in Prometheus.
func readmeMetrics(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, m := range metricsTable(t) {
		name := "streamlatch_" + m.name
		if m.kind == "histogram" {
			names = append(names, name+"_bucket", name+"_sum", name+"_count")
		} else {
			names = append(names, name)
		}
	}
	return names
}

// Each alert says what is wrong and what to do, and fires in a test.
func TestAlertsSayWhatToDo(t *testing.T) {
	tests := read(t, alertsTest)
	for _, alert := range alerts(t) {
		parse(t, alert.Expr, besides...)
		if severity := alert.Labels["severity"]; severity != "warning" && severity != "critical" {
			t.Errorf("%s: got severity %q, want warning or critical", alert.Alert, severity)
		}
		for _, annotation := range []string{"summary", "description", "action"} {
			if text := alert.Annotations[annotation]; !strings.HasSuffix(strings.TrimSpace(text), ".") {
				t.Errorf("%s: %s: got %q, want sentences", alert.Alert, annotation, text)
			}
		}
		if !strings.Contains(tests, `alertname="`+alert.Alert+`"`) {
			t.Errorf("%s: want a test in %s in which it fires", alert.Alert, alertsTest)
		}
	}
}
