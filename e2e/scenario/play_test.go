package scenario

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// system is what a scenario is played on: the filter between clients and a backend. The scenario
// names the streams. A stream exists from open on.
type system interface {
	open(name string, r request) error
	// answer makes the backend answer a request that it has held until now.
	answer(name string, a answer) error
	// send makes the backend send bytes on a stream.
	send(name string, chunk []byte) error
	// finish makes the backend end a stream in an orderly way.
	finish(name string) error
	// close makes the client disconnect.
	close(name string) error
	advance(d time.Duration) error
	// dismiss ends a client's streams through the admin path and returns how many there were. It
	// returns 0 for a client that has none or that is unknown.
	dismiss(worker int, rule string, parts []string) (int, error)
	// contend makes every claim and release lose its race against other writers, until it is called
	// with false.
	contend(on bool) error

	// seen returns what has become of a stream so far.
	seen(name string) (seen, error)
	// atBackend reports whether the stream is open at the backend.
	atBackend(name string) (bool, error)
	// metrics returns the counters and gauges of the file's rules, named "<rule>.<what>", and the
	// filter's own.
	metrics() (map[string]int64, error)

	// patient reports whether the effects of a command may take time.
	patient() bool
}

const (
	poll = 10 * time.Millisecond
	// settling is how long play waits for changes that must not happen, after the expected changes
	// have happened. Later ones still show at the next command.
	settling = 40 * time.Millisecond
	// lastSettling is the same after the last command.
	lastSettling = 250 * time.Millisecond
)

// request is what a client sends.
type request struct {
	method, path string
	headers      [][2]string
	body         bool
	worker       int // anyWorker: any worker
	answer       answer
}

const anyWorker = -1

func (r request) header(name string) (string, bool) {
	for _, h := range r.headers {
		if h[0] == name {
			return h[1], true
		}
	}
	return "", false
}

// answer is how the backend answers.
type answer string

const (
	hold   answer = "hold"   // nothing yet
	events answer = "events" // an event stream, with a first event
	gzip   answer = "gzip"   // the same, with content-encoding: gzip
	asJSON answer = "json"   // 200 and a document
	slow   answer = "slow"   // 200 and the beginning of a long document; any other answer is a status
)

const (
	firstEvent = "hello"
	slowType   = "text/csv"
)

// response returns the status, the headers and the first bytes of an answer, and whether these are
// all.
func (a answer) response() (status int, headers [][2]string, body string, all bool, err error) {
	stream := [2]string{"content-type", "text/event-stream"}
	switch a {
	case events:
		return 200, [][2]string{stream}, "data: " + firstEvent + "\n\n", false, nil
	case gzip:
		return 200, [][2]string{stream, {"content-encoding", "gzip"}}, "data: " + firstEvent + "\n\n", false, nil
	case slow:
		return 200, [][2]string{{"content-type", slowType}}, "1,2,3", false, nil
	case asJSON:
		return 200, [][2]string{{"content-type", "application/json"}}, "{}\n", true, nil
	}
	status, err = strconv.Atoi(string(a))
	return status, [][2]string{{"content-type", "text/plain"}}, "no\n", true, err
}

// play is a scenario that is being played. Its commands:
//
//	config                    the filter's configuration; the first command
//	only LEVEL…               the scenario runs on these levels only; its input says why
//	open NAME [as=browser]    a client asks for an event stream, and the backend answers at once
//	    as=program|agent        not an EventSource: GET or POST, and accepts JSON too
//	    client=C tab=T          the header x-client-id and the parameter tab
//	    x-NAME=V cookie=C=V path=P
//	    worker=N                on this worker, if there are so many
//	    answer=hold|events|json|slow|gzip|STATUS
//	answer NAME events|…      the backend answers a request that it has held
//	event NAME TEXT           the backend sends an event
//	send NAME                 the backend sends bytes, given as a Go string
//	finish NAME               the backend ends a stream
//	close NAME                the client ends a stream
//	advance 2s                time passes
//	dismiss [RULE] PART…      the admin path ends the streams of a client
//	contend on|off            every write loses its race against other writers
//	backend                   prints the requests that the backend has
//	metrics                   prints the metrics of the rules
//
// Changes are printed in the order in which the streams were opened:
//
//	NAME waiting              the backend has the request, and has not answered
//	NAME open                 an event stream has begun, and its first event has arrived
//	NAME event TEXT, NAME part "BYTES"
//	NAME goodbye REASON       the filter's last event
//	NAME reset REASON         the stream was cut, with this reason in the access log
//	NAME refused STATUS WHY   the filter has refused the stream
//	NAME answered STATUS      the backend has answered, or with answer=slow has begun to
//	NAME ended, NAME closed   an orderly end, by the backend or by the client
//
// With retry=FROM..TO or retry=none a command also prints the waiting time of its refusals and
// goodbyes: this range if the time is in it, otherwise the time.
type play struct {
	file    file
	system  system
	workers int

	names []string // of the streams, in the order of opening
	told  map[string][]event
	next  map[string][]event // the value of told after this command
}

