package operators

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

type (
	object = map[string]any
	list   = []any
)

// A reader takes over what the comment at the top of envoy.yaml lists, and nothing else, into an
// envoy.yaml that knows nothing of Streamlatch. Envoy accepts the result, a takeover works in it
// without delay, and it has all that the dashboard reads and what README.md says the filter needs.
func TestWhatToTakeOverIsComplete(t *testing.T) {
	t.Parallel()
	var config object
	r := rigtest.Start(t, rig.Options{Concurrency: 1, Base: func(s envoy.Settings) (string, error) {
		shipped, err := envoy.Render(s)
		if err != nil {
			return "", err
		}
		config = taken(t, shipped, read(t, "e2e/shipped/testdata/typical.yaml"), s.Backend)
		text, err := yaml.Marshal(config)
		validate(t, string(text))
		return string(text), err
	}})
	wantNeeds(t, config)

	client := rigtest.NewClient()
	q := rig.Request{Client: client, Path: "/events?client=" + client}
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), q)
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), q)
	rigtest.WantEnd(t, first, rig.Reset)
	rigtest.WantFlow(t, r, second)
	if n := rigtest.StatsUnder(t, r, "http.ingress_http.")["downstream_cx_delayed_close_timeout"]; n != 0 {
		t.Errorf("downstream_cx_delayed_close_timeout: got %d, want 0", n)
	}
	second.Close()
	rigtest.WantCounts(t, r, "events", rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
	const tracked = `{"name":"events","active":0,"matched":2,"tracked":2,"no_key":0,"missing":[]}`
	operator := rigtest.Operator(t, r, rig.HTTP1)
	wait.Until(t, func() error { // requests are counted on the tick
		if got := rigtest.Do(t, operator, rig.Request{Path: "/streamlatch"}).Body; !strings.Contains(got, tracked) {
			return fmt.Errorf("GET /streamlatch: got %s, want %s in it", got, tracked)
		}
		return nil
	})
	wait.Until(t, func() error { // Envoy adds up a histogram once in five seconds
		text := rigtest.Ask(t, r, http.MethodGet, "/stats/prometheus")
		for title, exprs := range expressions(t) {
			if title == "Fleet" { // this Envoy is in none
				continue
			}
			for _, name := range names(t, exprs) {
				if !regexp.MustCompile(`(?m)^` + name + `\{(streamlatch_rule="events"|)[,}]`).MatchString(text) {
					return fmt.Errorf("panel %q reads %s: want it in what Prometheus reads", title, name)
				}
			}
		}
		return nil
	})
	rigtest.WantReasons(t, r, map[string]int{"superseded": 1})
}

// taken returns a typical configuration with the parts of the shipped one that its list names.
func taken(t *testing.T, shipped, typical string, backend int) object {
	t.Helper()
	var from, to object
	for text, config := range map[string]*object{shipped: &from, typical: &to} {
		if err := yaml.Unmarshal([]byte(text), config); err != nil {
			t.Fatal(err)
		}
	}
	source, target := placesOf(from), placesOf(to)
	row := regexp.MustCompile(`(?m)^#   ([a-z_]+) {2,}(\S.*)$`)
	rows := row.FindAllStringSubmatch(shipped, -1)
	if len(rows) < 5 {
		t.Fatalf("envoy.yaml lists %d places of what to take over, want at least 5", len(rows))
	}
	for _, m := range rows {
		place, what := m[1], regexp.MustCompile(` \(.*`).ReplaceAllString(m[2], "")
		for _, name := range strings.Split(what, ", ") {
			if err := take(source[place], target[place], name); err != nil {
				t.Fatalf("envoy.yaml lists %q in %s: %v", name, place, err)
			}
		}
	}
	// What is different here from the reader's machine.
	route := target["routes"].entries()[0].(object)
	route["route"].(object)["cluster"] = "app"
	target["listeners"].entries()[0].(object)["name"] = rig.Edge
	address := func(port int) object {
		return object{"socket_address": object{"address": "127.0.0.1", "port_value": port}}
	}
	for _, listener := range target["listeners"].entries() {
		listener.(object)["address"] = address(0)
	}
	to["admin"].(object)["address"] = address(0)
	cluster := target["cluster"].in
	cluster["type"] = "STATIC"
	endpoints := cluster["load_assignment"].(object)["endpoints"].(list)[0].(object)["lb_endpoints"].(list)
	endpoints[0].(object)["endpoint"].(object)["address"] = address(backend)
	return to
}

