package main_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/etcdhost"
	"github.com/streamlatch/streamlatch/filter/fleet/etcdtest"
	"github.com/streamlatch/streamlatch/host"
)

// fleetOf is two Envoys of two workers each, with one etcd. A place is a worker in one of them: 0
// and 1 are in the first Envoy, 2 and 3 in the second.
type fleetOf struct {
	*etcdhost.Etcd
	t       *testing.T
	edges   []*edge
	streams []*fleetStream // all that were opened
}

// fleetStream is a stream, and where it is.
type fleetStream struct {
	*host.Stream
	place    int
	client   string
	answered bool // by its backend
}

const places = 4

// newFleet starts the Envoys. The rule may have more fields, and so may the whole configuration.
func newFleet(t *testing.T, rule, more string) *fleetOf {
	t.Helper()
	m, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleetOf{Etcd: etcdhost.New(t), t: t}
	config := `{"rules": [{"name": "events", "client": [{"header": "x-client-id"}]` + and(rule) + `}],
		"fleet": {"clusters": ["` + etcdhost.Cluster + `"], "secret": "000102030405060708090a0b0c0d0e0f"}` + and(more) + `}`
	for range 2 {
		v := f.Start(m, host.Config{Workers: 2, PluginConfig: []byte(config), FailurePolicy: host.FailReload})
		f.edges = append(f.edges, &edge{World: v.World, t: t})
	}
	return f
}

func and(fields string) string {
	if fields == "" {
		return ""
	}
	return ", " + fields
}

// worker returns the worker at a place.
func (f *fleetOf) worker(place int) *host.Worker { return f.edges[place/2].Worker(place % 2) }

// ask lets a request arrive. It may have more headers.
func (f *fleetOf) ask(place int, client string, headers ...string) *fleetStream {
	headers = append([]string{"accept", "text/event-stream", "x-client-id", client}, headers...)
	s := &fleetStream{Stream: f.worker(place).Open(host.Request("GET", "/events", headers...)), place: place, client: client}
	f.streams = append(f.streams, s)
	s.RequestHeaders(true)
	return s
}

// answer lets the backend answer, if it has the request and has not answered yet.
func (s *fleetStream) answer() {
	if !s.answered && s.ToUpstream().Headers != nil && s.LocalReply() == nil && !s.Ended() {
		s.answered = true
		s.ResponseHeaders(eventStream, false)
		s.ResponseBody([]byte("data: hello\n\n"), false)
	}
}

// open lets a request arrive and the backend answer it, while etcd answers at once.
func (f *fleetOf) open(place int, client string, headers ...string) *fleetStream {
	f.t.Helper()
	s := f.ask(place, client, headers...)
	f.Run()
	s.answer()
	f.Run()
	return s
}

// isOpen reports whether the client has received events, and the stream has not ended.
func (s *fleetStream) isOpen() bool { return len(s.ToClient().Body) > 0 && !s.Ended() }

// wantOpen fails the test unless of all streams exactly these are open, at etcd and in the Envoys'
// registries, and nothing is on the way.
func (f *fleetOf) wantOpen(want ...*fleetStream) {
	f.t.Helper()
	f.Run()
	var here [2]int
	calls := 0
	for n, s := range f.streams {
		if got, want := s.isOpen(), slices.Contains(want, s); got != want {
			f.t.Errorf("stream %d: open %t, want %t; its end is %v, %q", n, got, want, s.Ending(), s.reason())
		}
		if !s.Ended() && !s.isOpen() {
			f.t.Errorf("stream %d waits for ever", n)
		}
		if s.isOpen() {
			here[s.place/2]++
		}
	}
	for i, e := range f.edges {
		if got := e.registered(); got != here[i] {
			f.t.Errorf("Envoy %d has %d streams in its registry, want %d", i, got, here[i])
		}
		e.counted(map[string]uint64{"events.active": uint64(here[i]), "fleet_unregistered": 0})
		for _, c := range e.GRPCCalls() {
			if !e.Worker(c.Worker).Failed() {
				calls++
			}
		}
	}
	if want := 2 * len(f.Leases); calls != want {
		f.t.Errorf("%d calls to etcd are open, want %d: a watch and a keepalive for each lease", calls, want)
	}
	names := map[string]bool{}
	for _, k := range f.registeredStreams() {
		names[k.Name[len(k.Name)-8:]] = true
		if !f.Lives(k.Lease) {
			f.t.Errorf("%s has outlived its lease", k.Name)
		}
	}
	for _, s := range want {
		if name := fmt.Sprintf("%08x", s.ID()); !names[name] {
			f.t.Errorf("etcd has the streams %v, want %s among them", names, name)
		}
	}
	listed := len(f.Within("streamlatch/1/m/", "streamlatch/1/m0")) - len(f.Leases)
	if n := len(f.registeredStreams()); n != len(want) || listed != n {
		f.t.Errorf("etcd has %d streams and lists %d, want %d", n, listed, len(want))
	}
}

// registeredStreams returns the keys of streams in etcd.
func (f *fleetOf) registeredStreams() []etcdtest.Key {
	return f.Within("streamlatch/1/c/", "streamlatch/1/c0")
}

func (s *fleetStream) reason() string { return s.FilterState()["wasm.streamlatch.reason"] }

// wantReason fails the test unless a stream has ended for this reason.
func (f *fleetOf) wantReason(s *fleetStream, want string) {
	f.t.Helper()
	if got := s.reason(); !s.Ended() || got != want {
		f.t.Errorf("the stream has ended %t for reason %q, want %s", s.Ended(), got, want)
	}
}

// counts returns the sum of a counter over the Envoys.
func (f *fleetOf) counts(name string) (sum uint64) {
	for _, e := range f.edges {
		sum += e.Metrics().Counters["streamlatch."+name]
	}
	return sum
}

