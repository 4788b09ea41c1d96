package admin_test

import (
	"encoding/json"
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
			t.Errorf("%q: %v, want %v", request, got, want)
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
	const notEncoded = "key part 1 is empty or not percent-encoded"
	for _, test := range []struct {
		method, path string
		want         admin.Fault
	}{
		{"POST", path, admin.Fault{Status: 405, Allow: "GET", Message: "the status is read with GET"}},
		{"HEAD", path, admin.Fault{Status: 405, Allow: "GET", Message: "the status is read with GET"}},
		{"DELETE", path, admin.Fault{Status: 405, Allow: "GET", Message: "the status is read with GET"}},
		{"GET", path + "/streams/events/alice", admin.Fault{Status: 405, Allow: "DELETE", Message: "streams are ended with DELETE"}},
		{"", path + "/streams/events/alice", admin.Fault{Status: 405, Allow: "DELETE", Message: "streams are ended with DELETE"}},
		{"GET", path + "/x", admin.Fault{Status: 404, Message: "there is the status, and streams/<rule>/<key part>"}},
		{"DELETE", path + "/streams", admin.Fault{Status: 404, Message: "there is the status, and streams/<rule>/<key part>"}},
		{"DELETE", path + "/streams/", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/%", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/a%2", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/%zz", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/%+1", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/%-0", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/%_1", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/%0x", admin.Fault{Status: 400, Message: notEncoded}},
		{"DELETE", path + "/streams/events/a//b", admin.Fault{Status: 400, Message: "key part 2 is empty or not percent-encoded"}},
	} {
		got, fault := admin.Parse(path, test.method, test.path)
		if fault == nil || *fault != test.want {
			t.Errorf("%s %s: %+v, %+v, want %+v", test.method, test.path, got, fault, test.want)
		}
	}
}

// TestPartsAsNetURLWritesThem: whatever a program escapes with the standard library comes out as it went in.
func TestPartsAsNetURLWritesThem(t *testing.T) {
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

// FuzzParse: whatever stands in a path, parts are what the standard library decodes, or there is a fault.
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

func TestStatus(t *testing.T) {
	s := admin.Status{
		Version: "v1 \"x\"\n\xff",
		Config:  `{"rules":[]}`,
		Rules:   []admin.Rule{{"events", 3}, {"mcp", 1 << 60}},
		Workers: []admin.Worker{{Slot: 0, Streams: 2, BeatAt: 900}, {Slot: 7, Streams: 1, BeatAt: 1100}},
		Now:     1000,
	}
	const want = `{"version":"v1 \"x\"\n` + "\uFFFD" + `",` +
		`"rules":[{"name":"events","active":3},{"name":"mcp","active":1152921504606846976}],` +
		`"workers":[{"slot":0,"streams":2,"heartbeat_age_ms":100},{"slot":7,"streams":1,"heartbeat_age_ms":0}],` +
		`"totals":{"active":1152921504606846979,"workers":2},"config":{"rules":[]}}` + "\n"
	got := string(s.AppendJSON(nil))
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
	if !json.Valid([]byte(got)) {
		t.Error("not JSON")
	}
	s = admin.Status{Config: "{}"}
	if got := string(s.AppendJSON(nil)); !json.Valid([]byte(got)) {
		t.Errorf("not JSON: %s", got)
	}
}
