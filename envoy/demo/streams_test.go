package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// watch opens the feed of a client. The function that it returns reads the feed until it says what
// is wanted.
func (b served) watch(client string) (until func(what string, holds func(State) bool) State) {
	b.t.Helper()
	response, _ := b.do(http.DefaultClient, "GET", "/demo/feed?"+url.Values{"client": {client}}.Encode(), "")
	lines := bufio.NewScanner(response.Body)
	return func(what string, holds func(State) bool) State {
		b.t.Helper()
		var now State
		for lines.Scan() {
			data, isData := strings.CutPrefix(lines.Text(), "data: ")
			if !isData {
				continue
			}
			now = State{}
			if err := json.Unmarshal([]byte(data), &now); err != nil {
				b.t.Fatal(err)
			}
			if holds(now) {
				return now
			}
		}
		b.t.Fatalf("the feed ended (%v) with %+v, want %s", lines.Err(), now, what)
		return now
	}
}

func tabs(s State) (tabs []string) {
	for _, stream := range s.Streams {
		tabs = append(tabs, stream.Tab)
	}
	return tabs
}

func has(want ...string) func(State) bool {
	return func(s State) bool { return slices.Equal(tabs(s), want) }
}

// The feed tells of each stream of its client, and for how long there were several.
func TestFeed(t *testing.T) {
	b := serve(t, 5*time.Millisecond)
	c := client(t, true)
	b.do(c, "GET", "/events?client=bob", "")
	until := b.watch("ann")
	if now := until("the state at once", func(State) bool { return true }); len(now.Streams) > 0 || now.CrowdedMS != nil {
		t.Errorf("got %+v, want nothing of bob", now)
	}
	_, leave := b.do(c, "GET", "/events?client=ann&tab=a", "")
	until("the first stream, with events", func(s State) bool { return has("a")(s) && s.Streams[0].Events > 3 && s.CrowdedMS == nil })
	_, leaveB := b.do(c, "GET", "/events?client=ann&tab=b", "")
	now := until("both streams", has("a", "b"))
	if now.CrowdedMS == nil || *now.CrowdedMS > 10_000 || len(now.Takeovers) > 0 {
		t.Errorf("got %+v, want a moment with two streams", now)
	}
	leave()
	now = until("the second stream", has("b"))
	if now.CrowdedMS != nil || len(now.Takeovers) != 1 {
		t.Fatalf("got %+v, want one stream, and its takeover", now)
	}
	if took := now.Takeovers[0]; took.From != "a" || took.To != "b" || took.ID != now.Streams[0].ID || took.MS <= 0 || took.MS > 10_000 {
		t.Errorf("got %+v, want the takeover of a by b", took)
	}

	// If the newest stream leaves, it has taken nothing over.
	_, leaveC := b.do(c, "GET", "/events?client=ann&tab=c", "")
	until("both streams", has("b", "c"))
	leaveC()
	if now := until("the old stream", has("b")); len(now.Takeovers) != 1 {
		t.Errorf("got %+v, want no other takeover", now.Takeovers)
	}
	leaveB()
	until("no stream", has())
}

// A stream that opens makes the client's other streams send a comment, so that one that was
// superseded can say goodbye. A comment is no event.
func TestANewStreamWakesTheOthers(t *testing.T) {
	b := serve(t, time.Hour)
	c := client(t, true)
	first, _ := b.do(c, "GET", "/events?client=ann", "")
	events(t, first.Body)()
	second, _ := b.do(c, "GET", "/events?client=ann", "")
	events(t, second.Body)()
	if line, err := bufio.NewReader(first.Body).ReadString('\n'); line != ":\n" {
		t.Errorf("the first stream: got %q (%v), want a comment", line, err)
	}
	now, _ := b.streams.state("ann", b.network.lost)
	if now.Streams[0].Events != 1 {
		t.Errorf("the first stream: got %d events, want 1", now.Streams[0].Events)
	}
}

// Only the client's other streams are woken, and nobody waits for one that is slow.
func TestWakeOthers(t *testing.T) {
	all := newStreams()
	old, other, newest := all.open("ann", "", 0), all.open("bob", "", 0), all.open("ann", "", 0)
	all.wakeOthers(newest)
	all.wakeOthers(newest)
	if got := [...]int{len(old.wake), len(other.wake), len(newest.wake)}; got != [...]int{1, 0, 0} {
		t.Errorf("got %v wake-ups of the old stream, another client's and the newest, want 1, 0, 0", got)
	}
}

// What the backend remembers is bounded.
func TestTakeoversAreForgotten(t *testing.T) {
	all := newStreams()
	for i := range 100 {
		old := all.open("ann", fmt.Sprint(i), 0)
		newer := all.open("ann", fmt.Sprint(i), 0)
		all.close(old)
		all.close(newer)
	}
	now, _ := all.state("ann", func(int) bool { return false })
	if n := len(now.Takeovers); n != maxTakeovers || now.Takeovers[n-1].To != "99" {
		t.Errorf("got %d takeovers, want the last %d", n, maxTakeovers)
	}
	if len(all.live)+len(all.crowds) > 0 {
		t.Errorf("got %v and %v after the end of all streams", all.live, all.crowds)
	}
}