// endAll ends all streams, and wants nothing to be left of them.
func (f *fleetOf) endAll() {
	f.t.Helper()
	for _, s := range f.streams {
		s.End()
	}
	f.wantOpen()
	f.streams = nil
}

// The newest stream of a client ends the one before, whichever worker of which Envoy has it.
func TestFleetTakeover(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"request", "response"} {
		f := newFleet(t, `"takeover_limit": false, "claim_at": "`+at+`"`, "")
		for from := range places {
			for to := range places {
				other := f.open(from, "bob")
				old := f.open(from, "alice")
				fresh := f.open(to, "alice")
				f.wantOpen(other, fresh)
				f.wantReason(old, "superseded")
				f.endAll()
			}
		}
	}
}

// What a rule says about a client's streams holds over all Envoys.
func TestFleetVerdicts(t *testing.T) {
	for _, at := range []string{"request", "response"} {
		for _, c := range []struct {
			name, rule string
			opens      []string // place, instance
			open       []int    // of them
			refused    string   // the reason of the others; "": they are superseded
		}{
			{"reject_new", `"on_duplicate": "reject_new"`, []string{"0", "2", "3", "1"}, []int{0}, "refused_duplicate"},
			{"reject_new, an instance comes back", `"on_duplicate": "reject_new", "instance": [{"header": "x-instance"}]`,
				[]string{"0a", "2a"}, []int{1}, ""},
			{"max_streams 2", `"max_streams": 2`, []string{"0", "2", "3", "1"}, []int{2, 3}, ""},
			{"max_streams 2, reject_new", `"max_streams": 2, "on_duplicate": "reject_new"`, []string{"0", "2", "3"}, []int{0, 1}, "refused_duplicate"},
			{"a loser comes back", `"instance": [{"header": "x-instance"}]`, []string{"2a", "0b"}, []int{1}, ""},
			{"takeover_limit", `"takeover_limit": {"max_tokens": 1, "fill_interval": "1h"}`, []string{"3", "0"}, []int{1}, ""},
		} {
			t.Run(c.name+", at "+at, func(t *testing.T) {
				t.Parallel()
				f := newFleet(t, c.rule+`, "claim_at": "`+at+`"`, "")
				var all, open []*fleetStream
				for _, o := range c.opens {
					all = append(all, f.open(int(o[0]-'0'), "alice", "x-instance", o[1:]))
				}
				for n, s := range all {
					if slices.Contains(c.open, n) {
						open = append(open, s)
					} else if c.refused != "" {
						f.wantReason(s, c.refused)
					} else {
						f.wantReason(s, "superseded")
					}
				}
				f.wantOpen(open...)
				switch c.name {
				case "a loser comes back":
					f.wantReason(f.open(3, "alice", "x-instance", "a"), "refused_superseded")
				case "takeover_limit":
					f.wantReason(f.open(2, "alice"), "refused_takeover_limit")
				}
				f.wantOpen(open...)
				open[0].End()
				f.Run()
				open = append(open[1:], f.open(1, "alice")) // there is room
				f.wantOpen(open...)
				f.endAll()
			})
		}
	}
}

// A stream that is superseded at another Envoy says goodbye after its next event.
func TestFleetGoodbye(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"request", "response"} {
		f := newFleet(t, `"goodbye_grace": "1m", "claim_at": "`+at+`"`, "")
		old := f.open(1, "alice")
		fresh := f.open(2, "alice")
		old.ResponseBody([]byte("data: more\n\n"), false)
		f.wantOpen(fresh)
		f.wantReason(old, "superseded")
		if got := string(old.ToClient().Body); !strings.Contains(got, "data: more\n\n") || !strings.HasSuffix(got, "\n\n") || !strings.Contains(got, `{"reason":"superseded"`) {
			t.Errorf("the old stream received %q, want its last event and a goodbye", got)
		}
		f.endAll()
	}
}

// Operators end the streams of a client wherever they are, and at whichever Envoy they ask.
func TestFleetDismiss(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `"max_streams": 4`, `"admin_path": "/admin"`)
	dismiss := func(place int) (status int, streams int) {
		s := f.worker(place).Open(host.Request("DELETE", "/admin/streams/events/alice"))
		s.RequestHeaders(true)
		f.Advance(time.Second)
		var answer struct{ Streams int }
		_ = json.Unmarshal(s.LocalReply().Body, &answer) // an error has none
		return s.LocalReply().Status, answer.Streams
	}
	for asked := range places {
		other := f.open(asked, "bob")
		var streams []*fleetStream
		for place := range places {
			streams = append(streams, f.open(place, "alice"))
		}
		if status, n := dismiss(asked); status != 200 || n != places {
			t.Errorf("asked at %d: status %d, %d streams, want 200 and %d", asked, status, n, places)
		}
		line := fmt.Sprintf(" streams=%d", places)
		if got, want := len(f.edges[asked/2].Logs().Containing("dismissed rule=events ").Containing(line)), asked%2+1; got != want {
			t.Errorf("asked at %d: %d lines in this Envoy's log say how many streams have ended, want %d", asked, got, want)
		}
		f.wantOpen(other)
		for _, s := range streams {
			f.wantReason(s, "dismissed")
		}
		f.endAll()
	}
	// While etcd does not answer, an Envoy ends its own streams, and says that there may be others.
	here, elsewhere := f.open(0, "alice"), f.open(2, "alice")
	f.Envoys[0].Reach = etcdhost.Silent
	if status, _ := dismiss(1); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
	f.wantReason(here, "dismissed")
	f.Envoys[0].Reach = etcdhost.Answered
	f.Advance(2 * time.Second)
	f.wantOpen(elsewhere)
	f.endAll()
}
