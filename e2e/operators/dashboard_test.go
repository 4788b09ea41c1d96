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

// shippedDashboard decodes the dashboard into Grafana's published types: a field that they do not have, or one of another
// type, fails the test.
func shippedDashboard(t *testing.T) classicDashboard {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	file := []byte(read(t, dashboardFile))
	var strict, d classicDashboard
	err := strict.UnmarshalJSONStrict(file)
	// Of no faults it returns a list that is empty and not nil, and leaves the panels out, so it is decoded again to be read.
	var faults cog.BuildErrors
	if err != nil && (!errors.As(err, &faults) || len(faults) > 0) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries returns what a panel asks Prometheus.
func queries(t *testing.T, p *dashboard.Panel) []*prometheus.Dataquery {
	t.Helper()
	if p == nil {
		t.Fatal("the dashboard has a row, whose panels no test looks at")
	}
	var asked []*prometheus.Dataquery
	for _, target := range p.Targets {
		query, ok := target.(*prometheus.Dataquery)
		if !ok {
			t.Fatalf("panel %q has a query of type %T", *p.Title, target)
		}
		asked = append(asked, query)
	}
	return asked
}

// expressions returns what the panels ask Prometheus, with their titles.
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

// variables are what Grafana puts in, here all rules and a range that fits scrapes of a second.
var variables = strings.NewReplacer("$rule", ".+", "$__rate_interval", "10s")

func TestDashboard(t *testing.T) {
	d := shippedDashboard(t)
	var names []string
	for _, v := range d.Templating.List {
		names = append(names, v.Name)
	}
	if strings.Join(names, " ") != "datasource rule" {
		t.Errorf("the variables %q, want datasource and rule", names)
	}
	query := d.Templating.List[1].Query.Map["query"]
	m := regexp.MustCompile(`^label_values\(([a-z_]+), streamlatch_rule\)$`).FindStringSubmatch(query.(string))
	if m == nil {
		t.Fatalf("the rules come from %v", query)
	}
	parse(t, m[1])

	asked := expressions(t)
	if len(asked) < 8 || len(asked) != len(d.Panels) {
		t.Errorf("%d panels with other titles, of %d, ask for something", len(asked), len(d.Panels))
	}
	for title, exprs := range asked {
		for _, expr := range exprs {
			expr = variables.Replace(expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: %s has a variable that is not known here", title, expr)
			}
			parse(t, expr)
		}
	}
	ids := make(map[uint32]bool)
	for _, p := range d.Panels {
		if p.Panel.Id == nil || ids[*p.Panel.Id] {
			t.Errorf("panel %q has no id of its own", *p.Panel.Title)
			continue
		}
		ids[*p.Panel.Id] = true
		if ds := p.Panel.Datasource; ds == nil || *ds.Uid != "${datasource}" {
			t.Errorf("panel %q does not ask the chosen data source", *p.Panel.Title)
		}
	}
}

// Every counter of the README's table that is one of several ways, reasons or faults is a line of its panel, once, and
// named after itself. A counter that is new belongs in a panel, or among those that have one of their own.
func TestDashboardShowsEachCounter(t *testing.T) {
	const ofRule, ofAll = `sum(rate(streamlatch_%s{streamlatch_rule=~"$rule"}[$__rate_interval]))`, `sum(rate(streamlatch_%s[$__rate_interval]))`
	want := make(map[string][]string)
	line := func(title, legend, expr, counter string) {
		want[title] = append(want[title], legend+": "+fmt.Sprintf(expr, counter))
	}
	for _, m := range metricsTable(t) {
		cause, refused := strings.CutPrefix(m.name, "refused_")
		switch {
		case m.kind != "counter" || m.name == "opened" || m.name == "no_key":
		case refused:
			line("Refusals by reason", cause, ofRule, m.name)
		case m.ofRule:
			line("How streams end", m.name, ofRule, m.name)
		default:
			line("Health of the registry", strings.Replace(m.name, "lost_wakeups", "lost wake-ups", 1), ofAll, m.name)
		}
	}
	if len(want["Refusals by reason"]) < 5 || len(want["How streams end"]) < 5 || len(want["Health of the registry"]) < 4 {
		t.Fatalf("of the README's table come %q", want)
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
			t.Errorf("%s has the lines\n%s\nwant\n%s", *p.Panel.Title, strings.Join(got, "\n"), strings.Join(lines, "\n"))
		}
	}
	for title := range want {
		t.Errorf("the dashboard has no panel %q", title)
	}
}

// What a panel says its lines are is what it asks for: labels that are left by the expression, shares of a histogram, and
// the unit of the numbers.
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
			t.Errorf("%s has no unit", title)
			continue
		}
		legends := make(map[string]bool)
		for _, query := range queries(t, p.Panel) {
			of := legend(query)
			if legends[of] {
				t.Errorf("%s has two lines %q", title, of)
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
				t.Errorf("%s: the line %q of %s has the label %q", title, of, query.Expr, left)
			}

			want := "short"
			switch m := quantile.FindStringSubmatch(query.Expr); {
			case m != nil:
				want = "ms"
				histograms++
				if share := shares[m[1]]; share == "" || !strings.HasPrefix(of, share) {
					t.Errorf("%s: the line %q of %s", title, of, query.Expr)
				}
				if !strings.Contains(query.Expr, "_ms_bucket") {
					t.Errorf("%s: %s is not in milliseconds", title, query.Expr)
				}
			case strings.Contains(query.Expr, "rate("):
				want = "cps"
			case strings.Contains(query.Expr, " / "):
				want = "percentunit"
			}
			if *unit != want {
				t.Errorf("%s: the unit of %s is %q, want %q", title, query.Expr, *unit, want)
			}
		}
	}
	if histograms < 4 {
		t.Errorf("%d lines are of a histogram, want 4 at least", histograms)
	}
}

// legend returns a line's name, which is empty where there is one line and no name to tell it by.
func legend(query *prometheus.Dataquery) string {
	if query.LegendFormat == nil {
		return ""
	}
	return *query.LegendFormat
}
