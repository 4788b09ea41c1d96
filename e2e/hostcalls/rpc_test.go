package hostcalls

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/streamlatch/streamlatch/host"
)

// A step is something that a gRPC server does.
type step struct {
	do     string // headers, receive, send, raw, close, end, abort or hang
	text   string // what to send; of close: the message
	status int    // of close, and the HTTP status of headers

}

// rpcs are the methods of the server, of any service.
var rpcs = map[string][]step{
	"echo":       {{do: "receive"}, {do: "headers"}, {do: "send", text: "answer"}, {do: "close"}},
	"fail":       {{do: "close", status: 5, text: "no such thing"}},
	"late":       {{do: "headers"}, {do: "send", text: "answer"}, {do: "close", status: 7, text: "too~late"}},
	"nothing":    {{do: "headers"}, {do: "close"}},
	"twice":      {{do: "headers"}, {do: "send", text: "one"}, {do: "send", text: "two"}, {do: "close"}},
	"empty":      {{do: "headers"}, {do: "send"}, {do: "close"}},
	"unended":    {{do: "headers"}, {do: "send", text: "one"}, {do: "end"}},
	"abort":      {{do: "abort"}},
	"half":       {{do: "headers"}, {do: "send", text: "one"}, {do: "abort"}},
	"hang":       {{do: "hang"}},
	"halfhang":   {{do: "headers"}, {do: "send", text: "one"}, {do: "hang"}},
	"sorry":      {{do: "headers", status: 503}, {do: "hang"}},
	"unknown":    {{do: "close", status: 77}},
	"compressed": {{do: "headers"}, {do: "raw", text: "\x01\x00\x00\x00\x01x"}, {do: "end"}},
	"chat":       {{do: "headers"}, {do: "receive"}, {do: "send", text: "first"}, {do: "receive"}, {do: "send", text: "second"}, {do: "close", text: "fine"}},
}

// sent are the headers with which net/http begins an answer, besides those of gRPC.
var sent = host.Headers{{Name: "trailer", Value: "x"}, {Name: "x-initial", Value: "i"}, {Name: "date", Value: "x"}}

// serveRPC is the server for Envoy.
func serveRPC(w http.ResponseWriter, r *http.Request) {
	steps := rpcs[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	headers := false
	write := func(b []byte) {
		w.Write(b)
		w.(http.Flusher).Flush()
	}
	for _, s := range steps {
		switch s.do {
		case "headers":
			headers = true
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status, Grpc-Message, X-Trailing")
			w.Header().Set("X-Initial", "i")
			if s.status != 0 {
				w.WriteHeader(s.status)
			}
			w.(http.Flusher).Flush()
		case "receive":
			head := make([]byte, 5)
			if _, err := io.ReadFull(r.Body, head); err != nil {
				return
			}
			io.CopyN(io.Discard, r.Body, int64(binary.BigEndian.Uint32(head[1:])))
		case "send":
			write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(s.text))), s.text...))
		case "raw":
			write([]byte(s.text))
		case "close":
			if !headers {
				w.Header().Set("Content-Type", "application/grpc")
			} else {
				w.Header().Set("X-Trailing", "t")
			}
			w.Header().Set("Grpc-Status", fmt.Sprint(s.status))
			if s.text != "" {
				w.Header().Set("Grpc-Message", strings.ReplaceAll(s.text, "~", "%7E"))
			}
			return
		case "end":
			return
		case "abort":
			panic(http.ErrAbortHandler)
		case "hang":
			<-r.Context().Done()
			return
		}
	}
}

// answerRPC is the server on the test host. It goes on as far as it can.
func answerRPC(c *host.GRPCCall, progress *int) {
	steps := rpcs[c.Method]
	received := 0
	for _, s := range steps[:*progress] {
		if s.do == "receive" {
			received++
		}
	}
	for _, s := range steps[*progress:] {
		if c.Done() {
			return
		}
		switch s.do {
		case "headers":
			metadata := sent
			if s.status != 0 {
				metadata = append(host.Response(s.status), sent...)
			}
			c.RespondHeaders(metadata)
		case "receive":
			if len(c.Received()) == received {
				return
			}
			received++
		case "send":
			c.Send([]byte(s.text))
		case "close":
			metadata := host.Headers{{Name: "x-trailing", Value: "t"}}
			if *progress == 0 { // net/http's headers of an answer without a body
				metadata = host.Headers{{Name: "content-length", Value: "0"}, {Name: "date", Value: "x"}}
			}
			c.Close(uint32(s.status), s.text, metadata)
		case "abort":
			c.Reset(host.RemoteReset)
		case "hang":
			return
		default:
			panic("the test host cannot " + s.do)
		}
		*progress++
	}
}
