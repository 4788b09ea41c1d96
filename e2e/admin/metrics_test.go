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

// What Prometheus reads of an Envoy that has the shipped stats_tags.

// ruleLabel is the label that the shipped stats_tags make of the rule.
const ruleLabel = "streamlatch_rule"

// Between them these rules count all that clients and operators can bring about.
const countingRules = `{"max_total_streams": 3, "rules": [
	{"name": "tabs",   "match": {"path": {"prefix": "/tabs/"}},   "client": [{"query": "client"}], "instance": [{"query": "tab"}], "takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}},
	{"name": "first2", "match": {"path": {"prefix": "/first2/"}}, "client": [{"query": "client"}], "on_duplicate": "reject_new"},
	{"name": "mortal", "match": {"path": {"prefix": "/mortal/"}}, "client": [{"query": "client"}], "max_lifetime": "1s"},
	{"name": "silent", "match": {"path": {"prefix": "/silent/"}}, "client": [{"query": "client"}], "idle_timeout": "1s"}
]}`

// rare are the metrics that no client can move at will: for them it is enough that they can be read.
var rare = []string{"streamlatch_refused_contended", "streamlatch_contended", "streamlatch_malformed", "streamlatch_swept", "streamlatch_lost_wakeups"}

// The metrics that Prometheus reads are those of the README's table: these names and types, the rule as the only label
// of its metrics, and no others.
func TestPrometheusReadsTheMetricsOfTheReadme(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 2, Filter: countingRules, Internal: true})
	countEverything(t, r)

	table := readmeMetrics(t)
	rules := []string{"first2", "mortal", "silent", "tabs"}
	wait.Until(t, func() error { // Envoy adds up a histogram once in five seconds
		families := parseExposition(t, rigtest.Ask(t, r, http.MethodGet, "/stats/prometheus"))
		if got, want := slices.Sorted(maps.Keys(families)), slices.Sorted(maps.Keys(table)); !slices.Equal(got, want) {
			return fmt.Errorf("Prometheus reads the metrics %q, README.md has %q", got, want)
		}
		for name, want := range table {
			if err := want.holds(families[name], rules); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !families[name].moved() && !slices.Contains(rare, name) {
				return fmt.Errorf("%s has not been counted", name)
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

// countEverything has clients do all that is counted, and leaves one stream open.
func countEverything(t *testing.T, r *rig.Rig) {
	t.Helper()
	tab := func(client, name string) rig.Request {
		q := rigtest.Get("tabs", client)
		q.Path += "&tab=" + name
		return q
	}
	refused := func(q rig.Request, status int) {
		t.Helper()
		q.Header = map[string]string{"accept": "application/json, text/event-stream"} // no EventSource, which would get 200
		if got := rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), q); got.Status != status {
			t.Fatalf("%s: status %d, want %d", q.Path, got.Status, status)
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
	rigtest.Do(t, rigtest.Dial(t, r, rig.HTTP1, 0), rig.Request{Path: "/tabs/", Answer: rig.JSON}) // it names no client

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

// readmeMetrics returns the README's table of metrics, by their names in Prometheus.
func readmeMetrics(t *testing.T) map[string]readmeMetric {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	table := make(map[string]readmeMetric)
	row := regexp.MustCompile("(?m)^\\| `streamlatch\\.(<rule>\\.)?([a-z_]+)` \\| ([a-z]+) \\| ")
	for _, m := range row.FindAllStringSubmatch(string(readme), -1) {
		table["streamlatch_"+m[2]] = readmeMetric{kind: m[3], ofRule: m[1] != ""}
	}
	if len(table) < 20 {
		t.Fatalf("README.md's table of metrics has %d rows that can be read, want 20 at least", len(table))
	}
	return table
}

// holds returns an error unless what was read is of the row's type, and has the labels of its rules and no others.
func (m readmeMetric) holds(f *family, rules []string) error {
	if f.kind != m.kind {
		return fmt.Errorf("type %s, want %s", f.kind, m.kind)
	}
	labels := []string{}
	if m.ofRule {
		labels = append(labels, ruleLabel)
	}
	for _, s := range f.samples {
		have := slices.DeleteFunc(slices.Sorted(maps.Keys(s.labels)), func(l string) bool { return l == "le" && m.kind == "histogram" })
		if !slices.Equal(have, labels) {
			return fmt.Errorf("labels %q, want %q", have, labels)
		}
	}
	if !m.ofRule {
		return nil
	}
	// Envoy writes no histogram that has recorded nothing.
	if got := f.rules(); !slices.Equal(got, rules) && (m.kind != "histogram" || len(got) == 0) {
		return fmt.Errorf("rules %q, want %q", got, rules)
	}
	return nil
}

// A family is what Prometheus reads of one metric.
type family struct {
	kind    string
	samples []sample
}

type sample struct {
	labels map[string]string
	value  float64
}

// moved reports whether anything has been counted.
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

// envoysOwn is how Envoy's metrics of a Wasm plugin begin, which have the plugin's name in them.
const envoysOwn = "envoy_wasm_"

var (
	typeLine   = regexp.MustCompile(`^# TYPE ([a-z_]+) ([a-z]+)$`)
	sampleLine = regexp.MustCompile(`^([a-z_]+)\{([^}]*)\} (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

// parseExposition reads the text format, as far as the filter's metrics need it. A sample belongs to the type line
// before it, as the format has it, and a line of the filter's that is neither fails the test.
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
				t.Fatalf("the metric %s has two types", name)
			}
			families[name] = &family{kind: m[2]}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || families[name] == nil {
			t.Fatalf("Prometheus would read %q, which is no metric of the filter's", line)
		}
		value, err := strconv.ParseFloat(m[3], 64)
		suffix, of := strings.CutPrefix(m[1], name)
		suffixes := []string{""}
		if families[name].kind == "histogram" {
			suffixes = []string{"_bucket", "_sum", "_count"}
		}
		if err != nil || !of || !slices.Contains(suffixes, suffix) {
			t.Fatalf("Prometheus would read %q as a sample of %s", line, name)
		}
		s := sample{labels: make(map[string]string), value: value}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			s.labels[pair[1]] = pair[2]
		}
		families[name].samples = append(families[name].samples, s)
	}
	return families
}
