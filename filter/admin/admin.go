// Package admin reads requests to the admin path and writes the answers. Operators use the admin
// path, and backends may use it to end a client's streams at a logout.
//
//	GET    <path>                                          the status, as JSON
//	DELETE <path>/streams/<rule>/<key part>[/<key part>…]  ends the streams of one client
//
// A key part is the value of one source of the rule's client, percent-encoded: "a/b" is a%2Fb.
package admin

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Request is what a request asks for.
type Request struct {
	Dismiss bool // true: end the streams of a client; false: report the status

	// With Dismiss: the name of the client's rule, which may not exist, and the parts of the
	// client's key in the order of the rule's sources. There is at least one part, and none is
	// empty.
	Rule  string
	Parts []string
}

// Fault is the answer to a request that is not understood.
type Fault struct {
	Status  uint32
	Allow   string // with status 405: the method that is allowed
	Message string
}

// Covers reports whether path, which may have a query, is the admin path or below it.
func Covers(adminPath, path string) bool {
	path = withoutQuery(path)
	rest, below := strings.CutPrefix(path, adminPath)
	return below && (rest == "" || rest[0] == '/')
}

// Parse reads a request. Covers(adminPath, path) must be true.
func Parse(adminPath, method, path string) (Request, *Fault) {
	path = strings.TrimPrefix(withoutQuery(path), adminPath)
	if path == "" || path == "/" {
		if method != "GET" {
			return Request{}, &Fault{405, "GET", fmt.Sprintf("method is %q, want GET to read the status", method)}
		}
		return Request{}, nil
	}
	streams, below := strings.CutPrefix(path, "/streams/")
	if !below {
		return Request{}, &Fault{404, "", "not found, want the admin path itself or streams/<rule>/<key part> below it"}
	}
	if method != "DELETE" {
		return Request{}, &Fault{405, "DELETE", fmt.Sprintf("method is %q, want DELETE to end streams", method)}
	}
	rule, key, _ := strings.Cut(streams, "/")
	r := Request{Dismiss: true, Rule: rule}
	for part := range strings.SplitSeq(key, "/") {
		decoded, err := url.PathUnescape(part)
		if err != nil || decoded == "" {
			message := fmt.Sprintf("key part %d is %q, want a percent-encoded value that is not empty", len(r.Parts)+1, part)
			return Request{}, &Fault{400, "", message}
		}
		r.Parts = append(r.Parts, decoded)
	}
	return r, nil
}

