package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A value is a node on its way into a Config. Its methods return what the
// schema wants of it, or report a fault and return false.
type value struct {
	node
	path   string // "" is the whole configuration
	faults *faults
}

func (v value) fault(format string, args ...any) { v.faults.add(v.path, format, args...) }

// member is the value of a key of an object, or the place of a missing one.
func (v value) member(key string, n node) value {
	if v.path != "" {
		key = v.path + "." + key
	}
	return value{node: n, path: key, faults: v.faults}
}

// need says whether a field has to be there.
type need int

const (
	optional need = iota + 1
	required
	// choice marks the fields of an object of which it has exactly one.
	choice
)

// A field is what an object may hold under one name: how that is documented,
// and how it is read into the object's Go form, where the default stands
// already.
type field[T any] struct {
	name     string
	need     need
	standard string // the default, or what is wanted of a required field
	meaning  string
	read     func(v value, into *T)
}

// readObject reads the members of v in the order of the document. What does
// not depend on T is apart: each kind of object would have its own copy, 32 KB
// in all.
func readObject[T any](v value, fields []field[T], into *T) {
	known := make([]entry, len(fields))
	for i, f := range fields {
		known[i] = entry{f.name, f.need, f.standard}
	}
	v.readMembers(known, func(i int, member value) { fields[i].read(member, into) })
}

// An entry is a field without its type.
type entry struct {
	name     string
	need     need
	standard string
}

// readMembers calls read for each member whose key is known, with the index of
// its entry.
func (v value) readMembers(entries []entry, read func(i int, member value)) {
	if v.kind != object {
		v.fault("found %v, want an object", v.node)
		return
	}
	known := names(entries)
	given := make([]bool, len(entries))
	misspelt := make([]bool, len(entries))
	strangers := false
	for _, m := range v.members {
		i := slices.Index(known, m.key)
		switch {
		case i < 0:
			strangers = true
			if meant := v.unknown(m.key, known); meant >= 0 {
				misspelt[meant] = true
			}
		case given[i]:
			v.member(m.key, m.value).fault("given more than once")
		default:
			given[i] = true
			read(i, v.member(m.key, m.value))
		}
	}

	var chosen, choosable []string
	for i, e := range entries {
		switch e.need {
		case required:
			if !given[i] && !misspelt[i] {
				v.member(e.name, node{}).fault("missing, want %s", e.standard)
			}
		case choice:
			choosable = append(choosable, e.name)
			if given[i] {
				chosen = append(chosen, e.name)
			}
		}
	}
	switch {
	case len(choosable) == 0, len(chosen) == 1, len(chosen) == 0 && strangers:
	case len(chosen) == 0:
		v.fault("nothing given, want exactly one of %s", choices(choosable))
	default:
		v.fault("%d given (%s), want exactly one of %s", len(chosen), strings.Join(chosen, ", "), choices(choosable))
	}
}

func names(entries []entry) []string {
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.name
	}
	return names
}

// unknown reports a key that is not known and returns the index of the one that
// it must be a misspelling of, or -1.
func (v value) unknown(key string, known []string) (meant int) {
	letters := plain(key)
	meant = slices.IndexFunc(known, func(name string) bool { return plain(name) == letters })
	if meant >= 0 {
		v.fault("unknown field %s, did you mean %q", quote(key), known[meant])
	} else {
		v.fault("unknown field %s, want %s", quote(key), choices(known))
	}
	return meant
}

// plain is what is left of a key without its case and word breaks: maxStreams
// and MAX-STREAMS are max_streams misspelt.
func plain(key string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return unicode.ToLower(r)
	}, key)
}

// list returns the items of a list that holds least to most of them. Those past
// most are not looked at.
func (v value) list(least, most int) []value {
	if v.kind != list {
		v.fault("found %v, want a list", v.node)
		return nil
	}
	if len(v.items) < least || len(v.items) > most {
		v.fault("found %d items, want %d to %d", len(v.items), least, most)
	}
	items := make([]value, min(len(v.items), most))
	for i := range items {
		items[i] = value{node: v.items[i], path: v.path + "[" + strconv.Itoa(i) + "]", faults: v.faults}
	}
	return items
}

// text returns a string that is valid, which wanted describes.
func (v value) text(wanted string, valid func(string) bool) (string, bool) {
	switch {
	case v.kind != text:
		v.fault("found %v, want %s", v.node, wanted)
	case !valid(v.content):
		v.fault("found %s, want %s", quote(v.content), wanted)
	default:
		return v.content, true
	}
	return "", false
}

// integer returns a whole number from least to most. 1, 1.0 and 1e0 are the
// same number: a Struct holds doubles and says nothing of their spelling.
func (v value) integer(least, most int) (int, bool) {
	if v.kind == number {
		// The error is for numbers past the range of doubles; they come back
		// infinite and fail the test below.
		f, _ := strconv.ParseFloat(v.content, 64)
		if f == math.Trunc(f) && f >= float64(least) && f <= float64(most) {
			return int(f), true
		}
	}
	v.fault("found %v, want a whole number from %d to %d", v.node, least, most)
	return 0, false
}

func (v value) boolean() (truth, ok bool) {
	if v.kind != boolean {
		v.fault("found %v, want true or false", v.node)
		return false, false
	}
	return v.truth, true
}

// enum returns the one of all whose String is the text of v.
func enum[E interface{ String() string }](v value, all ...E) (e E, ok bool) {
	words := make([]string, len(all))
	for i := range all {
		words[i] = all[i].String()
	}
	if v.kind != text {
		v.fault("found %v, want %s", v.node, choices(words))
		return e, false
	}
	i := slices.Index(words, v.content)
	if i < 0 {
		v.fault("%s is not supported, want %s", quote(v.content), choices(words))
		return e, false
	}
	return all[i], true
}
