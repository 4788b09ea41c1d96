//go:build !wasip1

package session

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// twoSources is a rule whose clients are named by a verified claim and by a header.
const twoSources = `{"rules": [{"name": "events", "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}, {"header": "x-device"}]}]}`

// verified is a request whose token jwt_authn has verified: it has left these claims under a name.
func verified(t *testing.T, name string, claims map[string]any) fields {
	payloads, err := structpb.NewStruct(map[string]any{name: claims})
	if err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(payloads)
	if err != nil {
		t.Fatal(err)
	}
	entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "envoy.filters.http.jwt_authn")
	entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), data)
	return get.with("metadata", string(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)))
}

// A request that lacks a source is counted under the first that it lacks. The log names rule and
// source as the configuration does, and says what to look at. It has nothing that the client sent.
func TestNoKeyNamesTheMissingSource(t *testing.T) {
	const claim = `missing=client[0] source={"jwt_claim":{"claim":"sub","metadata_key":"payload"}} hint=`
	const header = `missing=client[1] source={"header":"x-device"} hint=`
	for _, c := range []struct {
		name    string
		request fields
		want    string
		later   int64 // of no_key, for the second source
	}{
		{"no token", get, claim + `"jwt_authn has left no payload: it must stand before this filter and have payload_in_metadata: payload"`, 0},
		{"another name", verified(t, "mallory", map[string]any{"sub": "mallory"}), claim + `"jwt_authn has left nothing under this metadata_key: it must have payload_in_metadata: payload"`, 0},
		{"another claim", verified(t, "payload", map[string]any{"mallory": "mallory"}), claim + `"the token has no such claim, or one that is neither text nor a whole number"`, 0},
		{"no header", verified(t, "payload", map[string]any{"sub": "mallory"}), header + `"if another filter sets this header, it must stand before this filter"`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEdge(t)
			w := e.worker(twoSources)
			w.send(c.request.with("cookie", "mallory=mallory", "x-forwarded-for", "mallory"))
			if got, want := e.lines("no_key "), []string{"warn no_key rule=events " + c.want}; !slices.Equal(got, want) {
				t.Errorf("the log says %q, want %q", got, want)
			}
			if found := e.lines("mallory"); found != nil {
				t.Errorf("%q has what the client sent", found)
			}
			e.counted(map[string]int64{"events.matched": 1, "events.no_key": 1, "events.no_key_second": c.later, "events.opened": 0})
		})
	}
}

// A cookie that is missing needs no hint.
func TestNoKeyWithoutHint(t *testing.T) {
	e := newEdge(t)
	w := e.worker(`{"rules": [{"name": "events", "client": [{"cookie": "session"}]}]}`)
	w.send(get)
	if got, want := e.lines("no_key "), []string{`warn no_key rule=events missing=client[0] source={"cookie":"session"}`}; !slices.Equal(got, want) {
		t.Errorf("the log says %q, want %q", got, want)
	}
}

// A line comes at once, and again after a minute; one source does not keep another's back.
func TestNoKeyIsLoggedOnceAMinute(t *testing.T) {
	e := newEdge(t)
	w := e.worker(twoSources)
	lack := func(request fields, first, second int) {
		t.Helper()
		w.send(request)
		if a, b := len(e.lines("missing=client[0]")), len(e.lines("missing=client[1]")); a != first || b != second {
			t.Errorf("%d lines for the first source and %d for the second, want %d and %d", a, b, first, second)
		}
	}
	half := verified(t, "payload", map[string]any{"sub": "alice"})
	lack(get, 1, 0)
	lack(half, 1, 1)
	e.now += 59_999
	lack(get, 1, 1)
	e.now++
	lack(half, 1, 2)
	lack(get, 2, 2)
	e.counted(map[string]int64{"events.matched": 5, "events.no_key": 5, "events.no_key_second": 2})
}

