package match_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/match"
)

// request counts how often each header is read.
type request struct {
	headers map[string]string
	reads   map[string]int
}

func (r *request) Header(name string) (string, bool) {
	r.reads[name]++
	value, ok := r.headers[name]
	return value, ok
}

// of makes a request of names and values.
func of(headers ...string) *request {
	r := &request{map[string]string{}, map[string]int{}}
	for i := 0; i < len(headers); i += 2 {
		r.headers[headers[i]] = headers[i+1]
	}
	return r
}

func set(t testing.TB, rules ...match.Conditions) *match.Set {
	t.Helper()
	s, err := match.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func path(op match.Op, value string) match.Path { return match.Path{Op: op, Value: value} }

func header(name string, op match.Op, value string) match.Conditions {
	return match.Conditions{Headers: []match.Header{{Name: name, Op: op, Value: value}}}
}

func TestConditions(t *testing.T) {
	onPath := func(op match.Op, value string) match.Conditions {
		return match.Conditions{Path: path(op, value)}
	}
	accept := "accept"
	for _, test := range []struct {
		about string
		when  match.Conditions
		req   *request
		want  bool
	}{
		{"none", match.Conditions{}, of(), true},

		{"exact path", onPath(match.Exact, "/events"), of(":path", "/events"), true},
		{"exact path, query and fragment aside", onPath(match.Exact, "/events"), of(":path", "/events?a=1#b"), true},
		{"exact path, fragment first", onPath(match.Exact, "/events"), of(":path", "/events#b?a=1"), true},
		{"exact path, longer", onPath(match.Exact, "/events"), of(":path", "/events/1"), false},
		{"exact path, other case", onPath(match.Exact, "/events"), of(":path", "/Events"), false},
		{"path prefix", onPath(match.Prefix, "/ev"), of(":path", "/events"), true},
		{"path prefix, in the query", onPath(match.Prefix, "/a?b"), of(":path", "/a?b"), false},
		{"path prefix, elsewhere", onPath(match.Prefix, "/ev"), of(":path", "/a/ev"), false},
		{"path regex", onPath(match.Regex, "/v[0-9]+/events"), of(":path", "/v12/events?x"), true},
		{"path regex, part of the path", onPath(match.Regex, "/v[0-9]+"), of(":path", "/v12/events"), false},
		{"path regex, end of the path", onPath(match.Regex, "/events"), of(":path", "/v1/events"), false},
		{"path regex, alternatives", onPath(match.Regex, "/a|b"), of(":path", "/ab"), false},
		{"path regex, longer alternative", onPath(match.Regex, "/a|/ab"), of(":path", "/ab"), true},
		{"path regex, open quotation", onPath(match.Regex, `/\Qa.b`), of(":path", "/a.b"), true},
		{"path regex, open quotation, of nothing", onPath(match.Regex, `/a.b\Q`), of(":path", "/a.b"), true},
		{"path regex, open quotation, second", onPath(match.Regex, `/\Qa.\E.\Q.b`), of(":path", "/a.a.b"), true},
		{"path regex, open quotation, ends in a backslash", onPath(match.Regex, `/\Qa\`), of(":path", `/a\`), true},
		{"path regex, closed quotation", onPath(match.Regex, `/\Qa.\E|b`), of(":path", "b"), true},
		{"path regex, no quotation", onPath(match.Regex, `/\\Qa|\\\.b`), of(":path", `/\Qa`), true},
		{"path regex, lines", onPath(match.Regex, "(?m)/a$"), of(":path", "/a\nb"), false},
		{"path regex, case", onPath(match.Regex, "(?i)/a"), of(":path", "/A"), true},
		{"no path", onPath(match.Prefix, ""), of(":method", "CONNECT"), false},

		{"method", match.Conditions{Methods: []string{"GET", "POST"}}, of(":method", "POST"), true},
		{"method, none of them", match.Conditions{Methods: []string{"GET", "POST"}}, of(":method", "PUT"), false},
		{"method, other case", match.Conditions{Methods: []string{"GET"}}, of(":method", "get"), false},

		{"exact header", header(accept, match.Exact, "a/b"), of(accept, "a/b"), true},
		{"exact header, longer", header(accept, match.Exact, "a/b"), of(accept, "a/b;q=1"), false},
		{"exact header, empty", header(accept, match.Exact, ""), of(accept, ""), true},
		{"exact header, missing is not empty", header(accept, match.Exact, ""), of(), false},
		{"header prefix", header(accept, match.Prefix, "a/"), of(accept, "a/b"), true},
		{"header prefix, elsewhere", header(accept, match.Prefix, "b"), of(accept, "a/b"), false},
		{"header contains", header(accept, match.Contains, "/"), of(accept, "a/b"), true},
		{"header contains, not", header(accept, match.Contains, "c"), of(accept, "a/b"), false},
		{"header present", header(accept, match.Present, ""), of(accept, ""), true},
		{"header present, not", header(accept, match.Present, ""), of(), false},
		{"header absent", header(accept, match.Absent, ""), of(), true},
		{"header absent, not", header(accept, match.Absent, ""), of(accept, ""), false},
		{"name of the header in any case", header("Accept", match.Exact, "a"), of(accept, "a"), true},
		{"authority", header(":authority", match.Exact, "a"), of(":authority", "a"), true},

		{"all hold", streams, of(":path", "/events", ":method", "GET", accept, "text/event-stream"), true},
		{"all but the path", streams, of(":path", "/", ":method", "GET", accept, "text/event-stream"), false},
		{"all but the method", streams, of(":path", "/events", ":method", "PUT", accept, "text/event-stream"), false},
		{"all but the header", streams, of(":path", "/events", ":method", "GET", accept, "*/*"), false},
	} {
		t.Run(test.about, func(t *testing.T) {
			if _, ok := set(t, test.when).First(test.req); ok != test.want {
				t.Errorf("%+v on %q: got %v, want %v", test.when, test.req.headers, ok, test.want)
			}
		})
	}
}

// streams is what the example configuration asks for.
var streams = match.Conditions{
	Path:    match.Path{Op: match.Prefix, Value: "/events"},
	Methods: []string{"GET"},
	Headers: []match.Header{{Name: "accept", Op: match.Contains, Value: "text/event-stream"}},
}

func TestFirstRuleWins(t *testing.T) {
	s := set(t,
		match.Conditions{Path: path(match.Exact, "/a")},
		match.Conditions{Path: path(match.Prefix, "/a")},
		match.Conditions{Path: path(match.Prefix, "/")},
	)
	for target, want := range map[string]int{"/a": 0, "/ab": 1, "/b": 2} {
		if got, ok := s.First(of(":path", target)); !ok || got != want {
			t.Errorf("%s: got rule %d, %v, want %d", target, got, ok, want)
		}
	}
	if i, ok := s.First(of(":path", "*")); ok {
		t.Errorf("got rule %d for a path that fits none", i)
	}
}

func TestReads(t *testing.T) {
	web := of(":path", "/index.html", ":method", "GET", "accept", "text/html", "x-a", "1")
	stream := of(":path", "/events", ":method", "GET", "accept", "text/event-stream", "x-a", "1")
	onPath := func(value string) match.Conditions { return match.Conditions{Path: path(match.Exact, value)} }
	get := match.Conditions{Methods: []string{"GET"}}
	put := match.Conditions{Methods: []string{"PUT"}}

	for _, test := range []struct {
		about string
		rules []match.Conditions
		req   *request
		want  string // the headers read, once each, sorted
	}{
		{"no rules", nil, web, ""},
		{"no conditions", []match.Conditions{{}}, web, ""},
		{"a header comes first", []match.Conditions{streams}, web, "accept"},
		{"a match reads what it needs", []match.Conditions{streams}, stream, ":method :path accept"},
		{"a header in common", []match.Conditions{
			{Path: path(match.Exact, "/a"), Headers: []match.Header{{Name: "x-a", Op: match.Present}, {Name: "Accept", Op: match.Exact, Value: "a"}}},
			{Path: path(match.Exact, "/index.html"), Headers: []match.Header{{Name: "accept", Op: match.Prefix, Value: "b"}}},
		}, web, "accept"},
		{"the path in common", []match.Conditions{streams, onPath("/b"), onPath("/c")}, web, ":path"},
		{"the path before the method", []match.Conditions{
			{Methods: []string{"GET"}, Path: path(match.Exact, "/a")},
			{Methods: []string{"GET"}, Path: path(match.Exact, "/b")},
		}, web, ":path"},
		{"the method in common", []match.Conditions{
			{Methods: []string{"PUT"}, Path: path(match.Exact, "/index.html")},
			{Methods: []string{"PUT"}, Headers: []match.Header{{Name: "x-a", Op: match.Present}}},
		}, web, ":method"},
		{"nothing in common", []match.Conditions{put, onPath("/b"), put, onPath("/c")}, web, ":method :path"},
		{"nothing in common, early match", []match.Conditions{get, onPath("/b")}, web, ":method"},
		{"an absent header is no gate", []match.Conditions{
			{Path: path(match.Exact, "/a"), Headers: []match.Header{{Name: "x-b", Op: match.Absent}}},
			{Path: path(match.Exact, "/b"), Headers: []match.Header{{Name: "x-b", Op: match.Absent}}},
		}, web, ":path"},
		{"present or absent is no gate", []match.Conditions{
			{Path: path(match.Exact, "/a"), Headers: []match.Header{{Name: "x-b", Op: match.Present}}},
			{Path: path(match.Exact, "/b"), Headers: []match.Header{{Name: "x-b", Op: match.Absent}}},
		}, web, ":path"},
		{"one header, many conditions", []match.Conditions{
			{Headers: []match.Header{{Name: "accept", Op: match.Prefix, Value: "text"}, {Name: "accept", Op: match.Contains, Value: "x/"}}},
			{Headers: []match.Header{{Name: "accept", Op: match.Exact, Value: "a"}}},
		}, web, "accept"},
		{"a missing header is read once too", []match.Conditions{header("x-z", match.Present, ""), header("x-z", match.Exact, "")}, web, "x-z"},
	} {
		t.Run(test.about, func(t *testing.T) {
			clear(test.req.reads)
			set(t, test.rules...).First(test.req)
			want := map[string]int{}
			for _, name := range strings.Fields(test.want) {
				want[name] = 1
			}
			if !maps.Equal(test.req.reads, want) {
				t.Errorf("reads %v, want %v", test.req.reads, want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, test := range []struct {
		rule match.Conditions
		want string
	}{
		{match.Conditions{Path: path(match.Regex, "a(")}, `rule 1: path regex "a(": missing closing )`},
		{match.Conditions{Path: path(match.Regex, "a)(?:b")}, `rule 1: path regex "a)(?:b": unexpected )`},
		{match.Conditions{Path: path(match.Regex, `\C`)}, `rule 1: path regex "\\C": invalid escape sequence`},
		{match.Conditions{Path: path(match.Regex, "a{1001}")}, `rule 1: path regex "a{1001}": invalid repeat count`},
		{match.Conditions{Path: path(match.Contains, "a")}, "rule 1: path: op contains, want exact, prefix or regex"},
		{match.Conditions{Path: path(0, "a")}, "rule 1: path: op Op(0), want exact, prefix or regex"},
		{header("a", match.Regex, "a"), "rule 1: header 0: op regex, want exact, prefix, contains, present or absent"},
		{header("a", 0, "a"), "rule 1: header 0: op Op(0), want exact, prefix, contains, present or absent"},
		{header("", match.Present, ""), `rule 1: header 0: name "", want a header other than path and method`},
		{header(":Path", match.Present, ""), `rule 1: header 0: name ":Path", want a header other than path and method`},
		{header(":method", match.Present, ""), `rule 1: header 0: name ":method", want a header other than path and method`},
	} {
		_, err := match.New([]match.Conditions{{}, test.rule})
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// A Set is made of what the rules said at the time.
func TestNewKeepsNothingOfTheCaller(t *testing.T) {
	methods := []string{"GET"}
	s := set(t, match.Conditions{Methods: methods})
	methods[0] = "PUT"
	if _, ok := s.First(of(":method", "GET")); !ok {
		t.Error("the set changed with the slice it was made of")
	}
}

func TestOpString(t *testing.T) {
	for op, want := range map[match.Op]string{
		match.Exact: "exact", match.Prefix: "prefix", match.Contains: "contains",
		match.Regex: "regex", match.Present: "present", match.Absent: "absent", 0: "Op(0)",
	} {
		if got := op.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
