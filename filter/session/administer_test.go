//go:build !wasip1

package session

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

var withAdmin = configured(`"max_streams": 2`, `"admin_path": "/admin"`)

// The status counts the streams of all workers and rules, whichever worker is asked. To answer
// takes no slot.
func TestStatus(t *testing.T) {
	e := newEdge(t)
	a := e.worker(strings.Replace(configured("", ""), "events", "stocks", 1))
	b := e.worker(withAdmin)
	asked := e.worker(withAdmin)
	a.open("alice")
	b.open("bob")
	b.open("bob")
	e.now += 300
	answer := asked.admin("GET", "/admin?pretty")
	var got struct {
		Version string
		Rules   []struct {
			Name   string
			Active int
		}
		Workers []struct {
			Slot, Streams int
			Age           int `json:"heartbeat_age_ms"`
		}
		Config json.RawMessage
	}
	if err := json.Unmarshal([]byte(answer.body), &got); err != nil {
		t.Fatalf("%v in %q", err, answer.body)
	}
	if answer.status != 200 || answer.headers["content-type"] != "application/json" || answer.headers["cache-control"] != "no-store" {
		t.Errorf("status %d, headers %v", answer.status, answer.headers)
	}
	if got.Version != "v1" || string(got.Config) != asked.worker.config.String() {
		t.Errorf("version %q, config %s", got.Version, got.Config)
	}
	if len(got.Rules) != 2 || got.Rules[0].Name != "events" || got.Rules[0].Active != 2 || got.Rules[1].Name != "stocks" || got.Rules[1].Active != 1 {
		t.Errorf("rules %v, want events 2 and stocks 1", got.Rules)
	}
	if len(got.Workers) != 2 || got.Workers[1].Slot != 1 || got.Workers[1].Age != 300 {
		t.Errorf("workers %v, want slots 0 and 1, 300 ms after their heartbeats", got.Workers)
	}
	if asked.period != 0 {
		t.Error("the asked worker has taken a slot")
	}
}

// shownStatus is the part of the status that tells whether the filter works.
type shownStatus struct {
	VMID  string `json:"vm_id"`
	Hint  string
	Rules []struct {
		Name, Hint                      string
		Matched, Tracked, Active, NoKey uint64
		Missing                         []struct {
			Source   json.RawMessage
			Requests uint64
		}
	}
}

func (h *fakeHost) status() (s shownStatus) {
	h.t.Helper()
	answer := h.admin("GET", "/admin", "plugin_vm_id", "vm 1")
	if err := json.Unmarshal([]byte(strings.ReplaceAll(answer.body, "no_key", "nokey")), &s); err != nil {
		h.t.Fatalf("%v in %q", err, answer.body)
	}
	return s
}

// The status says of each worker what it has in the fleet, whichever worker is asked. A worker
// without a fleet leaves nothing.
func TestStatusOfAFleet(t *testing.T) {
	e := newEdge(t)
	a, b := e.worker(configured("", inFleet)), e.worker(configured("", ""))
	a.open("alice")
	b.open("bob")
	e.advance(1)
	var got struct {
		Workers []struct {
			Fleet []struct {
				Cluster, Fault string
				Away           bool
				Unregistered   int
			}
		}
	}
	body := e.worker(onlyAdmin).admin("GET", "/admin").body
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Workers) != 2 || len(got.Workers[0].Fleet) != 1 || got.Workers[1].Fleet != nil {
		t.Fatalf("workers %+v, want the first with one member, and the second without a fleet", got.Workers)
	}
	if m := got.Workers[0].Fleet[0]; m.Cluster != "etcd" || !m.Away || m.Unregistered != 1 || m.Fault == "" {
		t.Errorf("the member is %+v, want it away, with one stream to be registered", m)
	}
}

const onlyAdmin = `{"rules": [], "admin_path": "/admin"}`

