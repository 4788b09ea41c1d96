// Package match finds the rule that a request belongs to, and reads as few headers as possible.
//
// The filter may stand in front of every request of a listener, and nearly none of them opens an
// event stream. Reading a header is a call into Envoy that costs about as much as three empty
// callbacks, so header reads are most of what such a request costs. Each header is therefore read
// at most once per request, and only when a rule needs it. If all rules have a condition on the
// same header, that header is the gate: it is read first, and a request that fails every rule's
// conditions on it needs no second read.
package match

import "fmt"

// Request is what conditions read of a request.
type Request interface {
	// Header returns the first value of the header with this name, which is in lower case. ":path",
	// ":method", ":authority" and ":scheme" are headers too. If the request has no such header, ok
	// is false.
	Header(name string) (value string, ok bool)
}

// Op is how a condition compares a value. All comparisons are case-sensitive.
type Op int

const (
	// Exact: the value is equal.
	Exact Op = iota + 1
	// Prefix: the value begins with the condition's value.
	Prefix
	// Contains: the value contains the condition's value. For headers only.
	Contains
	// Regex: the whole value matches the expression (RE2).
	Regex
	// Present: the request has the header, perhaps with an empty value. For headers only.
	Present
	// Absent: the request does not have the header. For headers only.
	Absent

	// oneOf: the value is in a list. For methods, and inside this package only.
	oneOf
)

func (o Op) String() string {
	switch o {
	case Exact:
		return "exact"
	case Prefix:
		return "prefix"
	case Contains:
		return "contains"
	case Regex:
		return "regex"
	case Present:
		return "present"
	case Absent:
		return "absent"
	case oneOf:
		return "oneOf"
	}
	return fmt.Sprintf("Op(%d)", int(o))
}

// Conditions are the conditions of one rule. A request matches if all of them hold. The zero
// Conditions match every request.
type Conditions struct {
	Path    Path
	Methods []string // the method is one of these, case-sensitive; none: any method
	Headers []Header
}

// Path is a condition on the path without query and fragment, which is what Envoy's routes compare.
// Op is Exact, Prefix or Regex. The zero Path holds for every request; any other Path fails for a
// request without a path.
type Path struct {
	Op    Op
	Value string
}

// Header is a condition on the first value of a header. Op is Exact, Prefix, Contains, Regex,
// Present or Absent. The name may be in any case, but cannot be ":path" or ":method": those have
// conditions of their own in Conditions.
type Header struct {
	Name  string
	Op    Op
	Value string // not used by Present and Absent
}

// Set is a list of Conditions that is ready for use. It never changes, so it is safe for concurrent
// use.
type Set struct {
	headers []string // the headers that the tests read, each once
	rules   [][]test // the tests of each rule, those on the gate first

	regexBytes    int // of a value, that a Regex looks at
	containsBytes int // of a header, that a Contains looks at
}

// containsWork bounds what all conditions with Contains cost one request, as conditions × bytes:
// some 2 ns each in Envoy. With up to eight of them, each looks at all that Envoy accepts.
const containsWork = 512 << 10

// Answer says whether a request matches.
type Answer uint8

const (
	// No: it does not match.
	No Answer = iota + 1
	// Yes: it matches.
	Yes
	// TooLong: the path or a header is too long for a Regex, or a header for a Contains, and all
	// other conditions hold. So it is not known whether it matches. Do not treat it as a No: a
	// client can make a path longer.
	TooLong
)

func (a Answer) String() string {
	switch a {
	case No:
		return "no"
	case Yes:
		return "yes"
	case TooLong:
		return "too long"
	}
	return fmt.Sprintf("Answer(%d)", uint8(a))
}

func answer(holds bool) Answer {
	if holds {
		return Yes
	}
	return No
}

// maxHeadersOnStack is how many different headers a Set may read before First allocates.
const maxHeadersOnStack = 16

// First returns the index of the first Conditions that match req, or of which that is not known. If
// there are none, the answer is No.
func (s *Set) First(req Request) (index int, found Answer) {
	var buffer [maxHeadersOnStack]reading
	readings := buffer[:]
	if len(s.headers) > maxHeadersOnStack {
		readings = make([]reading, len(s.headers))
	}
	for i, tests := range s.rules {
		if found = s.matches(tests, req, readings); found != No {
			return i, found
		}
	}
	return 0, No
}

// reading caches the value of one header during one call of First.
type reading struct {
	value   string
	present bool
	done    bool // the header was read
}

func (s *Set) matches(tests []test, req Request, readings []reading) Answer {
	all := Yes
	for i := range tests {
		t := &tests[i]
		r := &readings[t.header]
		if !r.done {
			r.value, r.present = req.Header(s.headers[t.header])
			if s.headers[t.header] == pathHeader {
				r.value = withoutQuery(r.value)
			}
			r.done = true
		}
		switch s.holds(t, r.value, r.present) {
		case No:
			return No
		case TooLong:
			all = TooLong
		}
	}
	return all
}
