package admin_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/admin"
)

const path = "/streamlatch"

func TestCovers(t *testing.T) {
	for request, want := range map[string]bool{
		path: true, path + "/": true, path + "?x=1": true, path + "#x": true, path + "/streams/events/a": true,
		"": false, "/": false, path + "x": false, "/x" + path: false, "/STREAMLATCH": false, "/x?" + path: false,
		path + "%2Fstreams": false, "//streamlatch": false, "/x/.." + path: false,
	} {
		if got := admin.Covers(path, request); got != want {
			t.Errorf("Covers of %q is %v, want %v", request, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		method, path string
		want         admin.Request
	}{
		{"GET", path, admin.Request{}},
		{"GET", path + "/", admin.Request{}},
		{"GET", path + "?pretty", admin.Request{}},
		{"DELETE", path + "/streams/events/alice", admin.Request{Dismiss: true, Rule: "events", Parts: []string{"alice"}}},
		{"DELETE", path + "/streams/events/a%2Fb/c+d%20e?x#y", admin.Request{Dismiss: true, Rule: "events", Parts: []string{"a/b", "c+d e"}}},
		{"DELETE", path + "/streams/events/%00%ff%3F", admin.Request{Dismiss: true, Rule: "events", Parts: []string{"\x00\xff?"}}},
		{"DELETE", path + "/streams//alice", admin.Request{Dismiss: true, Rule: "", Parts: []string{"alice"}}},
	} {
		got, fault := admin.Parse(path, test.method, test.path)
		if fault != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s %s: %+v, %+v, want %+v", test.method, test.path, got, fault, test.want)
		}
	}
}

func TestFaults(t *testing.T) {
	methodNotAllowed := func(method, allow, purpose string) admin.Fault {
		return admin.Fault{Status: 405, Allow: allow, Message: fmt.Sprintf("method is %q, want %s to %s", method, allow, purpose)}
	}
	badPart := func(n int, part string) admin.Fault {
		return admin.Fault{Status: 400, Message: fmt.Sprintf("key part %d is %q, want a percent-encoded value that is not empty", n, part)}
	}
	notFound := admin.Fault{Status: 404, Message: "not found, want the admin path itself or streams/<rule>/<key part> below it"}
	for _, test := range []struct {
		method, path string
		want         admin.Fault
	}{
		{"POST", path, methodNotAllowed("POST", "GET", "read the status")},
		{"HEAD", path, methodNotAllowed("HEAD", "GET", "read the status")},
		{"DELETE", path, methodNotAllowed("DELETE", "GET", "read the status")},
		{"GET", path + "/streams/events/alice", methodNotAllowed("GET", "DELETE", "end streams")},
		{"", path + "/streams/events/alice", methodNotAllowed("", "DELETE", "end streams")},
		{"GET", path + "/x", notFound},
		{"DELETE", path + "/streams", notFound},
		{"DELETE", path + "/streams/", badPart(1, "")},
		{"DELETE", path + "/streams/events", badPart(1, "")},
		{"DELETE", path + "/streams/events/", badPart(1, "")},
		{"DELETE", path + "/streams/events/%", badPart(1, "%")},
		{"DELETE", path + "/streams/events/a%2", badPart(1, "a%2")},
		{"DELETE", path + "/streams/events/%zz", badPart(1, "%zz")},
		{"DELETE", path + "/streams/events/%+1", badPart(1, "%+1")},
		{"DELETE", path + "/streams/events/%-0", badPart(1, "%-0")},
		{"DELETE", path + "/streams/events/%_1", badPart(1, "%_1")},
		{"DELETE", path + "/streams/events/%0x", badPart(1, "%0x")},
		{"DELETE", path + "/streams/events/a//b", badPart(2, "")},
	} {
		got, fault := admin.Parse(path, test.method, test.path)
		if fault == nil || *fault != test.want {
			t.Errorf("%s %s: %+v, %+v, want %+v", test.method, test.path, got, fault, test.want)
		}
	}
}

// TestPartsEscapedByNetURL: key parts that a Go program escapes with url.PathEscape are read back.
func TestPartsEscapedByNetURL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }), 1, 8).Draw(t, "parts")
		request := path + "/streams/events"
		for _, part := range want {
			request += "/" + url.PathEscape(part)
		}
		got, fault := admin.Parse(path, "DELETE", request)
		if fault != nil || !slices.Equal(got.Parts, want) {
			t.Fatalf("%s: %q, %+v, want %q", request, got.Parts, fault, want)
		}
	})
}

// FuzzParse: for any path, there is a fault that is valid JSON, or the parts are those that
// url.PathUnescape returns.
func FuzzParse(f *testing.F) {
	f.Add("DELETE", "/streams/events/a%2Fb/%C3%A9")
	f.Add("DELETE", "/streams/%2e%2e/%")
	f.Add("GET", "/../..//streams")
	f.Fuzz(func(t *testing.T, method, below string) {
		r, fault := admin.Parse(path, method, path+below)
		if fault != nil {
			var body struct{ Error string }
			if err := json.Unmarshal(fault.AppendJSON(nil), &body); err != nil || body.Error != fault.Message {
				t.Fatalf("%s: %v", fault.AppendJSON(nil), err)
			}
			return
		}
		for i, part := range strings.Split(strings.SplitN(strings.SplitN(below, "?", 2)[0], "#", 2)[0], "/") {
			if i < 3 || !r.Dismiss {
				continue
			}
			if want, err := url.PathUnescape(part); err != nil || r.Parts[i-3] != want {
				t.Fatalf("part %q: %q, want %q, %v", part, r.Parts[i-3], want, err)
			}
		}
	})
}

