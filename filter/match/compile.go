package match

import (
	"fmt"
	"slices"
	"strings"
)

const (
	pathHeader   = ":path"
	methodHeader = ":method"
)

// New makes rules ready for use. It returns an error that names the rule if an Op does not fit its
// condition, if a header has no name or is the path or the method, or if [Regexes.Add] returns an
// error for a regex. New keeps no memory of rules.
func New(rules []Conditions) (*Set, error) {
	gate := gate(rules)
	set := &Set{rules: make([][]test, len(rules))}
	var regexes Regexes
	contains := 0
	for i, rule := range rules {
		tests, err := set.tests(rule, &regexes)
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
		for _, t := range tests {
			if t.op == Contains {
				contains++
			}
		}
	}
	set.regexBytes = min(longestRegex, regexWork/max(1, regexes.instructions))
	set.containsBytes = containsWork / max(1, contains)
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
	value  string   // for Exact, Prefix and Contains
	values []string // for oneOf
	regex  *pattern // for Regex
}

func (s *Set) holds(t *test, value string, present bool) Answer {
	if !present {
		return answer(t.op == Absent)
	}
	switch t.op {
	case Exact:
		return answer(value == t.value)
	case Prefix:
		return answer(strings.HasPrefix(value, t.value))
	case Contains:
		begin := value[:min(len(value), s.containsBytes)]
		switch {
		case strings.Contains(begin, t.value):
			return Yes
		case len(begin) < len(value):
			return TooLong
		}
		return No
	case Regex:
		return t.regex.matches(value, s.regexBytes)
	case Present:
		return Yes
	case oneOf:
		return answer(slices.Contains(t.values, value))
	}
	return No
}

// tests returns the tests of a rule, and adds the headers that they read to s.headers.
func (s *Set) tests(rule Conditions, regexes *Regexes) ([]test, error) {
	var tests []test
	if rule.Path != (Path{}) {
		t := test{header: s.header(pathHeader), op: rule.Path.Op, value: rule.Path.Value}
		switch t.op {
		case Exact, Prefix:
		case Regex:
			regex, err := regexes.compile(t.value)
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
		var regex *pattern
		switch h.Op {
		case Exact, Prefix, Contains, Present, Absent:
		case Regex:
			var err error
			if regex, err = regexes.compile(h.Value); err != nil {
				return nil, fmt.Errorf("header %d: regex %q: %w", i, h.Value, err)
			}
		default:
			return nil, fmt.Errorf("header %d: op %v, want exact, prefix, contains, regex, present or absent", i, h.Op)
		}
		name := strings.ToLower(h.Name)
		if name == "" || name == pathHeader || name == methodHeader {
			return nil, fmt.Errorf("header %d: name %q, want a header other than :path and :method", i, h.Name)
		}
		tests = append(tests, test{header: s.header(name), op: h.Op, value: h.Value, regex: regex})
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

// withoutQuery returns path without query and fragment, as Envoy does for its routes
// (PathUtil::removeQueryAndFragment in source/common/http/path_utility.cc).
func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}
