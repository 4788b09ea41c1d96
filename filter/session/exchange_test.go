//go:build !wasip1

package session

import (
	"errors"
	"maps"
	"strings"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// exchange is one request and its response, as Envoy and its client see it.
type exchange struct {
	host     *fakeHost
	id       uint32
	stream   *Stream // nil: the filter wants to know no more of it
	action   Action  // of the last callback that returned one
	waits    bool    // the request is paused
	request  fields
	response fields
	reply    *answer // the filter's own
	chunk    string  // the part of the body that is passing
	passed   string  // all of the body that has reached the client
	reason   string  // in the access log
	details  string  // how Envoy says that it ended
	resets   int
	ended    ending
}

// answer is a response that the filter has made.
type answer struct {
	status  uint32
	headers fields
	body    string
}

// ending is how an exchange has ended.
type ending string

const (
	byReset  ending = "reset"
	byClient ending = "hung up"
)

// fields are headers. Those of a request also hold Envoy's attributes, whose parts dots join.
type fields map[string]string

func (f fields) Header(name string) (string, bool) {
	value, ok := f[name]
	return value, ok
}

func (f fields) AppendHeaders(dst [][2]string) ([][2]string, bool) {
	for name, value := range f {
		dst = append(dst, [2]string{name, value})
	}
	return dst, true
}

func (f fields) Property(path ...string) (string, bool) { return f.Header(strings.Join(path, ".")) }

func (f fields) Body(int) ([]byte, error) {
	if body, ok := f["body"]; ok {
		return []byte(body), nil
	}
	return nil, errors.New("this request has no body")
}

// with returns f with some more fields, each a name and a value.
func (f fields) with(more ...string) fields {
	all := maps.Clone(f)
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// get is an EventSource's request without a key, and eventStream the response that it hopes for.
var (
	get = fields{":method": "GET", ":path": "/events", ":authority": "example.com", "accept": "text/event-stream",
		"cache-control": "no-cache", "pragma": "no-cache"}
	eventStream = fields{":status": "200", "content-type": "text/event-stream"}
)

// send makes a request on a worker.
func (h *fakeHost) send(request fields) *exchange {
	h.t.Helper()
	h.streams++
	x := &exchange{host: h, id: h.streams, request: request}
	h.live[x.id] = x
	_, body := request["body"]
	h.call(inRequest, x, func() { x.stream, x.action = h.worker.Request(x.id, !body) })
	x.waits = x.action == Pause && x.reply == nil
	return x
}

// ask makes a request of a client.
func (h *fakeHost) ask(client string, more ...string) *exchange {
	h.t.Helper()
	return h.send(get.with("x-client-id", client).with(more...))
}

// open makes a request of a client, which is answered with an event stream.
func (h *fakeHost) open(client string, more ...string) *exchange {
	h.t.Helper()
	x := h.ask(client, more...)
	x.answer(eventStream)
	return x
}

// openContended opens a stream whose claim loses every race, so that it is left to a tick.
func (h *fakeHost) openContended(client string, more ...string) *exchange {
	h.t.Helper()
	h.breaks("set", "/b/", registry.ErrCasMismatch)
	defer h.mend()
	x := h.open(client, more...)
	if x.ended != "" || x.reply != nil {
		h.t.Fatalf("a contended claim of %s is not allowed", client)
	}
	return x
}

// admin makes a request for the admin path /admin and returns the answer.
func (h *fakeHost) admin(method, path string, more ...string) answer {
	h.t.Helper()
	x := h.send(fields{":method": method, ":path": path}.with(more...))
	if x.reply == nil || x.action != Pause || x.stream != nil {
		h.t.Fatalf("%s %s: reply %v, action %d, want an answer", method, path, x.reply, x.action)
	}
	return *x.reply
}

// answer gives the backend's response headers to the filter.
func (x *exchange) answer(response fields) {
	x.host.t.Helper()
	x.answerWith(response, false)
}

func (x *exchange) answerWith(response fields, endOfStream bool) {
	x.host.t.Helper()
	if x.waits || x.reply != nil {
		x.host.t.Fatalf("stream %d cannot have a response: the backend has no request", x.id)
	}
	if x.response = response; x.stream != nil {
		x.host.call(inResponse, x, func() { x.action = x.stream.Response(endOfStream) })
	}
}

// send passes a part of the response's body, and returns what the client gets of it.
func (x *exchange) send(chunk string, endOfStream bool) (passed string) {
	x.host.t.Helper()
	x.chunk = chunk
	if x.stream != nil {
		x.host.call(inBody, x, func() { x.stream.ResponseBody(len(chunk), endOfStream) })
	}
	x.passed += x.chunk
	return x.chunk
}

// end is the end of the stream, of which Envoy tells.
func (x *exchange) end(how ending) {
	x.host.t.Helper()
	x.ended = how
	if x.stream != nil {
		x.host.call(inDone, x, x.stream.End)
	}
	delete(x.host.live, x.id)
}

// cut is the end of the stream by Envoy itself.
func (x *exchange) cut(details string) {
	x.host.t.Helper()
	x.details = details
	x.end(byReset)
}

// vanish is the end of a stream of which nobody tells, as over HTTP/3.
func (x *exchange) vanish() {
	x.ended = byClient
	delete(x.host.live, x.id)
}

// Header implements [Response].
func (x *exchange) Header(name string) (string, bool) {
	x.host.only("Header of a response", inResponse)
	return x.response.Header(name)
}

// AppendHeaders implements [Response].
func (x *exchange) AppendHeaders(dst [][2]string) ([][2]string, bool) {
	x.host.only("AppendHeaders of a response", inResponse)
	return x.response.AppendHeaders(dst)
}

// Body implements [Response].
func (x *exchange) Body(offset, size int) ([]byte, error) {
	x.host.only("Body", inBody)
	if err := x.host.failure("body", ""); err != nil {
		return nil, err
	}
	return []byte(x.chunk[offset : offset+size]), nil
}

// AppendBody implements [Response].
func (x *exchange) AppendBody(data []byte) error {
	x.host.only("AppendBody", inBody)
	if err := x.host.failure("append", ""); err != nil {
		return err
	}
	x.chunk += string(data)
	return nil
}

// DropBody implements [Response].
func (x *exchange) DropBody() error {
	x.host.only("DropBody", inBody)
	x.chunk = ""
	return nil
}