// The status is valid JSON, also with strings that are not UTF-8 and without rules and workers.
func TestStatus(t *testing.T) {
	s := admin.Status{
		Version: "v1 \"x\"\n\xff",
		Config:  `{"rules":[]}`,
		VMID:    "vm",
		Rules: []admin.Rule{
			{Name: "events", Active: 3, Matched: 9, Tracked: 5, NoKey: 3, Missing: []admin.Missing{{`{"cookie":"a"}`, 2}, {`{"header":"b"}`, 1}}},
			{Name: "mcp", Active: 1 << 60, Matched: 1 << 61, Tracked: 1 << 61},
		},
		Workers: []admin.Worker{{Slot: 0, Streams: 2, BeatAt: 900}, {Slot: 7, Streams: 1, BeatAt: 1100}},
		Now:     1000,
	}
	const want = `{"version":"v1 \"x\"\n` + "\uFFFD" + `","vm_id":"vm",` +
		`"rules":[{"name":"events","active":3,"matched":9,"tracked":5,"no_key":3,` +
		`"missing":[{"source":{"cookie":"a"},"requests":2},{"source":{"header":"b"},"requests":1}]},` +
		`{"name":"mcp","active":1152921504606846976,"matched":2305843009213693952,"tracked":2305843009213693952,"no_key":0,"missing":[]}],` +
		`"workers":[{"slot":0,"streams":2,"heartbeat_age_ms":100},{"slot":7,"streams":1,"heartbeat_age_ms":0}],` +
		`"totals":{"active":1152921504606846979,"workers":2},"config":{"rules":[]}}` + "\n"
	got := string(s.AppendJSON(nil))
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Errorf("not JSON: %s", got)
	}
	s = admin.Status{Config: "{}"}
	if got := string(s.AppendJSON(nil)); !json.Valid([]byte(got)) {
		t.Errorf("not JSON: %s", got)
	}
}

// What a worker has in a fleet is a part of the status, if it is JSON: other filters can write it.
func TestStatusOfAFleet(t *testing.T) {
	members := admin.AppendMembers(nil, []admin.Member{
		{Cluster: "etcd", Lease: 0xabc, Age: 1500, Registered: 3, Unregistered: 2, Returning: 1},
		{Cluster: "etcd \"2\"", Away: true, Fault: "status 14: \xff"},
	})
	const want = `[{"cluster":"etcd","lease":"0000000000000abc","lease_age_ms":1500,"away":false,"registered":3,"unregistered":2,"returning":1},` +
		`{"cluster":"etcd \"2\"","away":true,"registered":0,"unregistered":0,"returning":0,"fault":"status 14: ` + "\uFFFD" + `"}]`
	if string(members) != want {
		t.Errorf("got  %s\nwant %s", members, want)
	}
	for report, want := range map[string]string{
		want: `"fleet":` + want, "[]": `"fleet":[]`, `[{"cluster":`: "", `[]}`: "", "": "",
	} {
		s := admin.Status{Config: "{}", Workers: []admin.Worker{{Fleet: []byte(report)}}}
		got := string(s.AppendJSON(nil))
		if !json.Valid([]byte(got)) || !strings.Contains(got, want) || want == "" && strings.Contains(got, "fleet") {
			t.Errorf("with the report %s: %s", report, got)
		}
	}
}

// The status says what to look at as long as nothing is tracked.
func TestStatusHints(t *testing.T) {
	for _, c := range []struct {
		status admin.Status
		want   string // "": no hint
	}{
		{admin.Status{}, "no filter with rules has started with this vm_id"},
		{admin.Status{Workers: []admin.Worker{{}}}, "no filter with rules has started with this vm_id"},
		{admin.Status{Rules: []admin.Rule{{}}}, "no request has matched"},
		{admin.Status{Rules: []admin.Rule{{Matched: 2, NoKey: 2}}}, "no request had a client key"},
		{admin.Status{Rules: []admin.Rule{{Matched: 2, NoKey: 1}}}, "no response was an event stream"},
		{admin.Status{Rules: []admin.Rule{{Matched: 2, Tracked: 1}}}, ""},
		{admin.Status{Rules: []admin.Rule{{Matched: 2, Tracked: 1, NoKey: 1}}}, ""},
	} {
		c.status.Config = "{}"
		got := string(c.status.AppendJSON(nil))
		if strings.Count(got, `"hint":`) != min(1, len(c.want)) || !strings.Contains(got, c.want) || !json.Valid([]byte(got)) {
			t.Errorf("%+v: got %s, want the hint %q", c.status, got, c.want)
		}
	}
}
