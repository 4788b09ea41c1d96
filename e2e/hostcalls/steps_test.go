package hostcalls

import (
	stdcontext "context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/host"
)

// The steps of a dialogue. Pairs are words "name=value".
//
//	body TEXT           the client sends a part of the body
//	end                 the client ends the request
//	trailers PAIRS      the client ends the request with trailers
//	leave               the client resets the stream
//	other SCRIPT        another request makes hostcalls in this stream; "|" separates them
//	wait                time passes
//	respond CODE PAIRS  the upstream sends response headers
//	data TEXT           the upstream sends a part of the body
//	finish              the upstream ends the response
//	close PAIRS         the upstream ends the response with trailers
const (
	stepBody     = "body"
	stepEnd      = "end"
	stepTrailers = "trailers"
	stepLeave    = "leave"
	stepOther    = "other"
	stepWait     = "wait"
	stepRespond  = "respond"
	stepData     = "data"
	stepFinish   = "finish"
	stepClose    = "close"
)

// pairsOf reads words "name=value".
func pairsOf(words string) (h host.Headers) {
	for _, word := range strings.Fields(words) {
		name, value, _ := strings.Cut(word, "=")
		h = append(h, host.Header{Name: name, Value: value})
	}
	return h
}

// respond reads the words of a response's headers.
func respondOf(words string) (status int, h host.Headers) {
	code, rest, _ := strings.Cut(words, " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		panic(err)
	}
	return status, pairsOf(rest)
}

// aWhile is how much time passes in a step "wait": more than every period and time-out of the
// scripts.
const aWhile = time.Second

// takeStep takes a step on the test host.
func takeStep(h *hostStage, s *host.Stream, text string, others *others) {
	step, rest, _ := strings.Cut(text, " ")
	switch step {
	case stepBody:
		s.RequestBody([]byte(rest), false)
	case stepEnd:
		s.RequestBody(nil, true)
	case stepTrailers:
		s.RequestTrailers(pairsOf(rest))
	case stepLeave:
		s.End()
	case stepOther:
		other := h.world.Worker(0).Open(append(host.Request("GET", "/other"), others.next(rest)...))
		other.RequestHeaders(true)
		other.ResponseHeaders(host.Response(200), true)
	case stepWait:
		h.world.Advance(aWhile)
	case stepRespond:
		status, headers := respondOf(rest)
		s.ResponseHeaders(append(host.Response(status), headers...), false)
	case stepData:
		s.ResponseBody([]byte(rest), false)
	case stepFinish:
		s.ResponseBody(nil, true)
	case stepClose:
		s.ResponseTrailers(pairsOf(rest))
	default:
		panic("unknown step " + text)
	}
}

// others are the other requests of a dialogue.
type others struct{ stream, newest int }

// next returns the headers of the next one. Its script acts on the dialogue's stream when its
// response arrives. By then everything has arrived that the client and the upstream had sent
// before: they send it on the same connections.
func (o *others) next(script string) host.Headers {
	o.newest++
	script = fmt.Sprintf("effective %d; %s", o.stream, strings.ReplaceAll(script, " | ", "; "))
	return host.Headers{{Name: "on-response-headers", Value: script}}
}