// A rule is in the status from the start of its configuration on, and says what is wrong until a
// stream is tracked. The counts are those of all workers.
func TestStatusSaysWhyNothingIsTracked(t *testing.T) {
	e := newEdge(t)
	asked := e.worker(onlyAdmin)
	if s := asked.status(); s.VMID != "vm 1" || len(s.Rules) != 0 || !strings.Contains(s.Hint, "need the same vm_id") {
		t.Errorf("without any rule: %+v, want a hint at the vm_id", s)
	}
	a, b := e.worker(twoSources), e.worker(twoSources)
	alice := verified(t, "payload", map[string]any{"sub": "alice"}).with("x-device", "phone")
	for _, step := range []struct {
		does                    func()
		matched, tracked, noKey uint64
		missing                 string
		hint                    string
	}{
		{func() {}, 0, 0, 0, "", "typed_per_filter_config"},
		{func() { a.send(get); b.send(get); delete(alice, "x-device"); b.send(alice) }, 3, 0, 3,
			`{"jwt_claim":{"claim":"sub","metadata_key":"payload"}} 2 {"header":"x-device"} 1`, "no request had a client key"},
		{func() {
			alice["x-device"] = "phone"
			a.send(alice).answer(fields{":status": "200", "content-type": "text/html"})
		}, 4, 0, 3,
			`{"jwt_claim":{"claim":"sub","metadata_key":"payload"}} 2 {"header":"x-device"} 1`, "text/event-stream"},
		{func() { b.send(alice).answer(eventStream) }, 5, 1, 3,
			`{"jwt_claim":{"claim":"sub","metadata_key":"payload"}} 2 {"header":"x-device"} 1`, ""},
	} {
		step.does()
		e.advance(1) // requests with a key are counted on the tick
		s := asked.status()
		if len(s.Rules) != 1 || s.Rules[0].Name != "events" || s.Hint != "" {
			t.Fatalf("got %+v, want the rule events and no hint", s)
		}
		r := s.Rules[0]
		var missing []string
		for _, m := range r.Missing {
			missing = append(missing, fmt.Sprint(string(m.Source), " ", m.Requests))
		}
		if r.Matched != step.matched || r.Tracked != step.tracked || r.NoKey != step.noKey || strings.Join(missing, " ") != step.missing {
			t.Errorf("got %+v, missing %q, want %+v", r, missing, step)
		}
		if !strings.Contains(r.Hint, step.hint) || (r.Hint == "") != (step.hint == "") {
			t.Errorf("hint %q, want %q in it", r.Hint, step.hint)
		}
	}
}

