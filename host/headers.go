package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Header is one entry of a header map.
type Header struct{ Name, Value string }

// Headers is a header map: entries in order, names in lower case, a name as
// often as it was added. Pseudo headers (":path") are entries like any other.
type Headers []Header

// Request builds request headers: the pseudo headers, then name-value pairs.
// It panics on an odd number of pairs.
func Request(method, path string, pairs ...string) Headers {
	return headersOf(Headers{
		{":method", method}, {":path", path}, {":scheme", "http"}, {":authority", "example.test"},
	}, pairs)
}

// Response builds response headers: the status, then name-value pairs. It
// panics on an odd number of pairs.
func Response(status int, pairs ...string) Headers {
	return headersOf(Headers{{":status", strconv.Itoa(status)}}, pairs)
}

func headersOf(h Headers, pairs []string) Headers {
	if len(pairs)%2 != 0 {
		panic(fmt.Sprintf("host: headers want names with values, got an odd list %q", pairs))
	}
	for i := 0; i < len(pairs); i += 2 {
		h.add(pairs[i], pairs[i+1])
	}
	return h
}

// Get returns the first value of name, and whether there is one.
func (h Headers) Get(name string) (string, bool) {
	name = strings.ToLower(name)
	for _, e := range h {
		if e.Name == name {
			return e.Value, true
		}
	}
	return "", false
}

// Values returns all values of name, in order.
func (h Headers) Values(name string) []string {
	name = strings.ToLower(name)
	var values []string
	for _, e := range h {
		if e.Name == name {
			values = append(values, e.Value)
		}
	}
	return values
}

// normalized returns a copy with all names in lower case.
func (h Headers) normalized() Headers {
	out := slices.Clone(h)
	for i := range out {
		out[i].Name = strings.ToLower(out[i].Name)
	}
	return out
}

func (h *Headers) add(name, value string) {
	*h = append(*h, Header{strings.ToLower(name), value})
}

// replace sets the first entry of name, removes its others, and adds the entry
// if there was none: Envoy's setCopy.
func (h *Headers) replace(name, value string) {
	name = strings.ToLower(name)
	i := slices.IndexFunc(*h, func(e Header) bool { return e.Name == name })
	if i < 0 {
		h.add(name, value)
		return
	}
	(*h)[i].Value = value
	rest := slices.DeleteFunc((*h)[i+1:], func(e Header) bool { return e.Name == name })
	*h = (*h)[:i+1+len(rest)]
}

func (h *Headers) remove(name string) {
	name = strings.ToLower(name)
	*h = slices.DeleteFunc(*h, func(e Header) bool { return e.Name == name })
}

// byteSize is what get_header_map_size answers: the bytes of names and values,
// not a count.
func (h Headers) byteSize() uint32 {
	n := 0
	for _, e := range h {
		n += len(e.Name) + len(e.Value)
	}
	return uint32(n)
}
