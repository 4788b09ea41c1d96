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

// system is what a scenario is played on: the filter between clients and a backend. Streams are named by the scenario,
// and exist from open on.
type system interface {
	open(name string, r request) error
	// answer lets the backend answer a request that it has held until now.
	answer(name string, a answer) error
	// send lets the backend send bytes on a stream.
	send(name string, chunk []byte) error
	// finish lets the backend end a stream in good order.
	finish(name string) error
	// close is the client going away.
	close(name string) error
	advance(d time.Duration) error
	// dismiss ends a client's streams by way of the admin path and returns how many; 0: it has none, or is unknown.
	dismiss(worker int, rule string, parts []string) (int, error)
	// contend makes all claims and releases fail for others that come first, until it is called with false.
	contend(on bool) error

	// seen returns what has become of a stream until now.
	seen(name string) (seen, error)
	// atBackend reports whether the backend has the stream: its request has come, and its end has not.
	atBackend(name string) (bool, error)
	// metrics returns the counters and gauges of the file's rules, as "<rule>.<what>", and the filter's own.
	metrics() (map[string]int64, error)

	// patient reports whether what follows from a command may take its time.
	patient() bool
}

const (
	poll = 10 * time.Millisecond
	// settling is what something that must not happen is given, after all that must has happened. What comes later
	// still shows, at the next command.
	settling = 40 * time.Millisecond
	// lastSettling is the same after the last command.
	lastSettling = 250 * time.Millisecond
)

// request is what a client asks for.
type request struct {
	method, path string
	headers      [][2]string
	body         bool
	worker       int // anyWorker: whichever takes it
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

// answer is what the backend answers.
type answer string

const (
	hold   answer = "hold"   // nothing yet
	events answer = "events" // an event stream, with a first event
	gzip   answer = "gzip"   // the same, said to be compressed
	asJSON answer = "json"   // 200 and a document
	slow   answer = "slow"   // 200 and the beginning of a long document; all else is a status
)

const (
	firstEvent = "hello"
	slowType   = "text/csv"
)

// response returns an answer's status, headers and first bytes, and whether that is all.
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

// play is a scenario under way. Its commands:
//
//	config                    the filter's configuration; first of all
//	only LEVEL…               the scenario cannot be played elsewhere, for the reason that follows
//	open NAME [as=browser]    a client asks for an event stream, and gets it at once
//	    as=program|agent        not an EventSource: GET, or POST, and JSON is welcome, too
//	    client=C tab=T          the header x-client-id, the parameter tab
//	    x-NAME=V cookie=C=V path=P
//	    worker=N                on this worker, where there are so many
//	    answer=hold|events|json|slow|gzip|STATUS
//	answer NAME events|…      the backend answers what it has held
//	event NAME TEXT           the backend sends an event
//	send NAME                 the backend sends bytes, a Go string
//	finish NAME               the backend ends a stream
//	close NAME                the client does
//	advance 2s                time passes
//	dismiss [RULE] PART…      the streams of a client are ended by way of the admin path
//	contend on|off            others come first with every write
//	backend                   which requests the backend has
//	metrics                   what the rules have counted, and hold
//
// What changes is told in the order in which the streams were opened:
//
//	NAME waiting              it is with the backend, which has not answered
//	NAME open                 an event stream has begun, and its first event come
//	NAME event TEXT, NAME part "BYTES"
//	NAME goodbye REASON       the filter's last event
//	NAME reset REASON         it was broken off, for what the access log has as reason
//	NAME refused STATUS WHY   the filter has turned it away
//	NAME answered STATUS      the backend has, or with answer=slow is
//	NAME ended, NAME closed   in good order, by the backend or by the client
//
// With retry=FROM..TO, or none, refusals and goodbyes of a command are told with it if their waiting time is so.
type play struct {
	file    file
	system  system
	workers int

	names []string // in the order of opening
	told  map[string][]event
	next  map[string][]event // told, when the command is over
}

func newPlay(f file, s system, workers int) *play {
	return &play{file: f, system: s, workers: workers, told: map[string][]event{}}
}

// run carries out a command and returns what came of it.
func (p *play) run(t *testing.T, d *datadriven.TestData) string {
	tell, err := p.do(d)
	if err != nil {
		d.Fatalf(t, "%s: %v", d.Cmd, err)
	}
	said, err := p.await(d.Expected, tell)
	if err != nil {
		d.Fatalf(t, "%s: %v", d.Cmd, err)
	}
	return said
}

// end fails the test if there is a change that the scenario does not have, and lets everybody go home.
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
		t.Errorf("after the last command:\n%s", late)
	}
}

// await returns what tell says and has the told changes behind it: when it is what is expected, or patience ends.
func (p *play) await(expected string, tell func() (string, error)) (said string, err error) {
	deadline := time.Now().Add(wait.Patience)
	for settled := false; ; {
		if said, err = tell(); err != nil {
			return "", err
		}
		switch {
		case !p.system.patient() || settled && said == expected, time.Now().After(deadline):
			for name, events := range p.next {
				p.told[name] = events
			}
			return said, nil
		case said == expected:
			settled = true
			time.Sleep(settling)
		default:
			settled = false
			time.Sleep(poll)
		}
	}
}

// do carries out a command and returns how to tell what came of it.
func (p *play) do(d *datadriven.TestData) (tell func() (string, error), err error) {
	a := &arguments{all: d.CmdArgs}
	retry := a.value("retry")
	tell = func() (string, error) { return p.changes(retry) }
	switch d.Cmd {
	case "config":
		if len(p.names) > 0 {
			return nil, errors.New("comes too late")
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
			return nil, fmt.Errorf("%s was opened before", name)
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
			return nil, fmt.Errorf("%s is not a Go string", d.Input)
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
			return nil, errors.New("wants a rule and the parts of a key")
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
		return nil, errors.New("no such command")
	}
	return tell, errors.Join(err, a.leftOver())
}

// changes tells what has become of the streams since the last command.
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

// changesAndPart also tells which bytes of an unfinished event have come.
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

// metrics tells what is not 0, a line a rule, in the order of the configuration.
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

// arguments are those of a command, in order, that have not been looked at.
type arguments struct{ all []datadriven.CmdArg }

// next takes the first that has no value; "" if there is none.
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

// value takes the value of key.
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
		return fmt.Errorf("what is %v?", a.all)
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
	r.headers = append(r.headers, [2]string{"accept", accept})
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