func newPlay(f file, s system, workers int) *play {
	return &play{file: f, system: s, workers: workers, told: map[string][]event{}}
}

// run carries out a command and returns what it prints.
func (p *play) run(t *testing.T, d *datadriven.TestData) string {
	tell, err := p.do(d)
	if err != nil {
		d.Fatalf(t, "%s: %v", d.Cmd, err)
	}
	told, err := p.await(d.Expected, tell)
	if err != nil {
		d.Fatalf(t, "%s: %v", d.Cmd, err)
	}
	return told
}

// end fails the test if there is a change that the scenario does not contain.
func (p *play) end(t *testing.T) {
	if t.Failed() {
		return
	}
	if p.system.patient() {
		time.Sleep(lastSettling)
	}
	late, err := p.changes("")
	if err != nil {
		t.Fatal(err)
	}
	if late != "" {
		t.Errorf("after the last command: got the changes\n%s, want none", late)
	}
}

// await returns what tell returns, as soon as it is the expected text, or when wait.Patience is
// over. The changes in it count as told.
func (p *play) await(expected string, tell func() (string, error)) (told string, err error) {
	deadline := time.Now().Add(wait.Patience)
	for settled := false; ; {
		if told, err = tell(); err != nil {
			return "", err
		}
		switch {
		case !p.system.patient() || settled && told == expected, time.Now().After(deadline):
			for name, events := range p.next {
				p.told[name] = events
			}
			return told, nil
		case told == expected:
			settled = true
			time.Sleep(settling)
		default:
			settled = false
			time.Sleep(poll)
		}
	}
}

// do carries out a command and returns a function that tells its effects.
func (p *play) do(d *datadriven.TestData) (tell func() (string, error), err error) {
	a := &arguments{all: d.CmdArgs}
	retry := a.value("retry")
	tell = func() (string, error) { return p.changes(retry) }
	switch d.Cmd {
	case "config":
		if len(p.names) > 0 {
			return nil, errors.New("want it before all open commands")
		}
	case "only":
		a.all = nil
	case "open":
		name := a.next()
		var r request
		if r, err = a.request(p.workers); err != nil {
			return nil, err
		}
		if slices.Contains(p.names, name) {
			return nil, fmt.Errorf("stream %q was opened before, want a new name", name)
		}
		p.names = append(p.names, name)
		err = p.system.open(name, r)
	case "answer":
		err = p.system.answer(a.next(), answer(a.next()))
	case "event":
		err = p.system.send(a.next(), []byte("data: "+a.next()+"\n\n"))
	case "send":
		name := a.next()
		var chunk string
		if chunk, err = strconv.Unquote(strings.TrimSpace(d.Input)); err != nil {
			return nil, fmt.Errorf("input %s, want a Go string", d.Input)
		}
		err = p.system.send(name, []byte(chunk))
		tell = func() (string, error) { return p.changesAndPart(name, retry) }
	case "finish":
		err = p.system.finish(a.next())
	case "close":
		err = p.system.close(a.next())
	case "advance":
		var by time.Duration
		if by, err = time.ParseDuration(a.next()); err != nil {
			return nil, err
		}
		err = p.system.advance(by)
	case "dismiss":
		var worker int
		if worker, err = a.worker(p.workers); err != nil {
			return nil, err
		}
		parts := a.rest()
		if len(parts) < 2 {
			return nil, errors.New("want a rule and the parts of a key")
		}
		var n int
		n, err = p.system.dismiss(worker, parts[0], parts[1:])
		tell = func() (string, error) {
			changes, err := p.changes(retry)
			return fmt.Sprintf("dismissed %d\n%s", n, changes), err
		}
	case "contend":
		err = p.system.contend(a.next() == "on")
	case "backend":
		tell = p.backend
	case "metrics":
		tell = p.metrics
	default:
		return nil, errors.New("unknown command: see play")
	}
	return tell, errors.Join(err, a.leftOver())
}

// changes tells what has happened to the streams since the last command.
func (p *play) changes(retry string) (string, error) {
	p.next = map[string][]event{}
	var b strings.Builder
	for _, name := range p.names {
		s, err := p.system.seen(name)
		if err != nil {
			return "", err
		}
		told := p.told[name]
		story := s.story(told)
		if len(story) < len(told) || !slices.Equal(story[:len(told)], told) {
			fmt.Fprintf(&b, "%s contradicts itself: %v, but before %v\n", name, story, told)
			continue
		}
		for _, e := range story[len(told):] {
			fmt.Fprintf(&b, "%s %s%s\n", name, e.text, e.retry.within(retry))
		}
		p.next[name] = story
	}
	return b.String(), nil
}

