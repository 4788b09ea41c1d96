package scenario

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ending is how a stream ended for its client.
type ending int

const (
	finished ending = iota + 1 // the response ended in an orderly way
	reset                      // the response was cut
	closed                     // the client closed it
)

// seen is what has become of a stream so far.
type seen struct {
	status     int // 0: not answered
	mediaType  string
	retryAfter string
	body       string
	end        ending // 0: it has not ended, or the access log does not have it yet
	reason     string // in the access log, after the end
}

// event is one thing that happened to a stream.
type event struct {
	text  string
	retry retry
}

// retry is how long a client is told to wait.
type retry struct {
	told bool // an event of this kind can have a waiting time
	set  bool
	time time.Duration
}

// within returns " retry " and the wanted range, for example "1s..2s" or "none", if the time is in
// it. Otherwise it returns the time itself instead of the range.
func (r retry) within(wanted string) string {
	if !r.told || wanted == "" {
		return ""
	}
	found := "none"
	if r.set {
		found = r.time.String()
	}
	from, to, ok := strings.Cut(wanted, "..")
	if ok && r.set {
		least, err := time.ParseDuration(from)
		most, err2 := time.ParseDuration(to)
		if err == nil && err2 == nil && least <= r.time && r.time <= most {
			found = wanted
		}
	}
	return " retry " + found
}

// story returns everything that has happened to a stream. told is what it returned before.
func (s seen) story(told []event) []event {
	var story []event
	if waited := len(told) > 0 && told[0].text == "waiting"; waited || s.status == 0 && s.end == 0 {
		story = append(story, event{text: "waiting"})
	}
	switch {
	case s.status == 0:
	case s.status == 200 && s.mediaType == "text/event-stream":
		all, part := parse(s.body)
		if s.end == finished && len(all) == 1 && all[0].name == filterEvent {
			return append(story, event{"refused 200 " + all[0].data + s.refusalLogged(all[0].data), all[0].retry})
		}
		for i, e := range all {
			switch {
			case e.name == filterEvent:
				story = append(story, event{"goodbye " + e.data, e.retry})
			case i == 0 && e.data == firstEvent:
				story = append(story, event{text: "open"})
			default:
				story = append(story, event{text: "event " + e.data})
			}
		}
		if s.end != 0 && part != "" {
			story = append(story, event{text: fmt.Sprintf("cut in the midst of an event: %q", part)})
		}
	case s.mediaType == slowType:
		story = append(story, event{text: fmt.Sprintf("answered %d", s.status)})
	case s.end == 0: // the answer is short: wait until it is complete
		return story
	default:
		var refusal struct{ Reason string }
		if json.Unmarshal([]byte(s.body), &refusal) == nil && refusal.Reason != "" {
			seconds, err := strconv.Atoi(s.retryAfter)
			retry := retry{told: true, set: err == nil, time: time.Duration(seconds) * time.Second}
			return append(story, event{fmt.Sprintf("refused %d %s%s", s.status, refusal.Reason, s.refusalLogged(refusal.Reason)), retry})
		}
		return append(story, event{text: strings.TrimSuffix(fmt.Sprintf("answered %d %s", s.status, s.reason), " ")})
	}
	if s.end != 0 {
		how := map[ending]string{finished: "ended", reset: "reset", closed: "closed"}[s.end]
		if s.end == reset {
			how += " " + cmp.Or(s.reason, "for no reason")
		} else if s.reason != "" {
			how += " " + s.reason
		}
		story = append(story, event{text: how})
	}
	return story
}

// refusalLogged returns an empty string if the access log gives the same reason as the response.
func (s seen) refusalLogged(why string) string {
	if s.reason == "refused_"+why {
		return ""
	}
	return fmt.Sprintf(", but logged as %q", s.reason)
}

// filterEvent is the type of the filter's own events.
const filterEvent = "streamlatch"

// serverEvent is an event of an event stream.
type serverEvent struct {
	name, data string // for a filterEvent, data is its reason
	retry      retry
}

// parse returns the complete events of a stream, and the incomplete rest.
func parse(body string) (all []serverEvent, part string) {
	blocks := strings.Split(body, "\n\n")
	for _, block := range slices.Clone(blocks[:len(blocks)-1]) {
		var e serverEvent
		var data []string
		for line := range strings.Lines(block) {
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			value = strings.TrimPrefix(value, " ")
			switch field {
			case "event":
				e.name = value
			case "data":
				data = append(data, value)
			case "retry":
				ms, err := strconv.Atoi(value)
				e.retry.set, e.retry.time = err == nil, time.Duration(ms)*time.Millisecond
			}
		}
		e.data = strings.Join(data, "|")
		if e.name == filterEvent {
			e.retry.told = true
			var d struct{ Reason string }
			if json.Unmarshal([]byte(e.data), &d) == nil {
				e.data = d.Reason
			}
		}
		all = append(all, e)
	}
	return all, blocks[len(blocks)-1]
}
