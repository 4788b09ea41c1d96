package operators

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// A classicDashboard is what every Grafana loads from a file.
//
//lint:ignore SA1019 its successor is a resource of Grafana's API
type classicDashboard = dashboard.Dashboard

// shippedDashboard decodes the dashboard into Grafana's published types. It fails the test if a
// field does not exist in them or has another type.
func shippedDashboard(t *testing.T) classicDashboard {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	file := []byte(read(t, dashboardFile))
	var strict, d classicDashboard
	err := strict.UnmarshalJSONStrict(file)
	// Without faults it returns an empty list that is not nil, and it leaves out the panels. So it
	// is decoded twice.
	var faults cog.BuildErrors
	if err != nil && (!errors.As(err, &faults) || len(faults) > 0) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries returns the queries of a panel.
func queries(t *testing.T, p *dashboard.Panel) []*prometheus.Dataquery {
	t.Helper()
	if p == nil {
		t.Fatal("dashboard: got a row, want panels only: no test looks into rows")
	}
	var asked []*prometheus.Dataquery
	for _, target := range p.Targets {
		query, ok := target.(*prometheus.Dataquery)
		if !ok {
			t.Fatalf("panel %q: got a query of type %T, want one for Prometheus", *p.Title, target)
		}
		asked = append(asked, query)
	}
	return asked
}

// expressions returns the PromQL expressions of all panels, by title.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	asked := make(map[string][]string)
	for _, p := range shippedDashboard(t).Panels {
		for _, query := range queries(t, p.Panel) {
			asked[*p.Panel.Title] = append(asked[*p.Panel.Title], query.Expr)
		}
	}
	return asked
}

// variables replaces the variables of the dashboard: all rules, and a range that fits a scrape each
// second.
var variables = strings.NewReplacer("$rule", ".+", "$__rate_interval", "10s")

func TestDashboard(t *testing.T) {
	d := shippedDashboard(t)
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	if strings.Join(names, " ") != "datasource rule" {
		t.Errorf("got the variables %q, want datasource and rule", names)
	}
	query := d.Templating.List[1].Query.Map["query"]
	m := regexp.MustCompile(`^label_values\(([a-z_]+), streamlatch_rule\)$`).FindStringSubmatch(query.(string))
	if m == nil {
		t.Fatalf("variable rule: got the query %v, want label_values", query)
	}
	parse(t, m[1])

	asked := expressions(t)
	if len(asked) < 8 || len(asked) != len(d.Panels) {
		t.Errorf("got %d titles of panels with queries, want %d, and at least 8", len(asked), len(d.Panels))
	}
	for title, exprs := range asked {
		for _, expr := range exprs {
			expr = variables.Replace(expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: %s: unknown variable", title, expr)
			}
			parse(t, expr)
		}
	}
	ids := make(map[uint32]bool)
	for _, p := range d.Panels {
		if p.Panel.Id == nil || ids[*p.Panel.Id] {
			t.Errorf("panel %q: want an id that no other panel has", *p.Panel.Title)
			continue
		}
		ids[*p.Panel.Id] = true
		if ds := p.Panel.Datasource; ds == nil || *ds.Uid != "${datasource}" {
			t.Errorf("panel %q: want the data source ${datasource}", *p.Panel.Title)
		}
	}
}