// changesAndPart also tells which bytes of an incomplete event have arrived.
func (p *play) changesAndPart(name, retry string) (string, error) {
	changes, err := p.changes(retry)
	if err != nil {
		return "", err
	}
	s, err := p.system.seen(name)
	if _, part := parse(s.body); part != "" {
		changes += fmt.Sprintf("%s part %q\n", name, part)
	}
	return changes, err
}

func (p *play) backend() (string, error) {
	p.next = nil
	var has []string
	for _, name := range p.names {
		there, err := p.system.atBackend(name)
		if err != nil {
			return "", err
		}
		if there {
			has = append(has, name)
		}
	}
	if len(has) == 0 {
		return "nothing\n", nil
	}
	return strings.Join(has, " ") + "\n", nil
}

// metrics tells the metrics that are not 0, one line for each rule, in the order of the
// configuration.
func (p *play) metrics() (string, error) {
	p.next = nil
	values, err := p.system.metrics()
	if err != nil {
		return "", err
	}
	whats := []string{"opened", "superseded", "released", "dismissed", "expired", "idle", "no_key"}
	for _, why := range policy.Refusals {
		whats = append(whats, "refused_"+why.String())
	}
	whats = append(whats, "active")
	rules, err := p.file.rules()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, rule := range rules {
		var list []string
		for _, what := range whats {
			value, ok := values[rule+"."+what]
			if !ok {
				return "", fmt.Errorf("rule %s has no metric %s", rule, what)
			}
			if value != 0 {
				list = append(list, fmt.Sprintf("%s %d", what, value))
			}
		}
		if list == nil {
			list = []string{"nothing"}
		}
		fmt.Fprintf(&b, "%s: %s\n", rule, strings.Join(list, ", "))
	}
	return b.String(), nil
}

// arguments are the arguments of a command that have not been used yet, in order.
type arguments struct{ all []datadriven.CmdArg }

// next removes and returns the first argument that has no value, or "" if there is none.
func (a *arguments) next() string {
	i := slices.IndexFunc(a.all, func(arg datadriven.CmdArg) bool { return len(arg.Vals) == 0 })
	if i < 0 {
		return ""
	}
	key := a.all[i].Key
	a.all = slices.Delete(a.all, i, i+1)
	return key
}

func (a *arguments) rest() (keys []string) {
	for key := a.next(); key != ""; key = a.next() {
		keys = append(keys, key)
	}
	return keys
}

// value removes the argument key and returns its value.
func (a *arguments) value(key string) string {
	i := slices.IndexFunc(a.all, func(arg datadriven.CmdArg) bool { return arg.Key == key })
	if i < 0 {
		return ""
	}
	value := strings.Join(a.all[i].Vals, ", ")
	a.all = slices.Delete(a.all, i, i+1)
	return value
}

func (a *arguments) worker(workers int) (int, error) {
	value := a.value("worker")
	if value == "" {
		return anyWorker, nil
	}
	n, err := strconv.Atoi(value)
	return n % workers, err
}

func (a *arguments) leftOver() error {
	if len(a.all) > 0 {
		return fmt.Errorf("unknown arguments %v", a.all)
	}
	return nil
}

func (a *arguments) request(workers int) (request, error) {
	r := request{method: "GET", path: "/events", answer: events}
	accept := "text/event-stream"
	switch as := a.value("as"); as {
	case "", "browser":
	case "program":
		accept = "text/event-stream, application/json"
	case "agent":
		r.method, r.body, accept = "POST", true, "application/json, text/event-stream"
	default:
		return r, fmt.Errorf("as=%s, want browser, program or agent", as)
	}
	r.headers = append(r.headers, [2]string{"accept", accept}, [2]string{"cache-control", "no-cache"}, [2]string{"pragma", "no-cache"})
	if path := a.value("path"); path != "" {
		r.path = path
	}
	if tab := a.value("tab"); tab != "" {
		r.path += "?tab=" + tab
	}
	if client := a.value("client"); client != "" {
		r.headers = append(r.headers, [2]string{"x-client-id", client})
	}
	if cookie := a.value("cookie"); cookie != "" {
		r.headers = append(r.headers, [2]string{"cookie", cookie})
	}
	if given := a.value("answer"); given != "" {
		r.answer = answer(given)
	}
	for i := 0; i < len(a.all); {
		if name := a.all[i].Key; strings.HasPrefix(name, "x-") {
			r.headers = append(r.headers, [2]string{name, a.value(name)})
		} else {
			i++
		}
	}
	var err error
	r.worker, err = a.worker(workers)
	return r, err
}
