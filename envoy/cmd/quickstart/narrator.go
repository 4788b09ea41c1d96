package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/streamlatch/streamlatch/envoy/proxy"
)

// alarmsPerSecond is how many warnings of one second are shown. A crash of the filter logs its trace one word a line.
const alarmsPerSecond = 5

type welcomeFacts struct {
	version                       proxy.Version
	pid                           int
	address, internal, admin, log string
}

func welcome(out io.Writer, f welcomeFacts) {
	fmt.Fprintf(out, `Envoy %[1]s (pid %[2]d) serves on http://%[3]s, admin on %[4]s, log in %[5]s.

Open a stream in one terminal, and the same client's again in another: the first one ends.

  curl -N 'http://%[3]s/events?client=demo' -H 'accept: text/event-stream'
  curl -N 'http://%[3]s/events?client=demo' -H 'accept: text/event-stream'

Or in two tabs of a browser: http://%[3]s/

See who is there, and end all streams of the client demo:

  curl http://%[6]s/streamlatch
  curl -X DELETE http://%[6]s/streamlatch/streams/events/demo

Takeovers, as they happen (Ctrl-C ends everything):
`, f.version, f.pid, f.address, f.admin, f.log, f.internal)
}

// A narrator makes a story for the terminal of Envoy's log: takeovers, and what went wrong.
type narrator struct {
	out io.Writer
	log string // where the rest is

	mu     sync.Mutex
	begun  bool
	ended  bool
	held   []string // told before begin
	second string   // of the last alarm
	alarms int      // in that second
}

func newNarrator(out io.Writer, log string) *narrator { return &narrator{out: out, log: log} }

// line takes a line of Envoy's log.
func (n *narrator) line(line string) {
	entry, ok := proxy.ParseLogEntry(line)
	if !ok {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if t, ok := parseTakeover(entry); ok {
		n.tell(clock(entry), "takeover", t.String())
		return
	}
	if !entry.Alarming() {
		return
	}
	if second := clock(entry); second != n.second {
		n.second, n.alarms = second, 0
	}
	switch n.alarms++; {
	case n.alarms <= alarmsPerSecond:
		n.tell(n.second, entry.Level, "envoy "+entry.Logger+": "+entry.Message)
	case n.alarms == alarmsPerSecond+1:
		n.tell(n.second, entry.Level, "more of them in "+n.log)
	}
}

// begin lets the story begin, with what has happened so far. Until then it is withheld: an Envoy that cannot start has
// its reasons in the error of [proxy.Start].
func (n *narrator) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begun = true
	for _, sentence := range n.held {
		fmt.Fprintln(n.out, sentence)
	}
	n.held = nil
}

// end ends it, before Envoy is stopped: that a stopped Envoy says so is no story.
func (n *narrator) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
}

func (n *narrator) tell(clock, what, text string) {
	sentence := fmt.Sprintf("%s  %-8s  %s", clock, what, text)
	if n.ended {
		return
	}
	if n.begun {
		fmt.Fprintln(n.out, sentence)
	} else {
		n.held = append(n.held, sentence)
	}
}

// clock returns the hours, minutes and seconds of an entry.
func clock(e proxy.LogEntry) string {
	_, clock, _ := strings.Cut(e.Time, " ")
	clock, _, _ = strings.Cut(clock, ".")
	return clock
}

// A takeover is what the filter logs when a claim ends an older stream.
type takeover struct {
	rule   string
	client string        // the first digits of its hash
	age    time.Duration // of the stream that was reset
}

// parseTakeover reads the filter's message, "takeover rule=events client=5f3a91c2 claim=17 age_ms=5321", inside of
// Envoy's "wasm log <plugin> <vm>: ". Keys that it does not know may stand among them.
func parseTakeover(e proxy.LogEntry) (takeover, bool) {
	prefix, message, _ := strings.Cut(e.Message, ": ")
	fields, found := strings.CutPrefix(message, "takeover ")
	if e.Logger != "wasm" || !strings.HasPrefix(prefix, "wasm log") || !found {
		return takeover{}, false
	}
	values := make(map[string]string)
	for field := range strings.FieldsSeq(fields) {
		key, value, _ := strings.Cut(field, "=")
		values[key] = value
	}
	ms, err := strconv.ParseInt(values["age_ms"], 10, 64)
	t := takeover{rule: values["rule"], client: values["client"], age: time.Duration(ms) * time.Millisecond}
	return t, err == nil && t.rule != "" && t.client != ""
}

func (t takeover) String() string {
	age := fmt.Sprintf("%.1f s", t.age.Seconds())
	if t.age >= time.Minute {
		age = t.age.Round(time.Second).String()
	}
	return fmt.Sprintf("rule %s, client %s: a newer stream opened, the previous one (%s old) was reset", t.rule, t.client, age)
}
