package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A value is a node with its path. Its methods return what the schema wants, or report a fault and
// return false.
type value struct {
	node
	path   string // such as rules[0].match; "" is the whole configuration
	faults *faults
}

func (v value) fault(format string, args ...any) { v.faults.add(v.path, format, args...) }

// member returns the value of a member of v. For a missing member, n is the zero node.
func (v value) member(key string, n node) value {
	if v.path != "" {
		key = v.path + "." + key
	}
	return value{node: n, path: key, faults: v.faults}
}

// need says whether a field must be given.
type need int

const (
	optional need = iota + 1
	required
	// choice: exactly one of the object's choice fields must be given.
	choice
)

// A field is one field of a kind of object: its documentation, and how to read it into T, the Go
// form of the object. T holds the default before read is called.
type field[T any] struct {
	name     string
	need     need
	fallback string // the default, as text; for a required field, what is wanted
	meaning  string
	read     func(v value, into *T)
}

// readObject reads the members of v into an object, in the order of the document.
func readObject[T any](v value, fields []field[T], into *T) {
	if v.kind != object {
		v.fault("found %v, want an object", v.node)
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	given := make([]bool, len(fields))
	misspelled := make([]bool, len(fields))
	unknown := false
	for _, m := range v.members {
		i := slices.Index(names, m.key)
		switch {
		case i < 0:
			unknown = true
			if meant := v.reportUnknown(m.key, names); meant >= 0 {
				misspelled[meant] = true
			}
		case given[i]:
			v.member(m.key, m.value).fault("found more than once, want it once")
		default:
			given[i] = true
			fields[i].read(v.member(m.key, m.value), into)
		}
	}

	var chosen, alternatives []string
	for i, f := range fields {
		switch f.need {
		case required:
			if !given[i] && !misspelled[i] {
				v.member(f.name, node{}).fault("missing, want %s", f.fallback)
			}
		case choice:
			alternatives = append(alternatives, f.name)
			if given[i] {
				chosen = append(chosen, f.name)
			}
		}
	}
	switch {
	case len(alternatives) == 0, len(chosen) == 1:
	case len(chosen) > 1:
		v.fault("found %d (%s), want exactly one of %v", len(chosen), strings.Join(chosen, ", "), choices(alternatives))
	case !unknown: // an unknown field is reported already, and was probably meant as one of these
		v.fault("found none, want exactly one of %v", choices(alternatives))
	}
}

// reportUnknown reports a key that is not one of names. It returns the index of the name that the
// key is a misspelling of, or -1.
func (v value) reportUnknown(key string, names []string) (meant int) {
	letters := lettersOf(key)
	meant = slices.IndexFunc(names, func(name string) bool { return lettersOf(name) == letters })
	if meant >= 0 {
		v.fault("unknown field %v, did you mean %q", quoted(key), names[meant])
	} else {
		v.fault("unknown field %v, want %v", quoted(key), choices(names))
	}
	return meant
}

// lettersOf returns key in lower case and without word breaks. So maxStreams and MAX-STREAMS are
// recognized as misspellings of max_streams.
func lettersOf(key string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return unicode.ToLower(r)
	}, key)
}

// list returns the items of a list, which must have from atLeast to atMost items. It returns no
// more than atMost.
func (v value) list(atLeast, atMost int) []value {
	if v.kind != list {
		v.fault("found %v, want a list", v.node)
		return nil
	}
	if len(v.items) < atLeast || len(v.items) > atMost {
		v.fault("found %d items, want %d to %d", len(v.items), atLeast, atMost)
	}
	items := make([]value, min(len(v.items), atMost))
	for i := range items {
		items[i] = value{node: v.items[i], path: fmt.Sprintf("%s[%d]", v.path, i), faults: v.faults}
	}
	return items
}

// text returns a string for which valid is true. wanted describes such a string.
func (v value) text(wanted string, valid func(string) bool) (string, bool) {
	if v.kind != text || !valid(v.content) {
		v.fault("found %v, want %s", v.node, wanted)
		return "", false
	}
	return v.content, true
}

// integer returns a whole number from lowest to highest. 1, 1.0 and 1e0 are the same number,
// because a Struct holds doubles and does not keep how they were written.
func (v value) integer(lowest, highest int) (int, bool) {
	if v.kind == number {
		// A number that is too large for a double is infinite here, with an error, and fails the
		// comparison.
		f, _ := strconv.ParseFloat(v.content, 64)
		if f == math.Trunc(f) && f >= float64(lowest) && f <= float64(highest) {
			return int(f), true
		}
	}
	v.fault("found %v, want a whole number from %d to %d", v.node, lowest, highest)
	return 0, false
}

func (v value) boolean() (truth, ok bool) {
	if v.kind != boolean {
		v.fault("found %v, want true or false", v.node)
		return false, false
	}
	return v.truth, true
}

// enum returns the element of all whose String is the text of v.
func enum[E fmt.Stringer](v value, all ...E) (e E, ok bool) {
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].String()
	}
	i := slices.Index(names, v.content)
	if v.kind != text || i < 0 {
		v.fault("found %v, want %v", v.node, choices(names))
		return e, false
	}
	return all[i], true
}
