package match

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// The standard library tries, for each byte of a value, up to all instructions that an expression
// was compiled to: in Envoy up to 70 ns each. A path of 50 KB and 64 expressions would hold a
// worker for seconds. So the product of both is bounded: the more instructions all expressions of a
// Set have together, the fewer bytes of a value they look at. If a value has more, it is not known
// whether it matches, and the answer is TooLong.
const (
	regexWork    = 64 << 10 // instructions × bytes that one request may cost
	longestRegex = 1 << 10  // bytes of a value, however few instructions there are

	maxInstructions = 512     // of all expressions together
	maxExpressions  = 4 << 10 // bytes of all expressions together: a Unicode class of 3 bytes takes 15 KB to parse
)

// Regexes adds up the regexes of a configuration, of paths and of headers.
type Regexes struct {
	bytes, instructions int
}

// Add adds one. It returns an error if New would refuse the expression after those that were added
// before. That they are too large together is said once. The error does not repeat the expression.
func (r *Regexes) Add(expr string) error {
	_, _, err := r.add(expr)
	return err
}

// add also returns the pattern of expr, and its middle that is not compiled yet.
func (r *Regexes) add(expr string) (p pattern, middle *syntax.Regexp, err error) {
	if r.bytes > maxExpressions || r.instructions > maxInstructions {
		return p, nil, nil // an error was returned before
	}
	if r.bytes += len(expr); r.bytes > maxExpressions {
		return p, nil, fmt.Errorf("the regexes up to this one have %d bytes together, want at most %d", r.bytes, maxExpressions)
	}
	p, middle, err = parse(expr)
	if r.instructions += p.instructions; err == nil && r.instructions > maxInstructions {
		err = fmt.Errorf("the regexes up to this one have %d instructions together, want at most %d", r.instructions, maxInstructions)
	}
	return p, middle, err
}

// compile adds an expression and makes it ready for use.
func (r *Regexes) compile(expr string) (*pattern, error) {
	p, middle, err := r.add(expr)
	if err != nil {
		return nil, err
	}
	p.middle, err = regexp.Compile(`\A(?:` + middle.String() + `)\z`)
	return &p, withoutExpr(err)
}

// pattern is an expression that matches whole values. Plain text at its beginning and its end is
// compared as text. That is fast, it is what tells most paths apart, and it takes no instruction.
type pattern struct {
	prefix, suffix string
	middle         *regexp.Regexp // anchored at both ends
	instructions   int            // at least as many as middle is compiled to
}

// matches reports whether p matches value. It looks at no more than most bytes besides the plain
// text.
func (p *pattern) matches(value string, most int) Answer {
	middle, begins := strings.CutPrefix(value, p.prefix)
	middle, ends := strings.CutSuffix(middle, p.suffix)
	switch {
	case !begins || !ends:
		return No
	case len(middle) > most:
		return TooLong
	}
	return answer(p.middle.MatchString(middle))
}

// parse returns the pattern of expr, and the middle that is not compiled yet.
func parse(expr string) (p pattern, middle *syntax.Regexp, err error) {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return p, nil, withoutExpr(err)
	}
	parts := []*syntax.Regexp{withoutGroups(tree)}
	if parts[0].Op == syntax.OpConcat {
		parts = parts[0].Sub
	}
	// The whole value must match, so the anchors of expr itself say nothing new.
	for len(parts) > 0 && parts[0].Op == syntax.OpBeginText {
		parts = parts[1:]
	}
	for len(parts) > 0 && parts[len(parts)-1].Op == syntax.OpEndText {
		parts = parts[:len(parts)-1]
	}
	if len(parts) > 0 && isPlain(parts[0]) && !anyLooksAround(parts[1:]) {
		p.prefix, parts = string(parts[0].Rune), parts[1:]
	}
	if last := len(parts) - 1; last >= 0 && isPlain(parts[last]) && !anyLooksAround(parts[:last]) {
		p.suffix, parts = string(parts[last].Rune), parts[:last]
	}
	middle = &syntax.Regexp{Op: syntax.OpConcat, Sub: parts}
	const around = 4 // both anchors, the match and the failure
	p.instructions = instructions(middle) + around
	return p, middle, nil
}

// withoutGroups removes what only tells where a group has matched.
func withoutGroups(re *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpCapture {
		return withoutGroups(re.Sub[0])
	}
	for i, sub := range re.Sub {
		re.Sub[i] = withoutGroups(sub)
	}
	return re
}

// isPlain reports whether re matches one text only. It must be ASCII: in a path that is not UTF-8,
// an expression takes each strange byte for U+FFFD.
func isPlain(re *syntax.Regexp) bool {
	if re.Op != syntax.OpLiteral || re.Flags&syntax.FoldCase != 0 {
		return false
	}
	for _, r := range re.Rune {
		if r >= 0x80 {
			return false
		}
	}
	return true
}

// anyLooksAround reports whether a part depends on the bytes before or after what it matches.
func anyLooksAround(parts []*syntax.Regexp) bool {
	for _, re := range parts {
		switch re.Op {
		case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
			syntax.OpWordBoundary, syntax.OpNoWordBoundary:
			return true
		}
		if anyLooksAround(re.Sub) {
			return true
		}
	}
	return false
}

// instructions returns at least as many instructions as re is compiled to. It counts them in the
// expression, because a repetition may make millions.
func instructions(re *syntax.Regexp) (n int) {
	for _, sub := range re.Sub {
		n += instructions(sub)
	}
	switch re.Op {
	case syntax.OpLiteral:
		return max(1, len(re.Rune))
	case syntax.OpStar:
		return n + 2
	case syntax.OpPlus, syntax.OpQuest:
		return n + 1
	case syntax.OpRepeat:
		if re.Max < 0 {
			return max(1, re.Min)*n + 2
		}
		return max(1, re.Max*n+re.Max-re.Min)
	case syntax.OpAlternate:
		return n + len(re.Sub) - 1
	}
	return max(1, n)
}

// withoutExpr returns an error of package syntax without the expression that it quotes.
func withoutExpr(err error) error {
	var invalid *syntax.Error
	if errors.As(err, &invalid) {
		return errors.New(invalid.Code.String())
	}
	return err
}
