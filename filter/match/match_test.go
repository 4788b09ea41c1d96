package match_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/match"
)

// request is a Request that counts how often each header is read.
type request struct {
	headers map[string]string
	reads   map[string]int
}

func (r *request) Header(name string) (string, bool) {
	r.reads[name]++
	value, ok := r.headers[name]
	return value, ok
}

// requestWith makes a request with these headers: name, value, name, value and so on.
func requestWith(headers ...string) *request {
	r := &request{map[string]string{}, map[string]int{}}
	for i := 0; i < len(headers); i += 2 {
		r.headers[headers[i]] = headers[i+1]
	}
	return r
}

// newSet calls New, which must succeed.
func newSet(t testing.TB, rules ...match.Conditions) *match.Set {
	t.Helper()
	s, err := match.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// first is First where no value is too long.
func first(s *match.Set, req match.Request) (int, bool) {
	i, found := s.First(req)
	return i, found == match.Yes
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
		{"no conditions", match.Conditions{}, requestWith(), true},

		{"exact path", onPath(match.Exact, "/events"), requestWith(":path", "/events"), true},
		{"exact path, with query and fragment", onPath(match.Exact, "/events"), requestWith(":path", "/events?a=1#b"), true},
		{"exact path, with a fragment before the query", onPath(match.Exact, "/events"), requestWith(":path", "/events#b?a=1"), true},
		{"exact path, longer", onPath(match.Exact, "/events"), requestWith(":path", "/events/1"), false},
		{"exact path, other case", onPath(match.Exact, "/events"), requestWith(":path", "/Events"), false},
		{"path prefix", onPath(match.Prefix, "/ev"), requestWith(":path", "/events"), true},
		{"path prefix, reaches into the query", onPath(match.Prefix, "/a?b"), requestWith(":path", "/a?b"), false},
		{"path prefix, not at the beginning", onPath(match.Prefix, "/ev"), requestWith(":path", "/a/ev"), false},
		{"path regex", onPath(match.Regex, "/v[0-9]+/events"), requestWith(":path", "/v12/events?x"), true},
		{"path regex, matches only the beginning", onPath(match.Regex, "/v[0-9]+"), requestWith(":path", "/v12/events"), false},
		{"path regex, matches only the end", onPath(match.Regex, "/events"), requestWith(":path", "/v1/events"), false},
		{"path regex, alternatives are anchored", onPath(match.Regex, "/a|b"), requestWith(":path", "/ab"), false},
		{"path regex, second alternative is longer", onPath(match.Regex, "/a|/ab"), requestWith(":path", "/ab"), true},
		{"path regex, open quotation", onPath(match.Regex, `/\Qa.b`), requestWith(":path", "/a.b"), true},
		{"path regex, open quotation, empty", onPath(match.Regex, `/a.b\Q`), requestWith(":path", "/a.b"), true},
		{"path regex, open quotation after a closed one", onPath(match.Regex, `/\Qa.\E.\Q.b`), requestWith(":path", "/a.a.b"), true},
		{"path regex, open quotation, ends in a backslash", onPath(match.Regex, `/\Qa\`), requestWith(":path", `/a\`), true},
		{"path regex, closed quotation", onPath(match.Regex, `/\Qa.\E|b`), requestWith(":path", "b"), true},
		{"path regex, escaped backslash before Q", onPath(match.Regex, `/\\Qa|\\\.b`), requestWith(":path", `/\Qa`), true},
		{"path regex, multi-line", onPath(match.Regex, "(?m)/a$"), requestWith(":path", "/a\nb"), false},
		{"path regex, case-insensitive", onPath(match.Regex, "(?i)/a"), requestWith(":path", "/A"), true},
		{"request without a path", onPath(match.Prefix, ""), requestWith(":method", "CONNECT"), false},

		{"method", match.Conditions{Methods: []string{"GET", "POST"}}, requestWith(":method", "POST"), true},
		{"method, not in the list", match.Conditions{Methods: []string{"GET", "POST"}}, requestWith(":method", "PUT"), false},
		{"method, other case", match.Conditions{Methods: []string{"GET"}}, requestWith(":method", "get"), false},

		{"exact header", header(accept, match.Exact, "a/b"), requestWith(accept, "a/b"), true},
		{"exact header, longer", header(accept, match.Exact, "a/b"), requestWith(accept, "a/b;q=1"), false},
		{"exact header, empty", header(accept, match.Exact, ""), requestWith(accept, ""), true},
		{"exact header, missing is not empty", header(accept, match.Exact, ""), requestWith(), false},
		{"header prefix", header(accept, match.Prefix, "a/"), requestWith(accept, "a/b"), true},
		{"header prefix, elsewhere", header(accept, match.Prefix, "b"), requestWith(accept, "a/b"), false},
		{"header contains", header(accept, match.Contains, "/"), requestWith(accept, "a/b"), true},
		{"header contains, not", header(accept, match.Contains, "c"), requestWith(accept, "a/b"), false},
		{"header regex", header(accept, match.Regex, "[^_].*"), requestWith(accept, "a_1"), true},
		{"header regex, not", header(accept, match.Regex, "[^_].*"), requestWith(accept, "_1"), false},
		{"header regex, missing is not empty", header(accept, match.Regex, ".*"), requestWith(), false},
		{"header present", header(accept, match.Present, ""), requestWith(accept, ""), true},
		{"header present, not", header(accept, match.Present, ""), requestWith(), false},
		{"header absent", header(accept, match.Absent, ""), requestWith(), true},
		{"header absent, not", header(accept, match.Absent, ""), requestWith(accept, ""), false},
		{"name of the header in any case", header("Accept", match.Exact, "a"), requestWith(accept, "a"), true},
		{"authority", header(":authority", match.Exact, "a"), requestWith(":authority", "a"), true},

		{"all hold", streams, requestWith(":path", "/events", ":method", "GET", accept, "text/event-stream"), true},
		{"all but the path", streams, requestWith(":path", "/", ":method", "GET", accept, "text/event-stream"), false},
		{"all but the method", streams, requestWith(":path", "/events", ":method", "PUT", accept, "text/event-stream"), false},
		{"all but the header", streams, requestWith(":path", "/events", ":method", "GET", accept, "*/*"), false},
	} {
		t.Run(test.about, func(t *testing.T) {
			if _, ok := first(newSet(t, test.when), test.req); ok != test.want {
				t.Errorf("%+v on %q: got %v, want %v", test.when, test.req.headers, ok, test.want)
			}
		})
	}
}

// streams are the conditions of a usual configuration.
var streams = match.Conditions{
	Path:    match.Path{Op: match.Prefix, Value: "/events"},
	Methods: []string{"GET"},
	Headers: []match.Header{{Name: "accept", Op: match.Contains, Value: "text/event-stream"}},
}

func TestFirstRuleWins(t *testing.T) {
	s := newSet(t,
		match.Conditions{Path: path(match.Exact, "/a")},
		match.Conditions{Path: path(match.Prefix, "/a")},
		match.Conditions{Path: path(match.Prefix, "/")},
	)
	for target, want := range map[string]int{"/a": 0, "/ab": 1, "/b": 2} {
		if got, ok := first(s, requestWith(":path", target)); !ok || got != want {
			t.Errorf("path %s: got rule %d, %v, want %d", target, got, ok, want)
		}
	}
	if i, ok := first(s, requestWith(":path", "*")); ok {
		t.Errorf("path *: got rule %d, want none", i)
	}
}

func TestReads(t *testing.T) {
	web := requestWith(":path", "/index.html", ":method", "GET", "accept", "text/html", "x-a", "1")
	stream := requestWith(":path", "/events", ":method", "GET", "accept", "text/event-stream", "x-a", "1")
	onPath := func(value string) match.Conditions { return match.Conditions{Path: path(match.Exact, value)} }
	get := match.Conditions{Methods: []string{"GET"}}
	put := match.Conditions{Methods: []string{"PUT"}}

	for _, test := range []struct {
		about string
		rules []match.Conditions
		req   *request
		want  string // the headers that are read, each once, sorted
	}{
		{"no rules", nil, web, ""},
		{"no conditions", []match.Conditions{{}}, web, ""},
		{"the header is read before path and method", []match.Conditions{streams}, web, "accept"},
		{"a match reads every header of its conditions", []match.Conditions{streams}, stream, ":method :path accept"},
		{"all rules have a header", []match.Conditions{
			{Path: path(match.Exact, "/a"), Headers: []match.Header{{Name: "x-a", Op: match.Present}, {Name: "Accept", Op: match.Exact, Value: "a"}}},
			{Path: path(match.Exact, "/index.html"), Headers: []match.Header{{Name: "accept", Op: match.Prefix, Value: "b"}}},
		}, web, "accept"},
		{"all rules have the path", []match.Conditions{streams, onPath("/b"), onPath("/c")}, web, ":path"},
		{"the path is read before the method", []match.Conditions{
			{Methods: []string{"GET"}, Path: path(match.Exact, "/a")},
			{Methods: []string{"GET"}, Path: path(match.Exact, "/b")},
		}, web, ":path"},
		{"all rules have the method", []match.Conditions{
			{Methods: []string{"PUT"}, Path: path(match.Exact, "/index.html")},
			{Methods: []string{"PUT"}, Headers: []match.Header{{Name: "x-a", Op: match.Present}}},
		}, web, ":method"},
		{"no header in all rules", []match.Conditions{put, onPath("/b"), put, onPath("/c")}, web, ":method :path"},
		{"no header in all rules, early match", []match.Conditions{get, onPath("/b")}, web, ":method"},
		{"a header that all rules want absent is no gate", []match.Conditions{
			{Path: path(match.Exact, "/a"), Headers: []match.Header{{Name: "x-b", Op: match.Absent}}},
			{Path: path(match.Exact, "/b"), Headers: []match.Header{{Name: "x-b", Op: match.Absent}}},
		}, web, ":path"},
		{"a header that one rule wants absent is no gate", []match.Conditions{
			{Path: path(match.Exact, "/a"), Headers: []match.Header{{Name: "x-b", Op: match.Present}}},
			{Path: path(match.Exact, "/b"), Headers: []match.Header{{Name: "x-b", Op: match.Absent}}},
		}, web, ":path"},
		{"one header, many conditions", []match.Conditions{
			{Headers: []match.Header{{Name: "accept", Op: match.Prefix, Value: "text"}, {Name: "accept", Op: match.Contains, Value: "x/"}}},
			{Headers: []match.Header{{Name: "accept", Op: match.Exact, Value: "a"}}},
		}, web, "accept"},
		{"a missing header is read once", []match.Conditions{header("x-z", match.Present, ""), header("x-z", match.Exact, "")}, web, "x-z"},
	} {
		t.Run(test.about, func(t *testing.T) {
			clear(test.req.reads)
			newSet(t, test.rules...).First(test.req)
			want := map[string]int{}
			for _, name := range strings.Fields(test.want) {
				want[name] = 1
			}
			if !maps.Equal(test.req.reads, want) {
				t.Errorf("read %v, want %v", test.req.reads, want)
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
		{header("a", match.Regex, "a("), `rule 1: header 0: regex "a(": missing closing )`},
		{header("a", 0, "a"), "rule 1: header 0: op Op(0), want exact, prefix, contains, regex, present or absent"},
		{header("", match.Present, ""), `rule 1: header 0: name "", want a header other than :path and :method`},
		{header(":Path", match.Present, ""), `rule 1: header 0: name ":Path", want a header other than :path and :method`},
		{header(":method", match.Present, ""), `rule 1: header 0: name ":method", want a header other than :path and :method`},
	} {
		_, err := match.New([]match.Conditions{{}, test.rule})
		if got := fmt.Sprint(err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// Changing the rules after New does not change the Set.
func TestNewCopiesRules(t *testing.T) {
	methods := []string{"GET"}
	s := newSet(t, match.Conditions{Methods: methods})
	methods[0] = "PUT"
	if _, ok := first(s, requestWith(":method", "GET")); !ok {
		t.Error("the set changed when its rules were changed")
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
