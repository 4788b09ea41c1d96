//go:build !wasip1

package session

import (
	"encoding/json"
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
