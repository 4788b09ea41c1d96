package reply

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// Message is what a JSON-RPC message wants.
type Message uint8

const (
	// Unreadable is no single JSON-RPC message: a batch, for example.
	Unreadable Message = iota + 1
	// Call waits for a response with its id.
	Call
	// Notice waits for none: a notification, or the client's response to the server. A server that
	// does not get it may wait for ever.
	Notice
)

// MessageOf returns what the JSON-RPC message in the body of a request wants. The id of a Call is a
// part of the body, in JSON.
func MessageOf(body []byte) (message Message, id []byte) {
	decoder := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return Unreadable, nil
	}
	method := false
	for decoder.PeekKind() != '}' {
		name, err := decoder.ReadToken()
		if err != nil {
			return Unreadable, nil
		}
		switch name.String() {
		case "method":
			method = true
		case "id":
			value, err := decoder.ReadValue()
			if err != nil || value.Kind() != '"' && value.Kind() != '0' {
				return Unreadable, nil
			}
			id = bytes.Clone(value)
			continue
		}
		if err := decoder.SkipValue(); err != nil {
			return Unreadable, nil
		}
	}
	if method && id != nil {
		return Call, id
	}
	return Notice, nil
}

// refusedCall is the code of the JSON-RPC error: the first of those that servers may define.
const refusedCall = -32000

// CallRefusal returns the response to a call with this id, in JSON, that is refused because of why.
// All clients of MCP take a response with the status 200 and a JSON-RPC error for the failure of
// this call, and of nothing else.
func CallRefusal(why policy.Refusal, id []byte, retry policy.Millis) Response {
	return Response{
		Status:  200,
		Headers: append(jsonHeaders(retry), [2]string{Marker, why.String()}),
		Body: fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"refused: %v","data":{"reason":"%v","retry_ms":%d}}}`+"\n",
			id, refusedCall, why, why, int64(retry)),
	}
}
