// Package mistakes sets Envoy up wrongly, in ways that Envoy accepts without a word: streams pass,
// and nobody is limited, or streams end that should not. Each mistake must have a sign that an
// operator sees: a line in the log, a line in the status, or a metric with an alert.
package mistakes

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// One test waits for 15 s and needs no processor then, so one more may run beside it.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

const rules = `{"rules": [
	{"name": "one", "match": {"path": {"prefix": "/one/"}}, "client": [{"query": "client"}]},
	{"name": "two", "match": {"path": {"prefix": "/two/"}}, "client": [{"query": "client"}]},
	{"name": "idle", "match": {"path": {"prefix": "/idle/"}}, "client": [{"query": "client"}]},
	{"name": "late", "match": {"path": {"prefix": "/late/"}}, "client": [{"query": "client"}]}
]}`

// start starts an Envoy with a mistake, and with the listener for operators.
func start(t *testing.T, filter string, mistakes ...rig.Edit) *rig.Rig {
	t.Helper()
	return rigtest.Start(t, rig.Options{Concurrency: 1, Filter: filter, Internal: true, Edits: mistakes})
}

// The mistakes.
var (
	withoutFilterOnRoute = rig.Remove("                typed_per_filter_config:\n", "              - name: other\n")
	withoutRouteTimeout  = rig.Remove("                  timeout: 0s ", "                  idle_timeout: 0s ")
	withoutDelayedClose  = rig.Replace("          delayed_close_timeout: 0s\n", "")
)

// onEdge makes an edit in the part of the file before the listener for operators.
func onEdge(edit rig.Edit) rig.Edit {
	return func(config string) (string, error) {
		const operators = "  - name: " + rig.Internal + "\n"
		edge, rest, _ := strings.Cut(config, operators)
		edited, err := edit(edge)
		return edited + operators + rest, err
	}
}

// withoutStatsConfig removes stats_config, the last part of the file.
func withoutStatsConfig(config string) (string, error) {
	before, _, found := strings.Cut(config, "\nstats_config:\n")
	if !found {
		return "", errors.New("the configuration has no stats_config")
	}
	return before + "\n", nil
}

// otherVMID gives the listener for operators a vm_id of its own.
func otherVMID(config string) (string, error) {
	const shared = "                vm_config: *streamlatch\n"
	file := regexp.MustCompile(`filename: (.*filter\.wasm.*)\n`).FindStringSubmatch(config)
	if file == nil {
		return "", errors.New("the configuration names no module")
	}
	return rig.Replace(shared, `                vm_config:
                  vm_id: another
                  runtime: envoy.wasm.runtime.v8
                  code: {local: {filename: `+file[1]+`}}
`)(config)
}

// status is what the admin path tells about mistakes.
type status struct {
	VMID  string `json:"vm_id"`
	Rules []struct {
		Name    string `json:"name"`
		Matched int    `json:"matched"`
		Tracked int    `json:"tracked"`
		NoKey   int    `json:"no_key"`
		Missing []struct {
			Source   json.RawMessage `json:"source"`
			Requests int             `json:"requests"`
		} `json:"missing"`
		Hint string `json:"hint"`
	} `json:"rules"`
	Workers []any  `json:"workers"`
	Hint    string `json:"hint"`
}

func statusOf(t *testing.T, r *rig.Rig) status {
	t.Helper()
	got := rigtest.Do(t, rigtest.Operator(t, r, rig.HTTP1), rig.Request{Path: "/streamlatch"})
	var s status
	if err := json.Unmarshal([]byte(got.Body), &s); err != nil || got.Status != http.StatusOK {
		t.Fatalf("GET /streamlatch: %d, %v in %s", got.Status, err, got.Body)
	}
	return s
}

// wantLine waits for a warning that begins so, and fails the test if there are several.
func wantLine(t *testing.T, r *rig.Rig, begin string) {
	t.Helper()
	wait.Until(t, func() error {
		found := warnings(r, begin)
		if len(found) == 1 {
			return nil
		}
		return fmt.Errorf("log: got %d warnings that begin with %s, want one; all warnings:\n%s", len(found), begin, strings.Join(warnings(r, ""), "\n"))
	})
}

