package match_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/match"
)

// referenceFirst is the reference for Set.First. It reads every header, in the order of the rules.
func referenceFirst(rules []match.Conditions, headers map[string]string) (int, bool) {
	for i, rule := range rules {
		if referenceMatches(rule, headers) {
			return i, true
		}
	}
	return 0, false
}

func referenceMatches(rule match.Conditions, headers map[string]string) bool {
	holds := true
	target, hasPath := headers[":path"]
	target = regexp.MustCompile(`(?s)[?#].*`).ReplaceAllString(target, "")
	switch want := rule.Path.Value; rule.Path.Op {
	case match.Exact:
		holds = holds && hasPath && target == want
	case match.Prefix:
		holds = holds && hasPath && strings.HasPrefix(target, want)
	case match.Regex:
		holds = holds && hasPath && referenceFullMatch(want, target)
	}
	if len(rule.Methods) > 0 {
		method, ok := headers[":method"]
		holds = holds && ok && slices.Contains(rule.Methods, method)
	}
	for _, h := range rule.Headers {
		value, ok := headers[strings.ToLower(h.Name)]
		switch h.Op {
		case match.Exact:
			holds = holds && ok && value == h.Value
		case match.Prefix:
			holds = holds && ok && strings.HasPrefix(value, h.Value)
		case match.Contains:
			holds = holds && ok && strings.Contains(value, h.Value)
		case match.Regex:
			holds = holds && ok && referenceFullMatch(h.Value, value)
		case match.Present:
			holds = holds && ok
		case match.Absent:
			holds = holds && !ok
		}
	}
	return holds
}

// referenceFullMatch reports whether expr matches all of s: then its leftmost-longest match is s.
func referenceFullMatch(expr, s string) bool {
	regex := regexp.MustCompile(expr)
	regex.Longest()
	at := regex.FindStringIndex(s)
	return at != nil && at[0] == 0 && at[1] == len(s)
}

// First returns what the reference returns and reads no header twice. If all rules have a condition
// on the path and none of them holds, it reads only the path.
func TestFirstAgreesWithReference(t *testing.T) {
	value := rapid.SampledFrom([]string{"", "a", "b", "ab", "ba"})
	paths := rapid.Custom(func(t *rapid.T) match.Path {
		return match.Path{
			Op:    rapid.SampledFrom([]match.Op{match.Exact, match.Prefix, match.Regex}).Draw(t, "op"),
			Value: rapid.SampledFrom([]string{"", "/", "/a", "/ab", "/a|/ab", "/[ab]*"}).Draw(t, "value"),
		}
	})
	conditions := rapid.Custom(func(t *rapid.T) match.Header {
		return match.Header{
			Name:  rapid.SampledFrom([]string{"accept", "Accept", "x", ":authority"}).Draw(t, "name"),
			Op:    rapid.SampledFrom([]match.Op{match.Exact, match.Prefix, match.Contains, match.Regex, match.Present, match.Absent}).Draw(t, "op"),
			Value: value.Draw(t, "value"),
		}
	})
	rules := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) match.Conditions {
		var rule match.Conditions
		if rapid.Bool().Draw(t, "has path") {
			rule.Path = paths.Draw(t, "path")
		}
		rule.Methods = rapid.SliceOfN(rapid.SampledFrom([]string{"GET", "PUT"}), 0, 2).Draw(t, "methods")
		rule.Headers = rapid.SliceOfN(conditions, 0, 3).Draw(t, "headers")
		return rule
	}), 0, 5)

	rapid.Check(t, func(rt *rapid.T) {
		rules := rules.Draw(rt, "rules")
		req := requestWith()
		for name, values := range map[string]*rapid.Generator[string]{
			":path":      rapid.SampledFrom([]string{"", "/", "/a", "/a?b", "/ab#c", "/ac", "/a#?"}),
			":method":    rapid.SampledFrom([]string{"GET", "PUT", "get"}),
			":authority": value, "accept": value, "x": value,
		} {
			if rapid.Bool().Draw(rt, "has "+name) {
				req.headers[name] = values.Draw(rt, name)
			}
		}

		index, ok := first(newSet(t, rules...), req)
		if wantIndex, want := referenceFirst(rules, req.headers); index != wantIndex || ok != want {
			rt.Fatalf("got %d, %v, want %d, %v", index, ok, wantIndex, want)
		}
		for name, reads := range req.reads {
			if reads > 1 {
				rt.Errorf("%s was read %d times, want once", name, reads)
			}
		}
		if !ok && everyRuleHasPath(rules) && !slices.ContainsFunc(rules, func(r match.Conditions) bool {
			return len(r.Headers) > 0 || referenceMatches(match.Conditions{Path: r.Path}, req.headers)
		}) && len(req.reads) > 1 {
			rt.Errorf("no rule matches the path: read %v, want only :path", req.reads)
		}
	})
}

func everyRuleHasPath(rules []match.Conditions) bool {
	return !slices.ContainsFunc(rules, func(r match.Conditions) bool { return r.Path.Op == 0 })
}

// A pattern must not change the meaning of an expression.
func FuzzRegexMatchesTheWholePath(f *testing.F) {
	f.Add(`a|b`, "ab")
	f.Add(`\Qa`, "a")
	f.Add(`\\Qa\Qb\E\Q\`, `\Qab\`)
	f.Add(`(?i)a(?-i)b$|^c`, "Ab")
	f.Add(`(?m)^a$`, "a\nb")
	f.Add(`a)(?:b`, "ab")
	f.Add(`^/a(b)*c$`, "/abbc")
	f.Add(`/a\b/c`, "/a/c")
	f.Add(`/a\bc`, "/ac")
	f.Add(`aba`, "aba")
	f.Add(`ab.?ba`, "aba")
	f.Add(`(?i)/K.*k`, "/kK")
	f.Add(`/\x{fffd}.`, "/\xff\xfe")
	f.Add(`/.\x{fffd}`, "/a\xff")
	f.Add(`/a(?:^|b)c`, "/ac")
	f.Add(`(?:$)a`, "a")
	f.Add(`(?U)/a.*b(?s).b`, "/a\nb")
	f.Add(``, "")
	f.Fuzz(func(t *testing.T, expr, target string) {
		_, err := regexp.Compile(expr)
		errHere := new(match.Regexes).Add(expr)
		if errHere != nil && strings.Contains(errHere.Error(), "together") { // too large
			return
		}
		if (err == nil) != (errHere == nil) {
			t.Fatalf("%q: regexp says %v, Add says %v", expr, err, errHere)
		}
		if err != nil || strings.ContainsAny(target, "?#") {
			return
		}
		_, got := newSet(t, match.Conditions{Path: path(match.Regex, expr)}).First(requestWith(":path", target))
		if want := referenceFullMatch(expr, target); got != match.TooLong && (got == match.Yes) != want {
			t.Errorf("%q on %q: got %v, want %v", expr, target, got, want)
		}
	})
}
