//go:build sdks

package sdks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// A model is a backend that answers as OpenAI's or Anthropic's does: with a first event at once,
// and the rest when the test wants it.
type model struct {
	mu       sync.Mutex
	finish   chan struct{} // closed to finish the answers that are being made
	canceled int           // answers that nobody has waited for
}

// formats are the first and the last events of an answer, by path.
var formats = map[string][2]string{
	"/v1/chat/completions": {
		`data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"h"}}]}` + "\n\n",
		`data: {"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n",
	},
	"/v1/messages": {
		"event: message_start\n" + `data: {"type":"message_start","message":{"id":"a","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}` + "\n\n",
		"event: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n",
	},
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format, known := formats[r.URL.Path]
	var question struct{ Stream bool }
	if err := json.NewDecoder(r.Body).Decode(&question); err != nil || !known || !question.Stream {
		http.Error(w, fmt.Sprintf("%s, stream %v, %v", r.URL.Path, question.Stream, err), http.StatusBadRequest)
		return
	}
	m.mu.Lock()
	finish := m.finish
	m.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, format[0])
	http.NewResponseController(w).Flush()
	select {
	case <-finish:
		fmt.Fprint(w, format[1])
	case <-r.Context().Done():
		m.mu.Lock()
		defer m.mu.Unlock()
		m.canceled++
	}
}

func (m *model) canceledSoFar() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.canceled
}

// finishAll ends all answers that are being made.
func (m *model) finishAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.finish)
	m.finish = make(chan struct{})
}

// The recipe for LLM streams. A new question of a conversation ends the answer to the one before
// it, also at the backend. Other questions have a limit, and a refusal is an error at once, without
// another try.
func TestLLM(t *testing.T) {
	t.Parallel()
	issued := rigtest.NewTokens(t)
	r := recipeFor(t, "LLM streams")
	m := &model{finish: make(chan struct{})}
	e := edge{rigtest.Start(t, rig.Options{Concurrency: 2, Filter: `{"rules": [` + r.rules + `]}`, Handler: m, LogLevel: "wasm:debug",
		Edits: []rig.Edit{authentication(t, issued), r.edit()}})}

	programs := map[string]*program{}
	for _, library := range []string{"openai", "anthropic"} {
		token := func(runtime string) string { return issued.Token(t, `"sub": "`+library+` of `+runtime+`"`) }
		programs[library+" in Node"] = npm.start(t, "llm-client.mjs", library, "http://"+e.Address(), token("Node"))
		programs[library+" in Python"] = pythonLLM.start(t, "llm_client.py", library, "http://"+e.Address(), token("Python"))
	}
	for name, p := range programs {
		t.Run(name, func(t *testing.T) {
			before := rigtest.Metrics(t, e.Rig)["llm_other.refused_duplicate"]
			m.ask(t, p)
			if got := rigtest.Metrics(t, e.Rig)["llm_other.refused_duplicate"] - before; got != 1 {
				t.Errorf("%d requests were refused, want 1: the library must not try again", got)
			}
		})
	}
}

// ask lets a client ask all kinds of questions.
func (m *model) ask(t *testing.T, p *program) {
	begun := func(tool string, n int) {
		t.Helper()
		p.hears(t, n, func(l line) bool { return l.Event == "begun" && l.Tool == tool })
	}
	canceled := m.canceledSoFar()
	p.tell(t, "talk")
	begun("talk", 1)
	p.tell(t, "talk")
	begun("talk", 2)
	if got := p.results(t, "talk", 1)[0].Error; got == "" {
		t.Error("the answer to the older question ended as if it were whole")
	}
	wait.Until(t, func() error {
		if got := m.canceledSoFar() - canceled; got != 1 {
			return fmt.Errorf("the backend stopped %d answers, want 1", got)
		}
		return nil
	})

	p.tell(t, "-")
	p.tell(t, "-")
	begun("-", 2)
	p.tell(t, "-")
	if got := p.results(t, "-", 1)[0].Error; !strings.Contains(got, "409") {
		t.Errorf("a question too many: got the error %q, want 409", got)
	}
	m.finishAll()
	for _, l := range append(p.results(t, "-", 3)[1:], p.results(t, "talk", 2)[1]) {
		if l.Error != "" {
			t.Errorf("%s: got the error %q", l.Tool, l.Error)
		}
	}
	p.tell(t, "-")
	begun("-", 3)
	m.finishAll()
	if got := p.results(t, "-", 4)[3].Error; got != "" {
		t.Errorf("a question after the refused one: got the error %q", got)
	}
}