// ofTest returns the entries that the scripts and the steps have made, as words.
func ofTest(h host.Headers) string {
	var b strings.Builder
	h = slices.Clone(h) // what goes through Go's maps has lost its order
	slices.SortStableFunc(h, func(a, b host.Header) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range h {
		if strings.HasPrefix(e.Name, "x-") && !strings.HasPrefix(e.Name, "x-forwarded-") && !strings.HasPrefix(e.Name, "x-request-") &&
			!strings.HasPrefix(e.Name, "x-envoy-") {
			fmt.Fprintf(&b, " %s=%s", e.Name, e.Value)
		}
	}
	return b.String()
}

// upstreamGot tells what the upstream has got.
func upstreamGot(m host.Message) string {
	if m.Headers == nil {
		return "upstream: nothing"
	}
	path, _ := m.Headers.Get(":path")
	return fmt.Sprintf("upstream: %s%s, body %q, trailers%s, complete %v", path, ofTest(m.Headers), m.Body, ofTest(m.Trailers), m.Complete)
}

// clientGot tells what the client of a stream has got.
func clientGot(s *host.Stream) string {
	m := s.ToClient()
	if m.Headers == nil {
		return responseGot("", nil, nil, nil, s.Ending() == host.Completed)
	}
	status, _ := m.Headers.Get(":status")
	return responseGot(status, m.Headers, m.Body, m.Trailers, m.Complete)
}

func responseGot(status string, h host.Headers, body []byte, trailers host.Headers, complete bool) string {
	if status == "" {
		return "client: nothing"
	}
	return fmt.Sprintf("client: %s%s, body %q, trailers%s, complete %v", status, ofTest(h), body, ofTest(trailers), complete)
}

// stepBackend is the upstream of the real Envoy. If a request has no steps, it answers 200 without
// a body.
type stepBackend struct {
	mu  sync.Mutex
	now *conversation // nil: none
}

// A conversation is a dialogue with steps in Envoy.
type conversation struct {
	mu       sync.Mutex
	upstream host.Message // what the upstream has got
	status   string       // what the client has got
	response host.Message

	steps chan string // of the upstream
	taken chan struct{}
}

func (b *stepBackend) set(c *conversation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = c
}

func (b *stepBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	c := b.now
	b.mu.Unlock()
	if c == nil || r.URL.Path == "/other" {
		return
	}
	c.mu.Lock()
	c.upstream.Headers = append(host.Headers{{Name: ":path", Value: r.URL.String()}}, headersOf(r.Header)...)
	c.mu.Unlock()
	go func() {
		err := collect(r.Body, &c.mu, &c.upstream.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.upstream.Complete = err == nil
		c.upstream.Trailers = headersOf(r.Trailer)
	}()
	flush := w.(http.Flusher).Flush
	for {
		var text string
		select {
		case text = <-c.steps:
		case <-r.Context().Done():
			return
		}
		step, rest, _ := strings.Cut(text, " ")
		switch step {
		case stepRespond:
			status, headers := respondOf(rest)
			w.Header()["Date"] = nil
			for _, h := range headers {
				w.Header().Add(h.Name, h.Value)
			}
			w.WriteHeader(status)
			flush()
		case stepData:
			io.WriteString(w, rest)
			flush()
		case stepClose:
			for _, h := range pairsOf(rest) {
				w.Header().Add(http.TrailerPrefix+h.Name, h.Value)
			}
			fallthrough
		case stepFinish:
			c.taken <- struct{}{}
			return
		}
		c.taken <- struct{}{}
	}
}

// headersOf returns the entries, in any order of the names.
func headersOf(h http.Header) (all host.Headers) {
	for name, values := range h {
		for _, value := range values {
			all = append(all, host.Header{Name: strings.ToLower(name), Value: value})
		}
	}
	return all
}

// collect reads everything. It returns nil at a proper end.
func collect(r io.Reader, mu *sync.Mutex, into *[]byte) error {
	part := make([]byte, 1<<16)
	for {
		n, err := r.Read(part)
		mu.Lock()
		*into = append(*into, part[:n]...)
		mu.Unlock()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// converse plays a dialogue with steps over HTTP/2. It returns what the upstream and the client
// have got.
func (e *envoyStage) converse(t *testing.T, d dialogue, id int, want record) []string {
	t.Helper()
	c := &conversation{steps: make(chan string), taken: make(chan struct{})}
	e.backend.set(c)
	defer e.backend.set(nil)
	ctx, leave := stdcontext.WithCancel(t.Context())
	defer leave()
	body := &partBody{parts: make(chan string), idle: make(chan struct{}), closed: make(chan struct{})}
	wrote := make(chan struct{})
	written := sync.OnceFunc(func() { close(wrote) })
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { written() }})
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+e.rig.Address()+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range d.request(id) {
		r.Header.Add(h.Name, h.Value)
	}
	r.Header.Set("Trailer", "X-A, X-T, X-U") // otherwise the upstream's server drops what the guest adds
	for _, step := range d.steps {
		if trailers, ok := strings.CutPrefix(step, stepTrailers+" "); ok {
			r.Trailer = make(http.Header)
			for _, h := range pairsOf(trailers) {
				r.Trailer.Add(h.Name, h.Value)
			}
		}
	}
	transport := &http.Transport{DisableCompression: true, Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.receive(transport, r)
	}()
	body.wait()
	e.await(t, want.after[0])
	others := &others{stream: id, newest: id}
	for i, text := range d.steps {
		step, rest, _ := strings.Cut(text, " ")
		switch step {
		case stepBody:
			body.send(rest)
		case stepEnd, stepTrailers:
			close(body.parts)
			select {
			case <-wrote:
			case <-done: // it was answered or reset before
			}
		case stepLeave:
			leave()
		case stepOther:
			ask(t, transport, "http://"+e.rig.Address()+"/other", others.next(rest))
		case stepWait: // the clock goes on by itself
		default:
			within(t, func() { c.steps <- text })
			within(t, func() { <-c.taken })
		}
		e.await(t, want.after[i+1])
	}
	var got []string
	reached := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		got = []string{upstreamGot(c.upstream), responseGot(c.status, c.response.Headers, c.response.Body, c.response.Trailers, c.response.Complete)}
		return slices.Equal(got, want.ends)
	}
	for range giveUp { // and then the dialogue fails
		if reached() {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	leave()
	within(t, func() { <-done })
	return got
}

// giveUp is how often a test looks whether everything has arrived.
const giveUp = 500

// within runs something that must not take long.
func within(t *testing.T, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(wait.Patience):
		t.Fatal("nobody is there for the next step")
	}
}

// A partBody is a request's body that comes part by part.
type partBody struct {
	parts  chan string
	idle   chan struct{} // a value each time that everything so far has been sent
	closed chan struct{}
	once   sync.Once
}

func (b *partBody) Read(p []byte) (int, error) {
	select {
	case b.idle <- struct{}{}:
	case <-b.closed:
		return 0, io.ErrClosedPipe
	}
	select {
	case part, ok := <-b.parts:
		if !ok {
			return 0, io.EOF
		}
		return copy(p, part), nil
	case <-b.closed:
		return 0, io.ErrClosedPipe
	}
}

func (b *partBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

// wait waits until everything has been sent, or nothing can be sent any more.
func (b *partBody) wait() {
	select {
	case <-b.idle:
	case <-b.closed:
	}
}

func (b *partBody) send(part string) {
	select {
	case b.parts <- part:
		b.wait()
	case <-b.closed:
	}
}

// receive sends the request and collects the response.
func (c *conversation) receive(transport *http.Transport, r *http.Request) {
	response, err := transport.RoundTrip(r)
	if err != nil {
		return
	}
	defer response.Body.Close()
	c.mu.Lock()
	c.status, c.response.Headers = strconv.Itoa(response.StatusCode), headersOf(response.Header)
	c.mu.Unlock()
	err = collect(response.Body, &c.mu, &c.response.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.response.Complete = err == nil
	c.response.Trailers = headersOf(response.Trailer)
}