// A rule may have eight sources; each has a counter, the first by subtraction.
func TestNoKeyOfEightSources(t *testing.T) {
	e := newEdge(t)
	var sources, headers []string
	for i := range 8 {
		sources = append(sources, fmt.Sprintf(`{"header": "x-%d"}`, i))
		headers = append(headers, fmt.Sprint("x-", i), "here")
	}
	w := e.worker(`{"rules": [{"name": "events", "client": [` + strings.Join(sources, ",") + `]}], "admin_path": "/admin"}`)
	for i := range 8 {
		for range i + 1 {
			w.send(get.with(headers[:2*i]...))
		}
	}
	e.counted(map[string]int64{"events.no_key": 36, "events.no_key_second": 2, "events.no_key_third": 3, "events.no_key_fourth": 4,
		"events.no_key_fifth": 5, "events.no_key_sixth": 6, "events.no_key_seventh": 7, "events.no_key_eighth": 8})
	var want []string
	for i := range 8 {
		want = append(want, fmt.Sprintf(`{"source":{"header":"x-%d"},"requests":%d}`, i, i+1))
	}
	if got := w.admin("GET", "/admin").body; !strings.Contains(got, `"missing":[`+strings.Join(want, ",")+`]`) {
		t.Errorf("the status is %s, want each source in it", got)
	}
}

// What Envoy cuts by a timeout of its own is told in the log, with the setting.
func TestCutStreams(t *testing.T) {
	for _, c := range []struct{ details, rule, hint string }{
		{"response_timeout", "", "the route needs timeout: 0s"},
		{"response_timeout", `"max_lifetime": "1s", "mode": "observe"`, "the route needs timeout: 0s"},
		{"stream_idle_timeout", "", "the route needs idle_timeout: 0s"},
		{"via_upstream", "", ""},
		{"downstream_remote_disconnect", "", ""},
		{"", "", ""},
	} {
		t.Run(c.details+c.rule, func(t *testing.T) {
			e := newEdge(t)
			x := e.worker(configured(c.rule, "")).open("alice")
			e.advance(15)
			client := x.stream.place.Client.Short()
			x.cut(c.details)
			var want []string
			if c.hint != "" {
				want = []string{fmt.Sprintf("warn cut rule=events client=%s duration_ms=15000 by=%s hint=%q", client, c.details, c.hint)}
			}
			if got := e.lines("cut "); !slices.Equal(got, want) {
				t.Errorf("the log says %q, want %q", got, want)
			}
		})
	}
}

// Envoy is asked once a second at most, and the log has one line a minute for each rule.
func TestCutsAreToldNowAndThen(t *testing.T) {
	e := newEdge(t)
	w := e.worker(strings.Replace(configured("", ""), `[{"name"`, `[{"name": "other", "match": {"path": {"exact": "/other"}}, "client": [{"header": "x-client-id"}]}, {"name"`, 1))
	cut := func(path string, want int) {
		t.Helper()
		x := w.open("alice", ":path", path)
		x.cut("response_timeout")
		if got := len(e.lines("cut rule")); got != want {
			t.Errorf("after %s: %d lines, want %d: %q", path, got, want, e.log)
		}
	}
	w.open("bob").cut("downstream_remote_disconnect")
	cut("/events", 0) // Envoy was asked within this second
	e.now += 1000
	cut("/events", 1)
	e.now += 1000
	cut("/other", 2)
	e.now += 58_999
	cut("/events", 2)
	e.now += 1
	cut("/events", 2) // within a second of the last question
	e.now += 1000
	cut("/events", 3)
}

// Nobody asks how a stream has ended that the filter has ended, that was no event stream, or of
// whose end Envoy does not tell: then another stream would be asked about.
func TestNobodyAsksHowOtherStreamsEnded(t *testing.T) {
	e := newEdge(t)
	w := e.worker(configured("", ""))
	old := w.open("alice")
	old.details = "response_timeout"
	w.open("alice")
	e.run() // resets the old one
	w.ask("bob").cut("response_timeout")
	refused := w.ask("carol")
	refused.answer(fields{":status": "503"})
	refused.cut("response_timeout")
	w.open("dan").vanish()
	e.advance(5)
	if got := e.lines("cut "); got != nil || old.ended != byReset {
		t.Errorf("the log says %q, the old stream %q", got, old.ended)
	}
	e.counted(map[string]int64{"events.superseded": 1, "events.released": 1})
}
