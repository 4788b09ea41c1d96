package match

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
)

const (
	pathHeader   = ":path"
	methodHeader = ":method"
)

// New makes rules ready for use. It returns an error that names the rule if an Op does not fit its
// condition, if a header has no name or is the path or the method, or if a regex is invalid. New
// keeps no memory of rules.
func New(rules []Conditions) (*Set, error) {
	gate := gate(rules)
	set := &Set{rules: make([][]test, len(rules))}
	for i, rule := range rules {
		tests, err := set.tests(rule)
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i, err)
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

// gate returns the name of the header that is read first, or "" if no header has a condition in
// every rule. A header is preferred to the path, and the path to the method, because that is how
// well they tell streams from other requests. Of several headers, the one that comes first in the
// first rule is chosen. A header that must be absent does not count: nearly every request would
// pass that gate.
func gate(rules []Conditions) string {
	if len(rules) == 0 {
		return ""
	}
	for _, header := range rules[0].Headers {
		if every(rules, func(c Conditions) bool { return c.needsHeader(header.Name) }) {
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

// needsHeader reports whether c can only match requests that have this header.
func (c Conditions) needsHeader(name string) bool {
	return slices.ContainsFunc(c.Headers, func(h Header) bool {
		return h.Op != Absent && strings.EqualFold(h.Name, name)
	})
}

// test is one condition, made ready for use.
type test struct {
	header int // index in Set.headers
	op     Op
	value  string         // for Exact, Prefix and Contains
	values []string       // for oneOf
	regex  *regexp.Regexp // for Regex
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

// tests returns the tests of a rule, and adds the headers that they read to s.headers.
func (s *Set) tests(rule Conditions) ([]test, error) {
	var tests []test
	if rule.Path != (Path{}) {
		t := test{header: s.header(pathHeader), op: rule.Path.Op, value: rule.Path.Value}
		switch t.op {
		case Exact, Prefix:
		case Regex:
			regex, err := compile(t.value)
			if err != nil {
				return nil, fmt.Errorf("path regex %q: %w", t.value, err)
			}
			t.regex = regex
		default:
			return nil, fmt.Errorf("path: op %v, want exact, prefix or regex", t.op)
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
			return nil, fmt.Errorf("header %d: op %v, want exact, prefix, contains, present or absent", i, h.Op)
		}
		name := strings.ToLower(h.Name)
		if name == "" || name == pathHeader || name == methodHeader {
			return nil, fmt.Errorf("header %d: name %q, want a header other than :path and :method", i, h.Name)
		}
		tests = append(tests, test{header: s.header(name), op: h.Op, value: h.Value})
	}
	return tests, nil
}

// header returns the index of name in s.headers, and adds name if it is new.
func (s *Set) header(name string) int {
	if i := slices.Index(s.headers, name); i >= 0 {
		return i
	}
	s.headers = append(s.headers, name)
	return len(s.headers) - 1
}

// CheckRegex returns the error for which New would refuse expr as a path regex, or nil. The error
// does not repeat expr.
func CheckRegex(expr string) error {
	_, err := compile(expr)
	return err
}

// compile compiles expr so that it matches whole values only.
func compile(expr string) (*regexp.Regexp, error) {
	// An expression that is invalid by itself can become valid between the anchors, such as
	// "a)(?:b". So it is parsed alone first.
	if _, err := syntax.Parse(expr, syntax.Perl); err != nil {
		return nil, withoutExpr(err)
	}
	anchored, err := regexp.Compile(`\A(?:` + expr + `)\z`)
	if err != nil {
		// A quotation that expr leaves open, such as `\Qa`, quotes the closing anchor too.
		closed, errClosed := regexp.Compile(`\A(?:` + expr + `\E)\z`)
		if errClosed != nil {
			return nil, withoutExpr(err)
		}
		anchored = closed
	}
	return anchored, nil
}

// withoutExpr returns an error of package syntax without the expression that it quotes.
func withoutExpr(err error) error {
	var invalid *syntax.Error
	if errors.As(err, &invalid) {
		return errors.New(invalid.Code.String())
	}
	return err
}

// withoutQuery returns path without query and fragment, as Envoy does for its routes
// (PathUtil::removeQueryAndFragment in source/common/http/path_utility.cc).
func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