// A newer configuration of a rule takes the place of the older. Other rules stay, up to a bound.
func TestStatusKnowsTheNewestSources(t *testing.T) {
	e := newEdge(t)
	asked := e.worker(onlyAdmin)
	rule := func(name, client string) string {
		return `{"name": "` + name + `", "client": [{"header": "` + client + `"}]}`
	}
	of := func(rules ...string) string { return `{"rules": [` + strings.Join(rules, ",") + `]}` }
	sources := func() string {
		var all []string
		for _, name := range slices.Sorted(maps.Keys(asked.worker.configured())) {
			all = append(all, name+strings.Join(asked.worker.configured()[name], ""))
		}
		return strings.Join(all, " ")
	}
	e.worker(of(rule("a", "x-1"), rule("b", "x-2")))
	writes := e.data[configuredKey].cas
	e.worker(of(rule("b", "x-2")))
	if e.data[configuredKey].cas != writes {
		t.Error("what is known is written again")
	}
	e.worker(of(rule("aa", "x-4")))
	e.worker(of(rule("a", "x-3")))
	if got, want := sources(), `a{"header":"x-3"} aa{"header":"x-4"} b{"header":"x-2"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for i := range mostConfigured {
		e.worker(of(rule(fmt.Sprint("r", i), "x")))
	}
	got := asked.worker.configured()
	if len(got) != mostConfigured || got["a"] != nil || got["r0"] == nil {
		t.Errorf("%d rules are known, a is %v, want the newest %d", len(got), got["a"], mostConfigured)
	}
}

// A rule whose configuration gets more sources, or is known no more, stays in the status.
func TestStatusFollowsARule(t *testing.T) {
	e := newEdge(t)
	asked := e.worker(onlyAdmin)
	one, two := `{"header": "x-client-id"}`, `{"header": "x-client-id"}, {"header": "x-device"}`
	for _, sources := range []string{one, two} {
		w := e.worker(`{"rules": [{"name": "events", "client": [` + sources + `]}]}`)
		w.open("alice", "x-device", "phone")
		w.ask("alice") // for the newer one, the device is missing
		e.advance(1)
		asked.status()
	}
	s := asked.status()
	if len(s.Rules) != 1 || s.Rules[0].NoKey != 1 || len(s.Rules[0].Missing) != 1 || string(s.Rules[0].Missing[0].Source) != `{"header":"x-device"}` {
		t.Errorf("got %+v, want one request without a device", s)
	}
	delete(e.data, configuredKey)
	if s := asked.status(); len(s.Rules) != 1 || s.Rules[0].Matched != 4 || s.Rules[0].NoKey != 1 || len(s.Rules[0].Missing) != 0 {
		t.Errorf("got %+v, want the rule with what is known of it", s)
	}
	if s := e.worker(onlyAdmin).status(); len(s.Rules) != 1 || s.Rules[0].NoKey != 1 {
		t.Errorf("got %+v, want the rule with what is known of it", s)
	}
}

// What is stored may be anything, if another filter writes to the vm_id.
func TestMalformedRulesAreLeftOut(t *testing.T) {
	e := newEdge(t)
	asked := e.worker(onlyAdmin)
	nine := strings.Repeat("\t{}", 9)
	for _, stored := range []string{"\xff", "\n\n", "events", "events\t", "events\t{", "events\t{}x", "events\t{}\t", "events" + nine} {
		e.data[configuredKey] = datum{[]byte(stored), 1}
		if s := asked.status(); len(s.Rules) != 0 {
			t.Errorf("%q: got %+v, want no rule", stored, s)
		}
	}
	e.data[configuredKey] = datum{[]byte("\xff"), 1}
	e.worker(twoSources)
	if s := asked.status(); len(s.Rules) != 1 {
		t.Errorf("got %+v, want the rule events", s)
	}
}

// What the admin path answers, and to whom.
func TestAdminAnswers(t *testing.T) {
	for _, c := range []struct {
		name, method, path string
		headers            []string
		breaks             string // reads of this key fail
		status             uint32
		body               string
		ends               int
	}{
		{"dismiss", "DELETE", "/admin/streams/events/alice", nil, "", 200, "{\"streams\":2}\n", 2},
		{"another client", "DELETE", "/admin/streams/events/carol", nil, "", 404, "this client has no stream", 0},
		{"another rule", "DELETE", "/admin/streams/stocks/alice", nil, "", 404, `no rule \"stocks\" has had a stream`, 0},
		{"another method", "POST", "/admin/streams/events/alice", nil, "", 405, "want DELETE", 0},
		{"another path", "GET", "/admin/health", nil, "", 404, "not found", 0},
		{"a page", "DELETE", "/admin/streams/events/alice", []string{"origin", "https://example.com"}, "", 403, "answers no web page", 0},
		{"a page that hides its origin", "GET", "/admin", []string{"sec-fetch-site", "same-origin"}, "", 403, "answers no web page", 0},
		{"typed by the operator", "GET", "/admin", []string{"sec-fetch-site", "none"}, "", 200, `"version":"v1"`, 0},
		{"no table", "GET", "/admin", nil, "/table", 503, "broken", 0},
		{"no rules", "GET", "/admin", nil, "/rules", 503, "broken", 0},
		{"no rules to dismiss by", "DELETE", "/admin/streams/events/alice", nil, "/rules", 503, "broken", 0},
		{"no slots", "GET", "/admin", nil, "/w/", 503, "broken", 0},
		{"no bucket", "DELETE", "/admin/streams/events/alice", nil, "/b/", 503, "broken", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w, asked := e.worker(withAdmin), e.worker(withAdmin)
			streams := []*exchange{w.open("alice"), w.open("alice"), w.open("bob")}
			if c.breaks != "" {
				e.breaks("get", c.breaks, errBroken)
			}
			got := asked.admin(c.method, c.path, c.headers...)
			e.mend()
			if got.status != c.status || !strings.Contains(got.body, c.body) || !json.Valid([]byte(got.body)) {
				t.Errorf("answered %d %q, want %d %q", got.status, got.body, c.status, c.body)
			}
			if allow := got.headers["allow"]; (allow != "") != (c.status == 405) {
				t.Errorf("allow %q", allow)
			}
			e.run()
			ended := 0
			for _, x := range streams {
				if x.ended != "" {
					ended++
				}
			}
			if ended != c.ends {
				t.Errorf("%d streams are ended, want %d", ended, c.ends)
			}
			client := streams[0].stream.place.Client.Short()
			if logged := e.lines("info dismissed rule=events client=" + client + " streams=2"); (logged != nil) != (c.ends > 0) {
				t.Errorf("the log says %q", e.log)
			}
			if warned := e.lines("warn failed") != nil; warned != (c.breaks != "") {
				t.Errorf("the log says %q", e.log)
			}
		})
	}
}

// Without an admin path, no path is one.
func TestNoAdminPath(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	if x := w.send(fields{":method": "GET", ":path": "/admin"}); x.reply != nil || x.action != Continue {
		t.Errorf("answered %v, action %d", x.reply, x.action)
	}
}