// A place is a part of a configuration: an object, or the list that an object has under a key.
type place struct {
	in  object
	key string // "": the object itself
}

func (p place) entries() list { return p.in[p.key].(list) }

// placesOf returns the places that the list in envoy.yaml names. The listener for clients and the
// cluster are the first of their kind.
func placesOf(config object) map[string]place {
	static := config["static_resources"].(object)
	chain := static["listeners"].(list)[0].(object)["filter_chains"].(list)[0].(object)
	manager := chain["filters"].(list)[0].(object)["typed_config"].(object)
	hosts := manager["route_config"].(object)["virtual_hosts"].(list)
	return map[string]place{
		"bootstrap":               {in: config},
		"listeners":               {static, "listeners"},
		"cluster":                 {in: static["clusters"].(list)[0].(object)},
		"http_connection_manager": {in: manager},
		"http_filters":            {manager, "http_filters"},
		"access_log":              {manager, "access_log"},
		"routes":                  {hosts[0].(object), "routes"},
	}
}

// take copies a member of an object, or an entry of a list. In a list it takes the place of the
// entry with its name, or comes first; a listener comes last.
func take(from, to place, name string) error {
	if from.in == nil {
		return errors.New("no such place")
	}
	if from.key == "" {
		value, found := from.in[name]
		if to.in[name] = value; !found {
			return errors.New("no such member")
		}
		return nil
	}
	named := func(entry any) bool { return entry.(object)["name"] == name }
	i := slices.IndexFunc(from.entries(), named)
	if i < 0 {
		return errors.New("no such entry")
	}
	rest := slices.DeleteFunc(slices.Clone(to.entries()), named)
	if from.key == "listeners" {
		to.in[to.key] = append(rest, from.entries()[i])
	} else {
		to.in[to.key] = append(list{from.entries()[i]}, rest...)
	}
	return nil
}

// wantNeeds checks that a configuration has the settings of README.md's table.
func wantNeeds(t *testing.T, config object) {
	t.Helper()
	_, table, _ := strings.Cut(read(t, "envoy/README.md"), "| setting | without it |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	settings := map[string]bool{}
	flatten(config, settings)
	needs := 0
	for row := range strings.Lines(table) {
		setting := strings.Split(row, " | ")[0]
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(setting, -1) {
			if needs++; !settings[m[1]] {
				t.Errorf("README.md says that the filter needs %s: want it among what envoy.yaml says to take over", m[1])
			}
		}
	}
	if needs < 10 {
		t.Errorf("README.md: got %d settings that the filter needs, want at least 10", needs)
	}
}

// flatten adds each key to settings, and each "key: value".
func flatten(value any, settings map[string]bool) {
	switch v := value.(type) {
	case object:
		for key, member := range v {
			settings[key] = true
			settings[fmt.Sprintf("%s: %v", key, member)] = true
			flatten(member, settings)
		}
	case list:
		for _, entry := range v {
			flatten(entry, settings)
		}
	}
}

// names returns the metrics that PromQL expressions read.
func names(t *testing.T, exprs []string) (found []string) {
	t.Helper()
	for _, expr := range exprs {
		parser.Inspect(parse(t, variables.Replace(expr)), func(node parser.Node, _ []parser.Node) error {
			if s, ok := node.(*parser.VectorSelector); ok {
				found = append(found, s.Name)
			}
			return nil
		})
	}
	return found
}

// validate lets Envoy check a configuration, as the reader would. An Envoy in a container has no
// such command here; it refuses a faulty file when it starts.
func validate(t *testing.T, config string) {
	t.Helper()
	launcher, err := rig.Launcher()
	if err != nil {
		t.Fatal(err)
	}
	binary, ok := launcher.(proxy.Binary)
	if !ok {
		return
	}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), string(binary), "--mode", "validate", "-c", file).CombinedOutput()
	if err != nil {
		t.Errorf("envoy --mode validate: %v\n%s", err, out)
	}
}
