package host

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Header is one entry of a header map.
type Header struct{ Name, Value string }

// Headers is a header map: its entries in order. Names are in lower case. A name that was added
// twice has two entries. Pseudo headers such as ":path" are ordinary entries.
type Headers []Header

// Request returns request headers: the pseudo headers, and then names and values in turn. A pseudo
// header among the pairs, like ":authority", takes the place of the one that Request has made. It
// panics if the last name has no value.
func Request(method, path string, pairs ...string) Headers {
	return withPairs(Headers{
		{":method", method}, {":path", path}, {":scheme", "http"}, {":authority", "example.test"},
	}, pairs)
}

// Response returns response headers: ":status", and then names and values in turn. It panics if the
// last name has no value.
func Response(status int, pairs ...string) Headers {
	return withPairs(Headers{{":status", strconv.Itoa(status)}}, pairs)
}

func withPairs(h Headers, pairs []string) Headers {
	if len(pairs)%2 != 0 {
		panic(fmt.Sprintf("host: headers %q: want a value for every name", pairs))
	}
	for i := 0; i < len(pairs); i += 2 {
		if strings.HasPrefix(pairs[i], ":") {
			h.replace(pairs[i], pairs[i+1])
		} else {
			h.add(pairs[i], pairs[i+1])
		}
	}
	return h
}

// Get returns the first value of a header, and whether there is one.
func (h Headers) Get(name string) (string, bool) {
	name = strings.ToLower(name)
	for _, e := range h {
		if e.Name == name {
			return e.Value, true
		}
	}
	return "", false
}

// Values returns all values of a header, in order.
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

// has reports whether there are entries of all these names.
func (h Headers) has(names ...string) bool {
	for _, name := range names {
		if _, ok := h.Get(name); !ok {
			return false
		}
	}
	return true
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

// replace sets the first entry of a name and removes the other ones. If there is none, it adds one.
// Envoy calls this setCopy.
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

// byteSize returns the number of bytes of all names and values, which is what
// proxy_get_header_map_size returns.
func (h Headers) byteSize() uint32 {
	n := 0
	for _, e := range h {
		n += len(e.Name) + len(e.Value)
	}
	return uint32(n)
}
