package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// settings are the flags of serve.
type settings struct {
	listen, upstream, config, vmConfig, rootID string

	workers int
}

// serve puts a filter on a port, in front of an upstream, until ctx is done. started is called with
// the address.
func serve(ctx context.Context, path string, s settings, out io.Writer, started func(net.Addr)) error {
	upstream, err := url.Parse(s.upstream)
	if err != nil || upstream.Host == "" || upstream.Scheme != "http" && upstream.Scheme != "https" {
		return fmt.Errorf("upstream %q, want for example http://127.0.0.1:9000", s.upstream)
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	config, err := readIfNamed(s.config)
	if err != nil {
		return err
	}
	vmConfig, err := readIfNamed(s.vmConfig)
	if err != nil {
		return err
	}
	module, err := host.Compile(ctx, wasm)
	if err != nil {
		return err
	}
	defer module.Close(context.Background())
	world, err := host.NewWorld(module, host.Config{
		Workers: s.workers, PluginConfig: config, VMConfig: vmConfig, RootID: s.rootID, Start: time.Now(), FailurePolicy: host.FailReload,
	})
	if err != nil {
		return err
	}
	defer world.Close()
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	e := &edge{world: world, upstream: upstream, out: out, changed: make(chan struct{})}
	ticking, stop := context.WithCancel(ctx)
	var clock sync.WaitGroup
	clock.Go(func() { e.tick(ticking) })
	server := &http.Server{Handler: e, ErrorLog: log.New(io.Discard, "", 0), BaseContext: func(net.Listener) context.Context { return ctx }}
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	context.AfterFunc(ctx, func() { server.Close() })
	started(listener.Addr())
	err = server.Serve(listener)
	stop()
	clock.Wait()
	e.serving.Lock()
	e.closed = true
	e.serving.Unlock()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// readIfNamed returns what is in a file, or nothing if no file is named.
func readIfNamed(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	return os.ReadFile(file)
}

// An edge is a World with real clients, a real upstream and real time. The World is for one
// goroutine, so everything that touches it holds mu.
type edge struct {
	upstream *url.URL
	out      io.Writer

	serving sync.RWMutex // read-locked by every request
	closed  bool         // the World is

	mu      sync.Mutex
	world   *host.World
	next    int           // worker
	logged  int           // lines of the guest's log that were printed
	changed chan struct{} // is closed and made anew after whatever has happened in the World
}

// do lets something happen in the World, and whatever follows from it.
func (e *edge) do(happen func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	happen()
	e.world.Run()
	logs := e.world.Logs()
	for _, entry := range logs[e.logged:] {
		fmt.Fprintf(e.out, "%s %s\n", entry.Level, entry.Message)
	}
	e.logged = len(logs)
	close(e.changed)
	e.changed = make(chan struct{})
}

// tick moves the World's clock with the real one.
func (e *edge) tick(ctx context.Context) {
	const step = 10 * time.Millisecond
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			passed := now.Sub(last)
			last = now
			e.do(func() { e.world.Advance(passed) })
		}
	}
}

