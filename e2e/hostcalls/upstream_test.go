package hostcalls

import (
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/streamlatch/streamlatch/host"
)

// An upstream is a cluster that callouts go to. Both stages have all of them.
type upstream struct {
	// handler is the server that Envoy talks to. Nil: nobody listens there, or the cluster has no
	// endpoints.
	handler http.Handler

	// answer is what the test does in its place on the test host, and serve the same for gRPC. Both
	// nil: the handler answers there, too.
	answer func(c *host.HTTPCall)
	serve  func(c *host.GRPCCall, progress *int)
}

// upstreams are the clusters, by name.
var upstreams = map[string]upstream{
	"backend": {handler: http.HandlerFunc(backend)},
	"empty":   {},
	"refused": {
		answer: func(c *host.HTTPCall) { c.Reset(host.ConnectionFailure) },
		serve:  func(c *host.GRPCCall, _ *int) { c.Reset(host.ConnectionFailure) },
	},
	"rpc":    {handler: http.HandlerFunc(serveRPC), serve: answerRPC},
	"unary":  {handler: http.HandlerFunc(serveRPC)}, // for what is answered at once
	"silent": {handler: http.HandlerFunc(silent), answer: func(*host.HTTPCall) {}},
	"half": {handler: http.HandlerFunc(half), answer: func(c *host.HTTPCall) {
		c.RespondHeaders(host.Response(200), false)
		c.RespondBody([]byte("half"), false)
	}},
}

// backend answers at once, so it can also be a handler of the test host.
func backend(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/broken":
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "/none":
		w.WriteHeader(http.StatusNoContent)
		return
	}
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	w.Header().Set("Trailer", "Sum")
	w.Header().Set("X-Two", "b")
	w.Header().Add("X-Two", "a")
	fmt.Fprintf(w, "%s %s %s %q %q", r.Method, r.Host, r.URL, r.Header.Get("X-A"), body)
	w.Header().Set("Sum", "1")
}

// silent never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// half answers, and never ends its answer.
func half(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "half")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
}
