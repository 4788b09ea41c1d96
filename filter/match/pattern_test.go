package match

import (
	"fmt"
	"regexp/syntax"
	"sort"
	"strings"
	"testing"
)

// headers is a Request.
type headers map[string]string

func (h headers) Header(name string) (string, bool) {
	value, ok := h[name]
	return value, ok
}

// onPaths returns a Set with one rule for each expression.
func onPaths(t testing.TB, expressions ...string) *Set {
	t.Helper()
	rules := make([]Conditions, len(expressions))
	for i, expr := range expressions {
		rules[i].Path = Path{Regex, expr}
	}
	s, err := New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// looksAt returns how many bytes of a value are looked at, at most. found answers for a value of n
// bytes.
func looksAt(found func(n int) Answer) int {
	return sort.Search(1<<20, func(n int) bool { return found(n+1) == TooLong })
}

// However many expressions there are and however large they are, what they can cost one request is
// bounded: the bytes that they look at, times the instructions of all.
func TestWorkOfRegexesIsBounded(t *testing.T) {
	for _, expressions := range [][]string{
		{`a*`},
		{`(a|b)*`},
		{strings.Repeat("a?", 100)},
		{`.*a.{400}`},
		strings.Fields(strings.Repeat(`a* `, 64)),
		strings.Fields(strings.Repeat(`(?i)(a|k)* `, 20)),
	} {
		var sum Regexes
		for _, expr := range expressions {
			if err := sum.Add(expr); err != nil {
				t.Fatal(err)
			}
		}
		s := onPaths(t, expressions...)
		n := looksAt(func(n int) Answer {
			_, found := s.First(headers{":path": strings.Repeat("a", n)})
			return found
		})
		if n*sum.instructions > regexWork || n > longestRegex {
			t.Errorf("%d expressions with %d instructions look at %d bytes", len(expressions), sum.instructions, n)
		}
		if n < regexWork/maxInstructions {
			t.Errorf("%d expressions with %d instructions look at %d bytes only", len(expressions), sum.instructions, n)
		}
	}
}

// The same for the conditions that look for a text in a header.
func TestWorkOfContainsIsBounded(t *testing.T) {
	for _, conditions := range []int{1, 8, 64, 1024} {
		var rule Conditions
		for range conditions {
			rule.Headers = append(rule.Headers, Header{"accept", Contains, "aaab"})
		}
		s, err := New([]Conditions{rule})
		if err != nil {
			t.Fatal(err)
		}
		n := looksAt(func(n int) Answer {
			_, found := s.First(headers{"accept": strings.Repeat("a", n)})
			return found
		})
		if n*conditions > containsWork {
			t.Errorf("%d conditions look at %d bytes of a header", conditions, n)
		}
		if conditions <= 8 && n < 60<<10 {
			t.Errorf("%d conditions look at %d bytes of a header, want all that Envoy accepts", conditions, n)
		}
	}
}

func TestTooLong(t *testing.T) {
	events := Conditions{Path: Path{Regex, `/events/[a-z]*/live`}, Headers: []Header{{"accept", Contains, "text/event-stream"}}}
	rules := []Conditions{
		{Path: Path{Exact, "/exact"}},
		events,
		{Path: Path{Prefix, "/events/"}},
	}
	const stream = "text/event-stream"
	long := strings.Repeat("x", longestRegex+1)
	longHeader := strings.Repeat("x", containsWork+1)
	for _, test := range []struct {
		about, path, accept string
		index               int
		found               Answer
	}{
		{"as long as may be", "/events/" + long[1:] + "/live", stream, 1, Yes},
		{"too long", "/events/" + long + "/live", stream, 1, TooLong},
		{"the query does not count", "/events/a/live?" + long, stream, 1, Yes},
		{"the fragment does not count", "/events/a/live#" + long, stream, 1, Yes},
		{"other text at the end", "/events/" + long + "/dead", stream, 2, Yes},
		{"other text at the beginning", "/other/" + long + "/live", stream, 0, No},
		{"text that overlaps", "/events/live", stream, 2, Yes},
		{"another condition fails", "/events/" + long + "/live", "text/html", 2, Yes},
		{"a long header, with the text at the beginning", "/events/a/live", stream + longHeader, 1, Yes},
		{"a long header", "/events/a/live", longHeader + stream, 1, TooLong},
		{"a long header, and another path", "/events/A/live", longHeader + stream, 2, Yes},
		{"both are too long", "/events/" + long + "/live", longHeader, 1, TooLong},
		{"an earlier rule matches", "/exact", longHeader, 0, Yes},
	} {
		s, err := New(rules)
		if err != nil {
			t.Fatal(err)
		}
		if i, found := s.First(headers{":path": test.path, "accept": test.accept}); i != test.index || found != test.found {
			t.Errorf("%s: got rule %d, %v; want rule %d, %v", test.about, i, found, test.index, test.found)
		}
	}
}

// Each expression may be small, and all together too many.
func TestTooManyRegexes(t *testing.T) {
	small := Conditions{Path: Path{Regex, `/[a-z]+/events`}}
	var sum Regexes
	if err := sum.Add(small.Path.Value); err != nil {
		t.Fatal(err)
	}
	fit := maxInstructions / sum.instructions
	rules := make([]Conditions, fit)
	for i := range rules {
		rules[i] = small
	}
	if _, err := New(rules); err != nil {
		t.Errorf("%d rules: %v", fit, err)
	}
	want := fmt.Sprintf(`rule %d: path regex "/[a-z]+/events": the regexes up to this one have %d instructions together, want at most 512`,
		fit, (fit+1)*sum.instructions)
	if _, err := New(append(rules, small)); fmt.Sprint(err) != want {
		t.Errorf("%d rules: got %v, want %s", fit+1, err, want)
	}
	wide := Conditions{Path: Path{Regex, `[` + strings.Repeat(`\pL`, 700) + `]`}}
	want = fmt.Sprintf("rule 1: path regex %q: the regexes up to this one have 4204 bytes together, want at most 4096", wide.Path.Value)
	if _, err := New([]Conditions{wide, wide}); fmt.Sprint(err) != want {
		t.Errorf("a lot of text: got %v, want %s", err, want)
	}
}

func TestAnswerString(t *testing.T) {
	for answer, want := range map[Answer]string{No: "no", Yes: "yes", TooLong: "too long", 0: "Answer(0)"} {
		if got := answer.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// What counts against maxInstructions is what the standard library makes of an expression, or a
// little more.
func FuzzInstructions(f *testing.F) {
	for _, expr := range []string{
		``, `a`, `/events`, `(?i)/events`, `[a-z]`, `.*`, `(a|b)*?`, `a+b?c{3}`, `(?:a?){4,}`, `(?:ab){2,5}`, `x{0}`, `x{0,1}`, `(?:)*`,
		`(?:a*)*`, `(?:a*)+`, `(?:(?:a{3}){4}){5}`, `(|a)*`, `[^\x00-\x{10FFFF}]`, `\bx\B`, `(?m)^a$`, `a||b`, `(?:|)`, `\pL{2}|\PN`,
		`(?:a|b|c|dd|ee){0,3}`, `(?:a|ab|abc)`, `(?:\b){3}`, `(?:[^\x00-\x{10FFFF}]{2})*`,
	} {
		f.Add(expr)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		p, middle, err := parse(expr)
		if err != nil || p.instructions > maxInstructions {
			return
		}
		tree, err := syntax.Parse(`\A(?:`+middle.String()+`)\z`, syntax.Perl)
		if err != nil {
			t.Fatalf("%q becomes %v, and that is no expression: %v", expr, middle, err)
		}
		prog, err := syntax.Compile(tree.Simplify())
		if err != nil {
			t.Fatal(err)
		}
		if len(prog.Inst) > p.instructions || p.instructions > 2*len(prog.Inst) {
			t.Errorf("%q, between the plain text %v: counted %d instructions, compiled to %d", expr, middle, p.instructions, len(prog.Inst))
		}
	})
}