// until waits until see returns true, or the client has left.
func (e *edge) until(ctx context.Context, see func() bool) bool {
	for {
		e.mu.Lock()
		seen, changed := see(), e.changed
		e.mu.Unlock()
		if seen {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// ServeHTTP implements [http.Handler]. A request goes to the upstream when it is complete; its
// response comes back as it arrives.
func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.serving.RLock()
	defer e.serving.RUnlock()
	if e.closed {
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	var s *host.Stream
	e.do(func() {
		s = e.world.Worker(e.next % len(e.world.Workers())).Open(requestOf(r))
		e.next++
		s.RequestHeaders(r.ContentLength == 0)
	})
	defer e.do(s.End) // nothing, if it has ended
	if r.ContentLength != 0 {
		if err := pump(r.Body, func(data []byte, end bool) { e.do(func() { s.RequestBody(data, end) }) }); err != nil {
			return
		}
	}
	var sent host.Message
	ready := func() bool {
		sent = s.ToUpstream()
		return sent.Complete || s.LocalReply() != nil || s.Ended()
	}
	if !e.until(ctx, ready) {
		return
	}
	var receiving sync.WaitGroup
	defer receiving.Wait()
	defer cancel()
	if sent.Complete {
		receiving.Go(func() { e.receive(ctx, s, sent) })
	}
	e.answer(ctx, w, s)
}

// receive sends the request to the upstream, and hands the filter what comes back.
func (e *edge) receive(ctx context.Context, s *host.Stream, sent host.Message) {
	fail := func(err error) {
		if ctx.Err() != nil {
			return
		}
		e.do(func() {
			if s.Ended() || s.ToClient().Headers != nil {
				s.End()
				return
			}
			s.ResponseHeaders(host.Response(http.StatusServiceUnavailable, "content-type", "text/plain"), false)
			s.ResponseBody([]byte(err.Error()+"\n"), true)
		})
	}
	path, _ := sent.Headers.Get(":path")
	method, _ := sent.Headers.Get(":method")
	target, err := e.upstream.Parse(path)
	if err != nil {
		fail(err)
		return
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(string(sent.Body)))
	if err != nil {
		fail(err)
		return
	}
	for _, h := range sent.Headers {
		if !strings.HasPrefix(h.Name, ":") {
			request.Header.Add(h.Name, h.Value)
		}
	}
	request.Host, _ = sent.Headers.Get(":authority")
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		fail(err)
		return
	}
	defer response.Body.Close()
	e.do(func() {
		if !s.Ended() {
			s.ResponseHeaders(host.Response(response.StatusCode, headerPairs(response.Header)...), false)
		}
	})
	err = pump(response.Body, func(data []byte, end bool) {
		e.do(func() {
			if !s.Ended() {
				s.ResponseBody(data, end)
			}
		})
	})
	if err != nil {
		fail(err)
	}
}

// answer writes to the client what the filter lets through, as it comes.
func (e *edge) answer(ctx context.Context, w http.ResponseWriter, s *host.Stream) {
	flush := http.NewResponseController(w).Flush
	written, begun := 0, false
	for {
		var got host.Message
		var ending host.Ending
		more := func() bool {
			got, ending = s.ToClient(), s.Ending()
			if reply := s.LocalReply(); reply != nil && got.Headers == nil {
				got = host.Message{Headers: reply.Headers, Body: reply.Body, Complete: true}
			}
			return ending != 0 || got.Complete || got.Headers != nil && !begun || len(got.Body) > written
		}
		if !e.until(ctx, more) {
			return
		}
		if got.Headers != nil && !begun {
			begun = true
			status := http.StatusOK
			for _, h := range got.Headers {
				if h.Name == ":status" {
					status, _ = strconv.Atoi(h.Value)
				} else if !strings.HasPrefix(h.Name, ":") {
					w.Header().Add(h.Name, h.Value)
				}
			}
			w.WriteHeader(status)
		}
		if _, err := w.Write(got.Body[written:]); err != nil {
			return
		}
		written = len(got.Body)
		switch {
		case got.Complete:
			return
		case ending != 0:
			panic(http.ErrAbortHandler) // the client sees that the response is cut
		}
		flush()
	}
}

func requestOf(r *http.Request) host.Headers {
	pairs := append([]string{":authority", r.Host, ":scheme", "http"}, headerPairs(r.Header)...)
	if r.ContentLength > 0 {
		pairs = append(pairs, "content-length", strconv.FormatInt(r.ContentLength, 10))
	}
	return host.Request(r.Method, r.RequestURI, pairs...)
}

// hopByHop are headers of one connection, which Envoy does not show to filters either.
var hopByHop = map[string]bool{"Connection": true, "Keep-Alive": true, "Transfer-Encoding": true, "Upgrade": true, "Proxy-Connection": true}

func headerPairs(h http.Header) (out []string) {
	joined := map[string]string{}
	for name, values := range h {
		if !hopByHop[name] {
			joined[strings.ToLower(name)] = strings.Join(values, ",")
		}
	}
	return pairs(joined)
}

// pump reads to the end, and hands over what comes as it comes.
func pump(from io.Reader, to func(data []byte, end bool)) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			to(buffer[:n:n], false)
		}
		if err == io.EOF {
			to(nil, true)
			return nil
		}
		if err != nil {
			return err
		}
	}
}