// warnings returns the filter's messages at this level that begin so.
func warnings(r *rig.Rig, begin string) (found []string) {
	for _, line := range r.Log.Containing("wasm log ") {
		entry, ok := proxy.ParseLogEntry(line)
		_, message, _ := strings.Cut(entry.Message, "streamlatch: ")
		if ok && entry.Level == "warning" && strings.HasPrefix(message, begin) {
			found = append(found, message)
		}
	}
	return found
}

// Nobody is tracked if the filter stands before jwt_authn, or if jwt_authn leaves no payload.
func TestClaimsAreMissing(t *testing.T) {
	t.Parallel()
	const claim = `{"jwt_claim":{"claim":"sub","metadata_key":"payload"}}`
	const user = `{"rules": [{"name": "user", "client": [` + claim + `]}]}`
	issued := rigtest.NewTokens(t)
	filter := issued.JWTAuthnFilter("")
	const payload = "                  payload_in_metadata: payload\n"
	if !strings.Contains(filter, payload) {
		t.Fatalf("jwt_authn: want %q in %s", payload, filter)
	}
	for _, c := range []struct {
		mistake string
		edit    rig.Edit
		hint    string
	}{
		{"the filter stands before jwt_authn", rigtest.After(filter), "jwt_authn has left no payload: it must stand before this filter and have payload_in_metadata: payload"},
		{"payload_in_metadata is forgotten", rigtest.Before(strings.Replace(filter, payload, "", 1)), "jwt_authn has left no payload: it must stand before this filter and have payload_in_metadata: payload"},
	} {
		t.Run(c.mistake, func(t *testing.T) {
			t.Parallel()
			r := start(t, user, onEdge(c.edit))
			client := rigtest.NewClient()
			q := rigtest.Bearer("any", issued.Token(t, `"sub": "`+client+`"`))
			first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), q)
			second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), q)
			rigtest.WantFlow(t, r, first)
			rigtest.WantFlow(t, r, second)
			wantLine(t, r, fmt.Sprintf("no_key rule=user missing=client[0] source=%s hint=%q", claim, c.hint))
			s := statusOf(t, r)
			if len(s.Rules) != 1 || s.Hint != "" {
				t.Fatalf("got the status %+v, want the rule user and no hint beside it", s)
			}
			got := s.Rules[0]
			if got.Name != "user" || got.Matched != 2 || got.Tracked != 0 || got.NoKey != 2 || !strings.Contains(got.Hint, "no request had a client key") ||
				len(got.Missing) != 1 || string(got.Missing[0].Source) != claim || got.Missing[0].Requests != 2 {
				t.Errorf("got the status %+v, want 2 requests that matched and lacked %s", got, claim)
			}
			rigtest.WantNoLeaks(t, r)
		})
	}
}

// The filter never runs if the route does not name it. The status has a rule that matches nothing.
func TestFilterIsNotOnTheRoute(t *testing.T) {
	t.Parallel()
	r := start(t, rules, withoutFilterOnRoute)
	client := rigtest.NewClient()
	for range 2 {
		rigtest.WantFlow(t, r, rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("one", client)))
	}
	s := statusOf(t, r)
	if len(s.Rules) != 4 || len(s.Workers) != 0 {
		t.Fatalf("got the status %+v, want four rules and no worker", s)
	}
	for _, rule := range s.Rules {
		if rule.Matched != 0 || !strings.Contains(rule.Hint, "typed_per_filter_config") {
			t.Errorf("got the status %+v, want a rule that has matched nothing, and a hint", rule)
		}
	}
}

