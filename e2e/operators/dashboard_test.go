package operators

import (
	"encoding/json"
	"errors"
	"regexp"
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

// expressions returns what the panels ask Prometheus, with their titles.
func expressions(t *testing.T) map[string][]string {
	t.Helper()
	asked := make(map[string][]string)
	for _, p := range shippedDashboard(t).Panels {
		if p.Panel == nil {
			t.Fatal("the dashboard has a row, whose panels no test looks at")
		}
		title := *p.Panel.Title
		for _, target := range p.Panel.Targets {
			query, ok := target.(*prometheus.Dataquery)
			if !ok {
				t.Fatalf("panel %q has a query of type %T", title, target)
			}
			asked[title] = append(asked[title], query.Expr)
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
