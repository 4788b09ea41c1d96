package admin

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// What Prometheus reads from an Envoy with the shipped stats_tags.

// ruleLabel is the label that the shipped stats_tags make from the name of the rule.
const ruleLabel = "streamlatch_rule"

// With these rules clients and operators can cause everything that is counted, except what is in
// rare.
const countingRules = `{"max_total_streams": 3, "rules": [
	{"name": "tabs",   "match": {"path": {"prefix": "/tabs/"}},   "client": [{"query": "client"}], "instance": [{"query": "tab"}], "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}},
	{"name": "first2", "match": {"path": {"prefix": "/first2/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new"},
	{"name": "mortal", "match": {"path": {"prefix": "/mortal/"}}, "client": [{"query": "client"}], "max_lifetime": "1s"},
	{"name": "silent", "match": {"path": {"prefix": "/silent/"}}, "client": [{"query": "client"}], "idle_timeout": "1s"},
	{"name": "long",   "match": {"path": {"regex": "/long/a*"}},  "client": [{"query": "client"}]}
]}`

// rare are the metrics that no client can change at will. The test checks only that Prometheus can
// read them.
var rare = []string{"streamlatch_refused_contended", "streamlatch_refused_unavailable", "streamlatch_contended", "streamlatch_malformed", "streamlatch_swept", "streamlatch_lost_wakeups"}

// Prometheus reads exactly the metrics of the README's table, with these names and types. The rule
// is the only label of a rule's metrics.
func TestPrometheusReadsTheMetricsOfTheReadme(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: countingRules, Internal: true})
	countEverything(t, r)

	table := readmeMetrics(t)
	rules := []string{"first2", "long", "mortal", "silent", "tabs"}
	wait.Until(t, func() error { // Envoy adds up a histogram once in five seconds
		families := parseExposition(t, rigtest.Ask(t, r, http.MethodGet, "/stats/prometheus"))
		if got, want := slices.Sorted(maps.Keys(families)), slices.Sorted(maps.Keys(table)); !slices.Equal(got, want) {
			return fmt.Errorf("got the metrics %q, want those of README.md: %q", got, want)
		}
		for name, want := range table {
			if err := want.holds(families[name], rules); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !families[name].moved() && !slices.Contains(rare, name) {
				return fmt.Errorf("%s: got 0, want more", name)
			}
		}
		return nil
	})
	rigtest.WantSamples(t, r,
		`streamlatch_max_total_streams{} 3`,
		`streamlatch_opened{streamlatch_rule="tabs"} 5`,
		`streamlatch_refused_overloaded{streamlatch_rule="tabs"} 1`,
		`streamlatch_refused_duplicate{streamlatch_rule="first2"} 1`,
	)
}

// countEverything makes clients do everything that is counted. It leaves one stream open.
func countEverything(t *testing.T, r *rig.Rig) {
	t.Helper()
	tab := func(client, name string) rig.Request {
		q := rigtest.Get("tabs", client)
		q.Path += "&tab=" + name
		return q
	}
	refused := func(q rig.Request, status int) {
		t.Helper()
		q.Header = map[string]string{"accept": "application/json, text/event-stream"} // not an EventSource, which would get 200
		if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), q); got.Status != status {
			t.Fatalf("%s: got status %d, want %d", q.Path, got.Status, status)
		}
	}
	client := rigtest.NewClient()
	old := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), tab(client, "1"))
	held := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 1), tab(client, "2"))
	rigtest.WantEnd(t, old, rig.Reset)
	refused(tab(client, "1"), 409)
	refused(tab(client, "3"), 429)
	rigtest.WantDelete(t, rigtest.Operator(t, r, rig.HTTP1), "/streamlatch/streams/tabs/"+client, 200, "{\"streams\":1}\n")
	rigtest.WantEnd(t, held, rig.Reset)
	rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Path: "/tabs/", Answer: rig.JSON}) // it has no client key
	refused(rig.Request{Path: "/long/" + strings.Repeat("a", 2000)}, 431)

	client = rigtest.NewClient()
	held = rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("first2", client))
	refused(rigtest.Get("first2", client), 409)
	held.Close()
	for _, rule := range []string{"mortal", "silent"} {
		rigtest.WantEnd(t, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get(rule, rigtest.NewClient())), rig.Reset)
	}
	rigtest.WantCounts(t, r, "first2", rigtest.Counts{Opened: 1, Released: 1})

	var full []*rig.Stream
	for i := range 3 {
		full = append(full, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, i%2), tab(rigtest.NewClient(), "1")))
	}
	refused(tab(rigtest.NewClient(), "1"), 503)
	for _, s := range full[1:] {
		s.Close()
	}
}

