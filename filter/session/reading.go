package session

// reading is a [Request] that reads each header once: a read is a call out of the VM, and rule, key
// and answer ask for the same few. It is used again for every request.
type reading struct {
	Request
	headers [8]header
	n       int
}

type header struct {
	name, value string
	present     bool
}

// Header implements [Request].
func (r *reading) Header(name string) (string, bool) {
	for i := range r.n {
		if h := &r.headers[i]; h.name == name {
			return h.value, h.present
		}
	}
	value, present := r.Request.Header(name)
	if r.n < len(r.headers) {
		r.headers[r.n] = header{name, value, present}
		r.n++
	}
	return value, present
}

// forget drops what was read: it may name the client.
func (r *reading) forget() {
	clear(r.headers[:r.n])
	r.n = 0
}