func withoutQuery(path string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// AppendJSON appends the body of the answer: the message as JSON, and a line feed.
func (f *Fault) AppendJSON(dst []byte) []byte {
	return fmt.Appendf(dst, "{\"error\":%s}\n", quote(f.Message))
}

// Status is the state of the filter in this Envoy.
type Status struct {
	Version string
	VMID    string // of the asked listener; "": unknown
	Config  string // the effective configuration of the asked listener; must be JSON
	Rules   []Rule
	Workers []Worker
	Now     int64 // milliseconds
}

// Rule is a rule of any filter configuration in this Envoy. Its counts are those since Envoy's
// start.
type Rule struct {
	Name    string
	Active  uint64 // streams in the registry
	Matched uint64 // requests
	Tracked uint64 // event streams with a client key
	NoKey   uint64 // requests without
	Missing []Missing
}

// Missing is a source that requests lacked.
type Missing struct {
	Source   string // as the configuration has it; must be JSON
	Requests uint64
}

// Worker is a worker in the registry.
type Worker struct {
	Slot    uint16
	Streams uint32
	BeatAt  int64  // time of its last heartbeat, milliseconds
	Fleet   []byte // from [AppendMembers], at about that time; nil: it is in no fleet
}

// Member is what a worker has in one of the fleet's etcds.
type Member struct {
	Cluster      string // of Envoy, that reaches the etcd
	Lease        int64  // the member's name in etcd; 0: it has none
	Age          int64  // of the lease, milliseconds
	Away         bool   // etcd does not answer
	Fault        string // why etcd is away, or why the watch was cancelled; "": all is well
	Registered   int    // streams
	Unregistered int    // streams that are in and are to be registered
	Returning    int    // of Unregistered: etcd is being asked
}

// AppendMembers appends what a worker has in a fleet, as JSON.
func AppendMembers(dst []byte, members []Member) []byte {
	dst = append(dst, '[')
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = fmt.Appendf(dst, `{"cluster":%s`, quote(m.Cluster))
		if m.Lease != 0 {
			dst = fmt.Appendf(dst, `,"lease":"%016x","lease_age_ms":%d`, m.Lease, m.Age)
		}
		dst = fmt.Appendf(dst, `,"away":%v,"registered":%d,"unregistered":%d,"returning":%d`, m.Away, m.Registered, m.Unregistered, m.Returning)
		if m.Fault != "" {
			dst = append(append(dst, `,"fault":`...), quote(m.Fault)...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// hint returns what to look at if the filter does nothing in this Envoy, or "".
func (s *Status) hint() string {
	if len(s.Rules) > 0 {
		return ""
	}
	return "no filter with rules has started with this vm_id: the listeners for clients need the same vm_id as this one"
}

// hint returns what to look at if no stream was tracked, or "".
func (r *Rule) hint() string {
	switch {
	case r.Tracked > 0:
		return ""
	case r.Matched == 0:
		return "no request has matched: the route needs the filter in its typed_per_filter_config, and match must fit its requests"
	case r.Matched == r.NoKey:
		return "no request had a client key: see missing, and the lines no_key in Envoy's log"
	}
	return "no response was an event stream: it needs status 200 and content-type text/event-stream"
}

// AppendJSON appends the status as JSON, and a line feed.
func (s *Status) AppendJSON(dst []byte) []byte {
	rules, active := make([]string, len(s.Rules)), uint64(0)
	for i, r := range s.Rules {
		rules[i] = r.json()
		active += r.Active
	}
	workers := make([]string, len(s.Workers))
	for i, w := range s.Workers {
		workers[i] = w.json(s.Now)
	}
	return fmt.Appendf(dst, `{"version":%s,"vm_id":%s,"rules":[%s],"workers":[%s],"totals":{"active":%d,"workers":%d}%s,"config":%s}`+"\n",
		quote(s.Version), quote(s.VMID), strings.Join(rules, ","), strings.Join(workers, ","), active, len(s.Workers), hintMember(s.hint()), s.Config)
}

func (w *Worker) json(now int64) string {
	fleet := ""
	if jsontext.Value(w.Fleet).IsValid() { // all filters with the same vm_id can write it
		fleet = fmt.Sprintf(`,"fleet":%s`, w.Fleet)
	}
	return fmt.Sprintf(`{"slot":%d,"streams":%d,"heartbeat_age_ms":%d%s}`, w.Slot, w.Streams, max(0, now-w.BeatAt), fleet)
}

func (r *Rule) json() string {
	missing := make([]string, len(r.Missing))
	for i, m := range r.Missing {
		missing[i] = fmt.Sprintf(`{"source":%s,"requests":%d}`, m.Source, m.Requests)
	}
	return fmt.Sprintf(`{"name":%s,"active":%d,"matched":%d,"tracked":%d,"no_key":%d,"missing":[%s]%s}`,
		quote(r.Name), r.Active, r.Matched, r.Tracked, r.NoKey, strings.Join(missing, ","), hintMember(r.hint()))
}

// hintMember returns the last member of an object: the hint, or nothing if there is none.
func hintMember(hint string) string {
	if hint == "" {
		return ""
	}
	return `,"hint":` + quote(hint)
}

// quote returns text as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func quote(text string) string {
	quoted, _ := jsontext.AppendQuote(nil, text) // the error only means that U+FFFD replaces bytes
	return string(quoted)
}
