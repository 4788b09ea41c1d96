package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is where a server writes, for all goroutines.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// served serves hits.wasm in front of a handler, and returns its URL and what it writes.
func served(t *testing.T, upstream http.HandlerFunc) (url string, out *lines) {
	t.Helper()
	back := httptest.NewServer(upstream)
	t.Cleanup(back.Close)
	ctx, end := context.WithCancel(t.Context())
	out = &lines{}
	started, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- serve(ctx, filepath.Join(folder(t, nil), "hits.wasm"), settings{listen: "127.0.0.1:0", upstream: back.URL, workers: 2}, out,
			func(a net.Addr) { started <- "http://" + a.String() })
	}()
	t.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case url = <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	return url, out
}

func clients() map[string]*http.Client {
	h2 := &http.Transport{Protocols: new(http.Protocols)}
	h2.Protocols.SetUnencryptedHTTP2(true)
	return map[string]*http.Client{"HTTP/1.1": {Transport: &http.Transport{}}, "HTTP/2.0": {Transport: h2}}
}

// A request passes the filter, the upstream's event stream comes back event by event, and a client
// that leaves is noticed.
func TestServe(t *testing.T) {
	more, left := make(chan struct{}), make(chan struct{}, 2)
	url, out := served(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: %s %s %s\n\n", r.Method+r.URL.String(), r.Header.Get("X-Hits"), body)
		http.NewResponseController(w).Flush()
		<-more
		fmt.Fprint(w, "data: more\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		left <- struct{}{}
	})
	n := 0
	for protocol, client := range clients() {
		n++
		ctx, leave := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, "POST", url+"/a?b=c", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		if response.Proto != protocol || response.StatusCode != 200 || response.Header.Get("Content-Type") != "text/event-stream" {
			t.Errorf("%s: %s %v", protocol, response.Proto, response)
		}
		events := bufio.NewReader(response.Body)
		if got, err := events.ReadString('\n'); got != fmt.Sprintf("data: POST/a?b=c %d hello\n", n) {
			t.Errorf("%s: %q, %v", protocol, got, err)
		}
		events.ReadString('\n')
		more <- struct{}{}
		if got, err := events.ReadString('\n'); got != "data: more\n" {
			t.Errorf("%s: %q, %v", protocol, got, err)
		}
		leave()
		<-left
		if want := fmt.Sprintf("info hit %d\n", n); !strings.Contains(out.String(), want) {
			t.Errorf("%s: wrote %q, want %q", protocol, out, want)
		}
	}
}

// A local reply ends a request, and a reset cuts a response.
func TestServeReplies(t *testing.T) {
	url, _ := served(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "begun\n")
		http.NewResponseController(w).Flush()
		time.Sleep(10 * time.Millisecond) // so that the two parts come apart
		fmt.Fprint(w, "cut me\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	for protocol, client := range clients() {
		response, err := client.Get(url + "/forbidden")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != 403 || response.Header.Get("X-Reason") != "forbidden" || string(body) != "no\n" {
			t.Errorf("%s: %v %q", protocol, response, body)
		}
		response, err = client.Get(url + "/cut")
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); err == nil || !strings.HasPrefix(string(body), "begun\n") {
			t.Errorf("%s: read %q, %v, want the first part and an error", protocol, body, err)
		}
	}
}

func TestServeRefuses(t *testing.T) {
	dir := folder(t, nil)
	for want, arguments := range map[string][]string{
		`upstream "", want for example http://127.0.0.1:9000`: {filepath.Join(dir, "hits.wasm")},
		`upstream "here", want for example`:                   {"-upstream", "here", filepath.Join(dir, "hits.wasm")},
		"none.wasm: no such file":                             {"-upstream", "http://127.0.0.1:1", filepath.Join(dir, "none.wasm")},
		"vm.json: no such file":                               {"-upstream", "http://127.0.0.1:1", "-vm-config", filepath.Join(dir, "vm.json"), filepath.Join(dir, "hits.wasm")},
		"none.json: no such file":                             {"-upstream", "http://127.0.0.1:1", "-config", filepath.Join(dir, "none.json"), filepath.Join(dir, "hits.wasm")},
	} {
		if code, out := called(t, dir, append([]string{"serve"}, arguments...)...); code != 1 || !strings.Contains(out, want) {
			t.Errorf("%q: exit code %d, %s\nwant 1 and %s", arguments, code, out, want)
		}
	}
}