// Each counter of the README's table for an end of streams, a refusal or a fault of the registry is
// one line of the panel for these, under its own name.
func TestDashboardShowsEachCounter(t *testing.T) {
	const ofRule, ofAll = `sum(rate(streamlatch_%s{streamlatch_rule=~"$rule"}[$__rate_interval]))`, `sum(rate(streamlatch_%s[$__rate_interval]))`
	want := make(map[string][]string)
	line := func(title, legend, expr, counter string) {
		want[title] = append(want[title], legend+": "+fmt.Sprintf(expr, counter))
	}
	for _, m := range metricsTable(t) {
		cause, refused := strings.CutPrefix(m.name, "refused_")
		switch {
		case m.kind != "counter" || slices.Contains([]string{"matched", "opened", "no_key"}, m.name):
		case refused:
			line("Refusals by reason", cause, ofRule, m.name)
		case m.ofRule:
			line("How streams end", m.name, ofRule, m.name)
		case strings.HasPrefix(m.name, "fleet_"):
			line("Fleet", strings.TrimPrefix(m.name, "fleet_"), ofAll, m.name)
		default:
			line("Health of the registry", strings.Replace(m.name, "lost_wakeups", "lost wake-ups", 1), ofAll, m.name)
		}
	}
	if len(want["Refusals by reason"]) < 5 || len(want["How streams end"]) < 5 || len(want["Health of the registry"]) < 4 {
		t.Fatalf("README.md: got the counters %q, want at least 5, 5 and 4", want)
	}
	for _, p := range shippedDashboard(t).Panels {
		lines, ok := want[*p.Panel.Title]
		if !ok {
			continue
		}
		delete(want, *p.Panel.Title)
		var got []string
		for _, query := range queries(t, p.Panel) {
			got = append(got, legend(query)+": "+query.Expr)
		}
		slices.Sort(got)
		slices.Sort(lines)
		if !slices.Equal(got, lines) {
			t.Errorf("%s: got the lines\n%s\nwant\n%s", *p.Panel.Title, strings.Join(got, "\n"), strings.Join(lines, "\n"))
		}
	}
	for title := range want {
		t.Errorf("dashboard: want a panel %q", title)
	}
}

// The name and the unit of each line match its query: the labels that the query keeps, the quantile
// of a histogram, and the unit of the numbers.
func TestDashboardSaysWhatItAsks(t *testing.T) {
	label := regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
	grouped := regexp.MustCompile(`^(?:sum|max) by \(([a-z_]+)\)`)
	quantile := regexp.MustCompile(`^histogram_quantile\(([0-9.]+), `)
	shares := map[string]string{"0.5": "half are ", "0.9": "nine in ten are "}
	histograms := 0
	for _, p := range shippedDashboard(t).Panels {
		title := *p.Panel.Title
		unit := p.Panel.FieldConfig.Defaults.Unit
		if unit == nil {
			t.Errorf("%s: want a unit", title)
			continue
		}
		legends := make(map[string]bool)
		for _, query := range queries(t, p.Panel) {
			of := legend(query)
			if legends[of] {
				t.Errorf("%s: got two lines %q, want different names", title, of)
			}
			legends[of] = true

			var named, left string
			if m := label.FindStringSubmatch(of); m != nil {
				named = m[1]
			}
			if m := grouped.FindStringSubmatch(query.Expr); m != nil {
				left = m[1]
			}
			if named != left {
				t.Errorf("%s: got the line %q for %s, want the label %q in its name", title, of, query.Expr, left)
			}

			want := "short"
			switch m := quantile.FindStringSubmatch(query.Expr); {
			case m != nil:
				want = "ms"
				histograms++
				if share := shares[m[1]]; share == "" || !strings.HasPrefix(of, share) {
					t.Errorf("%s: got the line %q for %s, want the share in its name", title, of, query.Expr)
				}
				if !strings.Contains(query.Expr, "_ms_bucket") {
					t.Errorf("%s: got %s, want a histogram in milliseconds", title, query.Expr)
				}
			case strings.Contains(query.Expr, "rate("):
				want = "cps"
			case strings.Contains(query.Expr, " / "):
				want = "percentunit"
			}
			if *unit != want {
				t.Errorf("%s: %s: got the unit %q, want %q", title, query.Expr, *unit, want)
			}
		}
	}
	if histograms < 4 {
		t.Errorf("got %d lines of histograms, want at least 4", histograms)
	}
}

// legend returns the name of a line. It is empty in a panel with only one line.
func legend(query *prometheus.Dataquery) string {
	if query.LegendFormat == nil {
		return ""
	}
	return *query.LegendFormat
}
