package session

// reading is the [Headers] of a request or response, read with as few calls of the host as
// possible: each is a call out of the VM, and rule, key and answer ask for several headers, some of
// them twice. The first header is read alone, because it is the only one that is needed of a
// request without a rule. Whoever asks for a second one gets all of them read; [reading.readAll]
// does so at once.
//
// It is used again for every callback.
type reading struct {
	Request // nil: a response is read

	from  Headers
	first header
	all   [][2]string // name and value; empty: not read, or the host cannot do it
}

type header struct {
	name, value string
	present     bool
}

// Header implements [Headers].
func (r *reading) Header(name string) (string, bool) {
	if r.first.name == "" && len(r.all) == 0 {
		value, present := r.from.Header(name)
		r.first = header{name, value, present}
	}
	if r.first.name == name {
		return r.first.value, r.first.present
	}
	if len(r.all) == 0 && !r.readAll() {
		return r.from.Header(name)
	}
	if name == "host" { // Envoy has it under this name
		name = ":authority"
	}
	for i := range r.all {
		if r.all[i][0] == name {
			return r.all[i][1], true
		}
	}
	return "", false
}

// readAll reads all headers in one call. It reports false if that cannot be done.
func (r *reading) readAll() (ok bool) {
	r.all, ok = r.from.AppendHeaders(r.all[:0])
	return ok && len(r.all) > 0
}

// forget drops what was read: it may name the client.
func (r *reading) forget() {
	clear(r.all)
	*r = reading{all: r.all[:0]}
}