// An Envoy to which nothing was taken over but the filter and its route, and the listener for
// operators with a vm_id of its own. Streams are cut after 15 s: other signs are looked at
// meanwhile.
func TestSettingsAreNotTakenOver(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Concurrency: 3, Filter: rules, Internal: true,
		Edits: []rig.Edit{onEdge(withoutRouteTimeout), onEdge(impatientRoute), onEdge(withoutDelayedClose), withoutStatsConfig, otherVMID}})
	t.Run("clients learn late", func(t *testing.T) { clientsLearnLate(t, r) })
	streams := openThoseThatAreCut(t, r)
	t.Run("the rule is in the names of metrics", func(t *testing.T) { ruleIsInNames(t, r) })
	t.Run("operators have another vm_id", func(t *testing.T) { operatorsHaveAnotherVMID(t, r) })
	t.Run("streams are cut", func(t *testing.T) { streamsAreCut(t, r, streams) })
}

// The listener for operators sees no stream if its vm_id is another. It says so.
func operatorsHaveAnotherVMID(t *testing.T, r *rig.Rig) {
	client := rigtest.NewClient()
	s := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("late", client))
	rigtest.WantDelete(t, rigtest.Operator(t, r, rig.HTTP1), "/streamlatch/streams/late/"+client, 404, "")
	rigtest.WantFlow(t, r, s)
	s.Close()
	got := statusOf(t, r)
	if got.VMID != "another" || len(got.Rules) != 0 || len(got.Workers) != 0 || !strings.Contains(got.Hint, "the same vm_id") {
		t.Errorf("got the status %+v, want vm_id another, no rule, no worker, and a hint", got)
	}
}

// A client over HTTP/1.1 learns of a takeover when its connection is closed. Envoy counts those
// that it closes late, and an alert looks at that.
func clientsLearnLate(t *testing.T, r *rig.Rig) {
	late := func() uint64 { return rigtest.StatsUnder(t, r, "http.edge.")["downstream_cx_delayed_close_timeout"] }
	client := rigtest.NewClient()
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("late", client))
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), rigtest.Get("late", client))
	rigtest.WantEnd(t, first, rig.Reset)
	if n := late(); n != 0 {
		t.Errorf("downstream_cx_delayed_close_timeout: got %d after a takeover over HTTP/2, want 0", n)
	}
	third := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Get("late", client))
	rigtest.WantEnd(t, second, rig.Reset)
	if n := late(); n != 1 {
		t.Errorf("downstream_cx_delayed_close_timeout: got %d after a takeover over HTTP/1.1, want 1", n)
	}
	third.Close()
}

// Without stats_config the rule is a part of the names of metrics, and an alert looks at that.
func ruleIsInNames(t *testing.T, r *rig.Rig) {
	rigtest.WantSamples(t, r, `streamlatch_late_opened{} 3`, `streamlatch_late_superseded{} 2`)
	text := rigtest.Ask(t, r, http.MethodGet, "/stats/prometheus")
	if strings.Contains(text, "streamlatch_opened") || strings.Contains(text, "streamlatch_rule") {
		t.Error("metrics for Prometheus: got the rule as a label, want it in the names")
	}
	if !strings.Contains(text, `envoy_http_downstream_cx_delayed_close_timeout{envoy_http_conn_manager_prefix="edge"} `) {
		t.Error("metrics for Prometheus: want the one that the alert StreamlatchClientsLearnLate reads")
	}
}

// openThoseThatAreCut opens streams, by their rule, which Envoy will cut.
func openThoseThatAreCut(t *testing.T, r *rig.Rig) map[string]*rig.Stream {
	streams := map[string]*rig.Stream{}
	// Each has a worker of its own: one asks once a second how a stream has ended.
	for worker, c := range []struct {
		rule string
		p    rig.Protocol
	}{{"one", rig.HTTP1}, {"two", rig.HTTP2}, {"idle", rig.HTTP1}} {
		streams[c.rule] = rigtest.Open(t, rigtest.Dial(t, r, c.p, worker), rigtest.Get(c.rule, rigtest.NewClient()))
	}
	return streams
}

