package reply_test

import (
	"encoding/json"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/reply"
)

func TestMessageOf(t *testing.T) {
	for _, test := range []struct {
		body string
		want reply.Message
		id   string
	}{
		{`{"jsonrpc":"2.0","id":7,"method":"tools/call"}`, reply.Call, "7"},
		{`{"method":"tools/call","params":{"id":1,"method":"x"},"jsonrpc":"2.0","id":"a\u00e9\"b"}`, reply.Call, `"a\u00e9\"b"`},
		{` { "id" : -1.5e3 , "method" : "" } ` + "\n", reply.Call, "-1.5e3"},
		{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, reply.Notice, ""},
		{`{"jsonrpc":"2.0","id":7,"result":{"method":"x"}}`, reply.Notice, ""},
		{`{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":""}}`, reply.Notice, ""},
		{`{}`, reply.Notice, ""},
		{`[{"jsonrpc":"2.0","id":7,"method":"tools/call"}]`, reply.Unreadable, ""},
		{`{"id":null,"method":"tools/call"}`, reply.Unreadable, ""},
		{`{"id":{},"method":"tools/call"}`, reply.Unreadable, ""},
		{`{"id":7,"method":"tools/call"`, reply.Unreadable, ""},
		{`{"id":7,"method":tools}`, reply.Unreadable, ""},
		{`{"id":7x`, reply.Unreadable, ""},
		{`7`, reply.Unreadable, ""},
		{``, reply.Unreadable, ""},
	} {
		message, id := reply.MessageOf([]byte(test.body))
		if message != test.want || message == reply.Call && string(id) != test.id {
			t.Errorf("%s: got %d with id %s, want %d with id %s", test.body, message, id, test.want, test.id)
		}
	}
}

func TestCallRefusal(t *testing.T) {
	got := reply.CallRefusal(policy.Duplicate, []byte(`"a\"b"`), 14001)
	headers := map[string]string{}
	for _, h := range got.Headers {
		headers[h[0]] = h[1]
	}
	const body = `{"jsonrpc":"2.0","id":"a\"b","error":{"code":-32000,"message":"refused: duplicate","data":{"reason":"duplicate","retry_ms":14001}}}` + "\n"
	if got.Status != 200 || headers["content-type"] != "application/json" || headers["cache-control"] != "no-store" ||
		headers["retry-after"] != "15" || headers[reply.Marker] != "duplicate" || string(got.Body) != body || !json.Valid(got.Body) {
		t.Errorf("got status %d, headers %v, body %s", got.Status, got.Headers, got.Body)
	}
}

// Whatever the body is, the answer to a call is JSON: nothing else of the body gets into it.
func FuzzMessageOf(f *testing.F) {
	for _, body := range []string{`{"id":7,"method":"x"}`, `{"id":"x","id":8,"method":"x"}`, `[]`, `{"id":"\ud800","method":""}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		message, id := reply.MessageOf(body)
		if (message == reply.Call) != (id != nil) && message != reply.Notice {
			t.Fatalf("message %d with id %q", message, id)
		}
		if message != reply.Call {
			return
		}
		var answer struct {
			ID json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal(reply.CallRefusal(policy.Overloaded, id, 1).Body, &answer); err != nil || string(answer.ID) != string(id) {
			t.Errorf("id %q: answered with id %q, %v", id, answer.ID, err)
		}
	})
}