// A readmeMetric is a row of the README's table.
type readmeMetric struct {
	kind   string
	ofRule bool
}

// readmeMetrics returns the README's table of metrics, by the name of the metric in Prometheus.
func readmeMetrics(t *testing.T) map[string]readmeMetric {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "filter", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	table := make(map[string]readmeMetric)
	row := regexp.MustCompile("(?m)^\\| `streamlatch\\.(<rule>\\.)?([a-z_]+)` \\| ([a-z]+) \\| ")
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		if strings.HasPrefix(m[2], "fleet_") { // this Envoy has none
			continue
		}
		table["streamlatch_"+m[2]] = readmeMetric{kind: m[3], ofRule: m[1] != ""}
	}
	if len(table) < 20 {
		t.Fatalf("README.md: got %d rows of the table of metrics, want at least 20", len(table))
	}
	return table
}

// holds returns an error unless f has the type of the row, and the labels of these rules and no
// others.
func (m readmeMetric) holds(f *family, rules []string) error {
	if f.kind != m.kind {
		return fmt.Errorf("got type %s, want %s", f.kind, m.kind)
	}
	labels := []string{}
	if m.ofRule {
		labels = append(labels, ruleLabel)
	}
	for _, s := range f.samples {
		have := slices.DeleteFunc(slices.Sorted(maps.Keys(s.labels)), func(l string) bool { return l == "le" && m.kind == "histogram" })
		if !slices.Equal(have, labels) {
			return fmt.Errorf("got the labels %q, want %q", have, labels)
		}
	}
	if !m.ofRule {
		return nil
	}
	// Envoy does not show a histogram without samples.
	if got := f.rules(); !slices.Equal(got, rules) && (m.kind != "histogram" || len(got) == 0) {
		return fmt.Errorf("got the rules %q, want %q", got, rules)
	}
	return nil
}

// A family is all samples of one metric.
type family struct {
	kind    string
	samples []sample
}

type sample struct {
	labels map[string]string
	value  float64
}

// moved reports whether any sample is above 0.
func (f *family) moved() bool {
	return slices.ContainsFunc(f.samples, func(s sample) bool { return s.value > 0 })
}

func (f *family) rules() []string {
	found := make(map[string]bool)
	for _, s := range f.samples {
		found[s.labels[ruleLabel]] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// envoysOwn is the beginning of those metrics of Envoy itself that contain the name of a plugin.
const envoysOwn = "envoy_wasm_"

var (
	typeLine   = regexp.MustCompile(`^# TYPE ([a-z_]+) ([a-z]+)$`)
	sampleLine = regexp.MustCompile(`^([a-z_]+)\{([^}]*)\} (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

// parseExposition reads Prometheus's text format, as far as the filter's metrics need it. A sample
// belongs to the type line before it. Any other line that contains "streamlatch" fails the test.
func parseExposition(t *testing.T, text string) map[string]*family {
	t.Helper()
	families := make(map[string]*family)
	var name string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !strings.Contains(line, "streamlatch") || strings.HasPrefix(strings.TrimPrefix(line, "# TYPE "), envoysOwn) {
			continue
		}
		if m := typeLine.FindStringSubmatch(line); m != nil {
			if name = m[1]; families[name] != nil {
				t.Fatalf("metric %s: got two type lines, want one", name)
			}
			families[name] = &family{kind: m[2]}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || families[name] == nil {
			t.Fatalf("got the line %q, want only metrics of the filter", line)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		suffix, of := strings.CutPrefix(m[1], name)
		suffixes := []string{""}
		if families[name].kind == "histogram" {
			suffixes = []string{"_bucket", "_sum", "_count"}
		}
		if err != nil || !of || !slices.Contains(suffixes, suffix) {
			t.Fatalf("got the line %q after the type line of %s, want a sample of it", line, name)
		}
		s := sample{labels: make(map[string]string), value: value}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			s.labels[pair[1]] = pair[2]
		}
		families[name].samples = append(families[name].samples, s)
	}
	return families
}