// Envoy cuts streams after 15 s, and silent ones after 5 minutes, if the route says nothing else.
// The filter tells which setting it was, and how old the stream was.
func streamsAreCut(t *testing.T, r *rig.Rig, streams map[string]*rig.Stream) {
	for rule, s := range streams {
		rigtest.WantEnd(t, s, rig.Reset)
		by, hint := "response_timeout", "the route needs timeout: 0s"
		if rule == "idle" {
			by, hint = "stream_idle_timeout", "the route needs idle_timeout: 0s"
		}
		want := regexp.MustCompile(fmt.Sprintf(`^cut rule=%s client=[0-9a-f]{8} duration_ms=\d+ by=%s hint=%q$`, rule, by, hint))
		wait.Until(t, func() error {
			if found := warnings(r, "cut rule="+rule); len(found) != 1 || !want.MatchString(found[0]) {
				return fmt.Errorf("log: got %q, want one line %s", found, want)
			}
			return nil
		})
	}
	rigtest.WantNoLeaks(t, r)
	flags := map[string]int{}
	for _, line := range r.Access.Lines() {
		var written struct{ Flags string }
		if err := json.Unmarshal([]byte(line), &written); err != nil {
			t.Fatalf("access log: %s: %v", line, err)
		}
		flags[written.Flags]++
	}
	if flags["UT"] != 2 || flags["SI"] != 1 {
		t.Errorf("access log: got the response flags %v, want UT twice and SI once", flags)
	}
}

// impatientRoute is a route that ends silent streams after a second, in place of 5 minutes.
var impatientRoute = rig.Replace("              - name: event-streams\n", `              - match: {prefix: /idle/}
                route: {cluster: backend, timeout: 0s, idle_timeout: 1s}
                typed_per_filter_config:
                  envoy.filters.http.wasm:
                    "@type": type.googleapis.com/envoy.config.route.v3.FilterConfig
                    config: {}
              - name: event-streams
`)

// Without a mistake there is no sign of one.
func TestRightSetUpIsQuiet(t *testing.T) {
	t.Parallel()
	issued := rigtest.NewTokens(t)
	r := start(t, `{"rules": [{"name": "user", "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}, {"query": "device"}]}]}`, onEdge(issued.JWTAuthn()))
	q := rigtest.Bearer("any", issued.Token(t, `"sub": "`+rigtest.NewClient()+`"`))
	q.Path += "?device=phone"
	first := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), q)
	second := rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP1, 0), q)
	rigtest.WantEnd(t, first, rig.Reset)
	r.Backend.End(second.ID)
	rigtest.WantEnd(t, second, rig.Finished)
	rigtest.WantCounts(t, r, "user", rigtest.Counts{Opened: 2, Superseded: 1, Released: 1})
	var s status
	wait.Until(t, func() error { // requests are counted on the tick
		if s = statusOf(t, r); len(s.Rules) != 1 || s.Rules[0].Matched == 0 {
			return fmt.Errorf("got the status %+v, want a rule that has matched", s)
		}
		return nil
	})
	if s.Hint != "" || len(s.Workers) != 1 || s.VMID != "streamlatch" {
		t.Fatalf("got the status %+v, want one worker and no hint", s)
	}
	if got := s.Rules[0]; got.Matched != 2 || got.Tracked != 2 || got.NoKey != 0 || len(got.Missing) != 0 || got.Hint != "" {
		t.Errorf("got the status %+v, want no sign of a mistake", got)
	}
	if n := rigtest.StatsUnder(t, r, "http.edge.")["downstream_cx_delayed_close_timeout"]; n != 0 {
		t.Errorf("downstream_cx_delayed_close_timeout: got %d, want 0", n)
	}
	rigtest.WantSamples(t, r, `streamlatch_opened{streamlatch_rule="user"} 2`, `streamlatch_no_key_second{streamlatch_rule="user"} 0`)

	// A device that says nothing is counted by what it lacks.
	q.Path = "/any/"
	rigtest.Open(t, rigtest.Dial(t, r, rig.HTTP2, 0), q)
	rigtest.WantSamples(t, r, `streamlatch_no_key_second{streamlatch_rule="user"} 1`)
	if found := warnings(r, ""); len(found) != 1 || found[0] != `no_key rule=user missing=client[1] source={"query":"device"}` {
		t.Errorf("log: got the warnings %q, want only that device is missing", found)
	}
}
