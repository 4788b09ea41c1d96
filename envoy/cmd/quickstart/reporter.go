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

// printFleetWelcome prints the same for two Envoys.
func printFleetWelcome(out io.Writer, w world, found []addresses) {
	a, b := found[0], found[1]
	fmt.Fprintf(out, `
Envoy %s runs twice (pids %d and %d), with etcd %s (pid %d).

                Envoy A                    Envoy B
  demo page     http://%-19s http://%s/
  Envoy admin   %-26s %s
  Envoy log     %-26s %s
  etcd          %-26s its log: %s
`, w.version, w.envoys[0].PID(), w.envoys[1].PID(), w.etcdVersion, w.etcd.PID(),
		a.listener+"/", b.listener, a.admin, b.admin, a.log, b.log, w.etcd.URL, w.beside("etcd.log"))
	fmt.Fprintf(out, `
Open the demo page, at either Envoy: its laptop is at Envoy A, and its phone at Envoy B.

Or run the first command in one terminal, and the second one in another: the first stream ends.

  curl -N 'http://%[1]s/events?client=demo' -H 'accept: text/event-stream'
  curl -N 'http://%[2]s/events?client=demo' -H 'accept: text/event-stream'

To see how many streams are open at each Envoy, and to end all streams of the client "demo" at both:

  curl http://%[3]s/streamlatch
  curl http://%[4]s/streamlatch
  curl -X DELETE http://%[3]s/streamlatch/streams/events/demo

To see what etcd has of them (etcdctl is in Debian's package etcd-client):

  ETCDCTL_API=3 etcdctl --endpoints %[5]s get --prefix --keys-only streamlatch/

Below: what the filter does. It shows a client as a hash of its key. Press Ctrl-C to stop everything.
`, a.listener, b.listener, a.internal, b.internal, strings.TrimPrefix(w.etcd.URL, "http://"))
}

// A reporter prints what matters in the log of each Envoy: what the filter did to streams, warnings
// and errors.
type reporter struct {
	out io.Writer

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

func newReporter(out io.Writer) *reporter {
	return &reporter{out: out, state: waiting}
}

// from returns a function that takes each line of an Envoy's log. If the Envoy has a name, the
// output has it, too. log is the path of the whole log.
func (r *reporter) from(name, log string) func(line string) {
	if name != "" {
		name += ": "
	}
	return func(line string) { r.line(name, log, line) }
}

func (r *reporter) line(name, log, line string) {
	entry, ok := proxy.ParseLogEntry(line)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if kind, text, ok := describe(entry); ok {
		r.print(timeOfDay(entry), kind, name+text)
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
		r.print(r.second, entry.Level, name+"envoy "+entry.Logger+": "+entry.Message)
	case r.warnings == warningsPerSecond+1:
		r.print(r.second, entry.Level, name+"more such lines are in "+log)
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
