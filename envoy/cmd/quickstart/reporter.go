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

// warningsPerSecond bounds the warnings and errors that are printed for one second: if the filter
// crashes, Envoy logs the stack trace one word a line.
const warningsPerSecond = 5

// addresses are where a user finds what runs.
type addresses struct {
	listener string // host:port for clients
	internal string // host:port of the filter's admin path
	admin    string // URL of Envoy's admin interface
	log      string // path of Envoy's log
}

func printWelcome(out io.Writer, version proxy.Version, pid int, a addresses) {
	fmt.Fprintf(out, `
Envoy %[1]s runs (pid %[2]d).

  demo page     http://%[3]s/
  Envoy admin   %[4]s
  Envoy log     %[5]s

Open the demo page: it has a switch that takes the filter away.

Or run this command in one terminal, and again in a second one: the first stream ends.

  curl -N 'http://%[3]s/events?client=demo' -H 'accept: text/event-stream'

To see how many streams are open, and to end all streams of the client "demo":

  curl http://%[6]s/streamlatch
  curl -X DELETE http://%[6]s/streamlatch/streams/events/demo

Below: what the filter does. It shows a client as a hash of its key. Press Ctrl-C to stop everything.
`, version, pid, a.listener, a.admin, a.log, a.internal)
}

// A reporter prints what matters in Envoy's log: what the filter did to streams, warnings and
// errors.
type reporter struct {
	out io.Writer
	log string // the path of the whole log

	mu       sync.Mutex
	state    reporterState
	pending  []string // lines from before start
	second   string   // the time of the last warning
	warnings int      // in that second
}

type reporterState int

const (
	waiting reporterState = iota + 1
	printing
	stopped
)

func newReporter(out io.Writer, log string) *reporter {
	return &reporter{out: out, log: log, state: waiting}
}

// line takes one line of Envoy's log.
func (r *reporter) line(line string) {
	entry, ok := proxy.ParseLogEntry(line)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if kind, text, ok := describe(entry); ok {
		r.print(timeOfDay(entry), kind, text)
		return
	}
	if !entry.Alarming() {
		return
	}
	if second := timeOfDay(entry); second != r.second {
		r.second, r.warnings = second, 0
	}
	switch r.warnings++; {
	case r.warnings <= warningsPerSecond:
		r.print(r.second, entry.Level, "envoy "+entry.Logger+": "+entry.Message)
	case r.warnings == warningsPerSecond+1:
		r.print(r.second, entry.Level, "more such lines are in "+r.log)
	}
}

// start prints the lines so far, and from now on each line at once. Lines must wait until Envoy
// serves: if it fails to start, the error of [proxy.Start] contains them.
func (r *reporter) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = printing
	for _, line := range r.pending {
		fmt.Fprintln(r.out, line)
	}
	r.pending = nil
}

// stop ends the output. It is called before Envoy is stopped, because the warnings that Envoy logs
// at its end mean nothing to the user.
func (r *reporter) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = stopped
}

func (r *reporter) print(clock, kind, text string) {
	line := fmt.Sprintf("%s  %-8s  %s", clock, kind, text)
	switch r.state {
	case waiting:
		r.pending = append(r.pending, line)
	case printing:
		fmt.Fprintln(r.out, line)
	}
}

// timeOfDay returns the hours, minutes and seconds of an entry.
func timeOfDay(e proxy.LogEntry) string {
	_, clock, _ := strings.Cut(e.Time, " ")
	clock, _, _ = strings.Cut(clock, ".")
	return clock
}

// describe returns a sentence for the user about an entry that the filter logged. It returns false
// for an entry that is not about a takeover, a refusal or streams that an operator ended.
//
// Envoy writes "wasm log <plugin> <vm>: " before the filter's message, which is a word and
// key=value fields: "takeover rule=events client=5f3a91c2 claim=17 age_ms=5321".
func describe(e proxy.LogEntry) (kind, text string, ok bool) {
	prefix, message, _ := strings.Cut(e.Message, ": ")
	if e.Logger != "wasm" || !strings.HasPrefix(prefix, "wasm log") {
		return "", "", false
	}
	kind, rest, _ := strings.Cut(message, " ")
	fields := make(map[string]string)
	for field := range strings.FieldsSeq(rest) {
		key, value, _ := strings.Cut(field, "=")
		fields[key] = value
	}
	if fields["rule"] == "" || fields["client"] == "" {
		return "", "", false
	}
	who := fmt.Sprintf("rule %s, client %s: ", fields["rule"], fields["client"])
	switch kind {
	case "takeover":
		age, ok := milliseconds(fields["age_ms"])
		return kind, fmt.Sprintf("%sa new stream opened, so the previous one (%s old) was reset", who, age), ok
	case "refused":
		wait, ok := milliseconds(fields["retry_ms"])
		return kind, fmt.Sprintf("%sa new stream was refused (%s), the client may retry in %s", who, fields["reason"], wait),
			ok && fields["reason"] != "" && fields["mode"] == "enforce"
	case "dismissed":
		n, err := strconv.Atoi(fields["streams"])
		return "deleted", fmt.Sprintf("%sthe admin path ended its streams (%d)", who, n), err == nil
	}
	return "", "", false
}

// milliseconds returns a duration as a user reads it: with a tenth of a second below a minute.
func milliseconds(text string) (string, bool) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", false
	}
	d := time.Duration(ms) * time.Millisecond
	if d >= time.Minute {
		return d.Round(time.Second).String(), true
	}
	return fmt.Sprintf("%.1f s", d.Seconds()), true
}
