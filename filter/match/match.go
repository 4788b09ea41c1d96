// Package match finds the rule that a request belongs to, reading as few of
// its headers as it can.
//
// The filter stands in front of every request, and nearly none of them opens an
// event stream. A header read is a call into Envoy that costs about three empty
// callbacks, so reads are what a miss costs. Each header is therefore read at
// most once a request, only when a rule needs it, and if all rules constrain
// one header in common, that one, the gate, is asked first: a request that fits
// no rule by it is done after one read.
package match

import "strconv"

// Request is the part of a request that conditions read.
type Request interface {
	// Header returns the first value of the header with this lower-case name;
	// ":path", ":method", ":authority" and ":scheme" are headers too. ok is
	// false if the request has no such header.
	Header(name string) (value string, ok bool)
}

// Op is how a condition compares. All comparisons heed case.
type Op int

const (
	// Exact holds for the same value.
	Exact Op = iota + 1
	// Prefix holds for a value that begins so.
	Prefix
	// Contains holds for a value that has it anywhere; for headers only.
	Contains
	// Regex holds for a value that matches as a whole (RE2); for paths only.
	Regex
	// Present holds if the header is there, even if empty; for headers only.
	Present
	// Absent holds if the header is not there; for headers only.
	Absent

	// oneOf is how a list of methods compares.
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
	return "Op(" + strconv.Itoa(int(o)) + ")"
}

// Conditions are what a rule wants of a request. All must hold; none at all
// hold for every request.
type Conditions struct {
	Path    Path
	Methods []string // any of them, in their exact case
	Headers []Header
}

// Path is a condition on the path without query and fragment, as a route of
// Envoy sees it: Exact, Prefix or Regex. The zero Path holds for every request;
// any other fails for a request without a path.
type Path struct {
	Op    Op
	Value string
}

// Header is a condition on the first value of a header: Exact, Prefix,
// Contains, Present or Absent. The name may be in any case. Path and method
// have conditions of their own and cannot be named here.
type Header struct {
	Name  string
	Op    Op
	Value string // unused by Present and Absent
}

// Set is a list of conditions made ready for use. It never changes, so it may
// be shared.
type Set struct {
	headers []string // every header that is read, once each
	rules   [][]test // the tests of each rule, those on the gate first
}

// inline is how many different headers a Set may read before First has to
// allocate.
const inline = 16

// First returns the index of the first of the Conditions that hold for req, and
// false if none do.
func (s *Set) First(req Request) (index int, ok bool) {
	var buffer [inline]reading
	readings := buffer[:]
	if len(s.headers) > inline {
		readings = make([]reading, len(s.headers))
	}
	for i, tests := range s.rules {
		if s.hold(tests, req, readings) {
			return i, true
		}
	}
	return 0, false
}

// reading is what a header held, once it has been read.
type reading struct {
	value   string
	present bool
	done    bool
}

func (s *Set) hold(tests []test, req Request, readings []reading) bool {
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
		if !t.holds(r.value, r.present) {
			return false
		}
	}
	return true
}
