package match

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

const (
	pathHeader   = ":path"
	methodHeader = ":method"
)

// New makes rules ready for use. It fails on an Op that does not fit its
// condition, on a header that cannot be named, and on a bad regex, and says in
// which rule. The rules are not kept.
func New(rules []Conditions) (*Set, error) {
	gate := gate(rules)
	set := &Set{rules: make([][]test, len(rules))}
	for i, rule := range rules {
		tests, err := set.tests(rule)
		if err != nil {
			return nil, errors.New("rule " + strconv.Itoa(i) + ": " + err.Error())
		}
		for _, onGate := range []bool{true, false} {
			for _, t := range tests {
				if (set.headers[t.header] == gate) == onGate {
					set.rules[i] = append(set.rules[i], t)
				}
			}
		}
	}
	return set, nil
}

// gate names the header that decides first, or "" if the rules have none in
// common. A header comes before the path and the path before the method,
// because that is how well each tells streams from other requests; among
// headers the order of the first rule decides. A header that a rule only wants
// absent is no gate: nearly every request would pass it.
func gate(rules []Conditions) string {
	if len(rules) == 0 {
		return ""
	}
	for _, header := range rules[0].Headers {
		if every(rules, func(c Conditions) bool { return c.asksFor(header.Name) }) {
			return strings.ToLower(header.Name)
		}
	}
	if every(rules, func(c Conditions) bool { return c.Path != Path{} }) {
		return pathHeader
	}
	if every(rules, func(c Conditions) bool { return len(c.Methods) > 0 }) {
		return methodHeader
	}
	return ""
}

func every(rules []Conditions, holds func(Conditions) bool) bool {
	return !slices.ContainsFunc(rules, func(c Conditions) bool { return !holds(c) })
}

func (c Conditions) asksFor(header string) bool {
	return slices.ContainsFunc(c.Headers, func(h Header) bool {
		return h.Op != Absent && strings.EqualFold(h.Name, header)
	})
}

// test is a condition on one header.
type test struct {
	header int // index into Set.headers
	op     Op
	value  string
	values []string       // of oneOf
	regex  *regexp.Regexp // of Regex
}

func (t *test) holds(value string, present bool) bool {
	if !present {
		return t.op == Absent
	}
	switch t.op {
	case Exact:
		return value == t.value
	case Prefix:
		return strings.HasPrefix(value, t.value)
	case Contains:
		return strings.Contains(value, t.value)
	case Regex:
		return t.regex.MatchString(value)
	case Present:
		return true
	case oneOf:
		return slices.Contains(t.values, value)
	}
	return false
}

func (s *Set) tests(rule Conditions) ([]test, error) {
	var tests []test
	if rule.Path != (Path{}) {
		t := test{header: s.header(pathHeader), op: rule.Path.Op, value: rule.Path.Value}
		switch t.op {
		case Exact, Prefix:
		case Regex:
			regex, err := compile(t.value)
			if err != nil {
				return nil, errors.New("path regex " + strconv.Quote(t.value) + ": " + err.Error())
			}
			t.regex = regex
		default:
			return nil, errors.New("path: op " + t.op.String() + ", want exact, prefix or regex")
		}
		tests = append(tests, t)
	}
	if len(rule.Methods) > 0 {
		tests = append(tests, test{header: s.header(methodHeader), op: oneOf, values: slices.Clone(rule.Methods)})
	}
	for i, h := range rule.Headers {
		switch h.Op {
		case Exact, Prefix, Contains, Present, Absent:
		default:
			return nil, errors.New("header " + strconv.Itoa(i) + ": op " + h.Op.String() + ", want exact, prefix, contains, present or absent")
		}
		name := strings.ToLower(h.Name)
		if name == "" || name == pathHeader || name == methodHeader {
			return nil, errors.New("header " + strconv.Itoa(i) + ": name " + strconv.Quote(h.Name) + ", want a header other than path and method")
		}
		tests = append(tests, test{header: s.header(name), op: h.Op, value: h.Value})
	}
	return tests, nil
}

// header returns the index of name in s.headers.
func (s *Set) header(name string) int {
	if i := slices.Index(s.headers, name); i >= 0 {
		return i
	}
	s.headers = append(s.headers, name)
	return len(s.headers) - 1
}

// CheckRegex says why New would refuse expr, or nil. The error does not repeat
// expr.
func CheckRegex(expr string) error {
	_, err := compile(expr)
	return err
}

// compile anchors expr at both ends. What is put around an expression that is
// none by itself could make it one ("a)(b"), so it is parsed alone first; and
// an open quotation (`\Qa`), which would quote the end of the anchor, is closed.
// The parsed form could be anchored too, but its String is 50 KB of code.
func compile(expr string) (*regexp.Regexp, error) {
	_, err := syntax.Parse(expr, syntax.Perl)
	if err == nil {
		if quotes(expr) {
			expr += `\E`
		}
		var regex *regexp.Regexp
		if regex, err = regexp.Compile(`\A(?:` + expr + `)\z`); err == nil {
			return regex, nil
		}
	}
	var bad *syntax.Error
	if errors.As(err, &bad) {
		return nil, errors.New(bad.Code.String())
	}
	return nil, err
}

// quotes says whether a valid expression ends inside a quotation.
func quotes(expr string) bool {
	for {
		_, escaped, ok := strings.Cut(expr, `\`)
		if !ok || escaped == "" {
			return false
		}
		if escaped[0] != 'Q' {
			expr = escaped[1:]
		} else if _, expr, ok = strings.Cut(escaped, `\E`); !ok {
			return true
		}
	}
}

// withoutQuery cuts path where a route of Envoy does (Http::PathUtil in
// source/common/http/path_utility.cc: removeQueryAndFragment).
func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
