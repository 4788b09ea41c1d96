package host

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// newRequest makes the request that a server sees.
func newRequest(headers, trailers Headers, body io.Reader, length int64) (*http.Request, error) {
	path, _ := headers.Get(":path")
	target, err := url.ParseRequestURI(path)
	if err != nil {
		return nil, err
	}
	r := &http.Request{
		URL: target, RequestURI: path, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: make(http.Header), Body: io.NopCloser(body), ContentLength: length, RemoteAddr: "127.0.0.1:0",
	}
	r.Method, _ = headers.Get(":method")
	r.Host, _ = headers.Get(":authority")
	for _, h := range headers {
		if !strings.HasPrefix(h.Name, ":") {
			r.Header.Add(h.Name, h.Value)
		}
	}
	for _, h := range trailers {
		if r.Trailer == nil {
			r.Trailer = make(http.Header)
		}
		r.Trailer.Add(h.Name, h.Value)
	}
	return r, nil
}

// runHandler returns what a handler answers, with what Go's server adds: content-length and date.
// If the handler has panicked with http.ErrAbortHandler, aborted is true, and the headers are nil
// unless it had flushed them.
func runHandler(handler http.Handler, r *http.Request, now time.Time) (headers Headers, body []byte, trailers Headers, aborted bool) {
	recorder := httptest.NewRecorder()
	aborted = aborts(handler, recorder, r)
	if aborted && !recorder.Flushed {
		return nil, nil, nil, true
	}
	result := recorder.Result()
	headers = Response(result.StatusCode)
	appendSorted(&headers, result.Header)
	body = recorder.Body.Bytes()
	hasBody := result.StatusCode != http.StatusNoContent && result.StatusCode != http.StatusNotModified
	if _, ok := headers.Get("content-length"); !ok && !recorder.Flushed && hasBody {
		headers.add("content-length", strconv.Itoa(len(body)))
	}
	if _, ok := headers.Get("date"); !ok {
		headers.add("date", now.UTC().Format(http.TimeFormat))
	}
	appendSorted(&trailers, result.Trailer)
	return headers, body, trailers, aborted
}

func aborts(handler http.Handler, w http.ResponseWriter, r *http.Request) (aborted bool) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case http.ErrAbortHandler:
			aborted = true
		default:
			panic(r)
		}
	}()
	handler.ServeHTTP(w, r)
	return false
}

// appendSorted appends headers in the order of their names, so that each run is the same.
func appendSorted(to *Headers, from http.Header) {
	names := make([]string, 0, len(from))
	for name := range from {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range from[name] {
			to.add(name, value)
		}
	}
}
