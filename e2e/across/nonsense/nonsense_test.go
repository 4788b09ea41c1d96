//go:build etcd

// Package nonsense tests what the filter does with an etcd that refuses it, or answers nonsense.
package nonsense

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// header is the field with which each message of etcd begins.
func header(cluster, revision uint64) []byte {
	return message(1, append(number(1, cluster), number(3, revision)...))
}

func message(field protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), b)
}

func number(field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), n)
}

// always answers each call with the same.
func always(status int, fault string, messages ...[]byte) fleettest.Answer {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		fleettest.Messages(w, status, fault, messages...)
		return true
	}
}

const everything, ranges, grants, watches = "/etcdserverpb.", "/etcdserverpb.KV/Range", "/etcdserverpb.Lease/LeaseGrant", "/etcdserverpb.Watch/Watch"

// Etcd answers nonsense, or refuses the filter. The log says which, newcomers come in by the
// promise of this Envoy alone, and no stream ends. When etcd is right again, all are registered.
func TestNonsense(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	between := fleettest.NewBetween(t, e.Nodes[0].Address)
	r := fleettest.Envoys(t, 1, fleettest.Options{Ports: []int{between.Port}})[0]
	conns := []*rig.Conn{rigtest.Dial(t, r, rig.HTTP2, 0), rigtest.Dial(t, r, rig.HTTP2, 1)}
	open := func(t *testing.T, client string, worker int) *rig.Stream {
		return rigtest.Open(t, conns[worker], rigtest.Get("events", client))
	}
	part := append(header(e.Cluster(t), 1), number(3, 1)...)
	lease := append(header(e.Cluster(t), 1<<20), append(number(2, 12345), number(3, 5)...)...)
	for _, test := range []struct {
		what   string
		calls  string
		answer fleettest.Answer
		line   string // of the log
		fault  string // in it
	}{
		{"undecodable", everything, always(0, "", []byte("\xff\xff\xff")), "away", "malformed answer of etcd: 3 bytes"},
		{"empty", everything, always(0, "", nil), "away", "no cluster id in the header"},
		{"no message", everything, always(0, ""), "away", "status 13: "},
		{"permission denied", everything, always(7, "etcdserver: permission denied"), "away", "status 7: etcdserver: permission denied"},
		{"unauthenticated", everything, always(16, "etcdserver: invalid auth token"), "away", "status 16: etcdserver: invalid auth token"},
		{"unimplemented", everything, always(12, "unknown service"), "away", "status 12: unknown service"},
		{"reset", everything, func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, "away", "remote reset"},
		{"no gRPC", everything, func(w http.ResponseWriter, _ *http.Request) bool {
			http.NotFound(w, nil)
			return true
		}, "away", "status 12: "},
		{"another etcd", ranges, always(0, "", header(42, 5)), "away", "another etcd answers"},
		{"a part", ranges, always(0, "", part), "away", "a part of a range"},
		{"no lease", grants, always(0, "", header(e.Cluster(t), 1<<20)), "away", "lease 0 for 0 s, want an id and a time"},
		{"somebody's lease", grants, always(0, "", lease), "away", "requested lease not found"},
		{"watch denied", watches, always(7, "etcdserver: permission denied"), "watch broken", "status 7: etcdserver: permission denied"},
		{"watch undecodable", watches, always(0, "", []byte("\xff")), "watch broken", "malformed answer of etcd"},
	} {
		ok := t.Run(test.what, func(t *testing.T) {
			old, fresh := rigtest.NewClients(2), rigtest.NewClients(2)
			superseded, kept := open(t, old[0], 0), open(t, old[1], 1)
			e.WantStreams(t, 2)
			logged := len(r.Log.Lines())
			between.Answer(func(w http.ResponseWriter, r *http.Request) bool {
				return strings.HasPrefix(r.URL.Path, test.calls) && test.answer(w, r)
			})
			e.RevokeAll(t)
			streams := []*rig.Stream{kept, open(t, fresh[0], 0), open(t, fresh[1], 1), open(t, old[0], 1)}
			rigtest.WantEnd(t, superseded, rig.Reset)
			wait.Until(t, func() error {
				lines := r.Log.Lines()[logged:]
				for _, line := range lines {
					if strings.Contains(line, "fleet "+test.line+" cluster=etcd fault=") && strings.Contains(line, test.fault) {
						return nil
					}
				}
				return fmt.Errorf("the log has no line %q with %q:\n%s", test.line, test.fault, strings.Join(lines, "\n"))
			})
			between.Answer(nil)
			e.WantStreams(t, len(streams))
			for i, s := range streams {
				if !s.Live() {
					t.Errorf("stream %d has ended", i)
				}
				s.Close()
			}
			e.WantStreams(t, 0)
		})
		if !ok {
			return // the next would begin with what this one has left
		}
	}
	metrics := rigtest.Metrics(t, r)
	for _, name := range []string{"fleet_unavailable", "fleet_leases_lost", "fleet_resyncs", "fleet_returned"} {
		if metrics[name] == 0 {
			t.Errorf("%s is 0, want it counted", name)
		}
	}
}

// Under the prefix are keys and values that are not the fleet's. They are counted and named, and
// streams come and go as ever.
func TestForeign(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	envoys := fleettest.Envoys(t, 2, fleettest.Options{Ports: e.Ports(t)})
	client := rigtest.NewClient()
	old := fleettest.Open(t, envoys[0], rig.HTTP2, 0, client)
	key := e.WantStreams(t, 1)[0]
	theirs := strings.TrimSuffix(key, key[strings.LastIndex(key, "/")+1:])
	right := e.Get(t, key)
	foreign := []string{theirs + "somebody", theirs + "0000000000000000ffffffff", theirs + "000000000000000100000001"}
	e.Put(t, foreign[0], right)                                               // no name of a stream
	e.Put(t, foreign[1], right[:5])                                           // a value of another version
	e.Put(t, foreign[2], append(bytes.Repeat([]byte{0xff}, 8), right[8:]...)) // the last stamp of all
	members, err := e.Keys(t.Context(), "streamlatch/1/m/")
	if err != nil {
		t.Fatal(err)
	}
	e.Put(t, members[0]+"somebody", right)
	fresh := fleettest.Open(t, envoys[1], rig.HTTP2, 0, client)
	rigtest.WantEnd(t, old, rig.Reset)
	rigtest.WantLive(t, envoys[0], client, fresh)
	for _, r := range envoys {
		wait.Until(t, func() error {
			if rigtest.Metrics(t, r)["fleet_foreign"] == 0 {
				return errors.New("fleet_foreign is 0, want it counted")
			}
			if len(r.Log.Containing("keys or values under the fleet's prefix that are not the fleet's")) == 0 {
				return errors.New("the log does not name foreign keys")
			}
			return nil
		})
	}
	fresh.Close()
	e.WantStreams(t, len(foreign))
}

// Somebody deletes the key of a member's lease, and no other. The stream lives on, under another
// lease.
func TestSentinelDeleted(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	r := fleettest.Envoys(t, 1, fleettest.Options{Ports: e.Ports(t)})[0]
	client := rigtest.NewClient()
	s := fleettest.Open(t, r, rig.HTTP2, 0, client)
	before := e.WantStreams(t, 1)[0]
	members, err := e.Keys(t.Context(), "streamlatch/1/m/")
	if err != nil {
		t.Fatal(err)
	}
	e.Delete(t, members[0])
	wait.Until(t, func() error {
		if e.WantStreams(t, 1)[0] == before {
			return errors.New("the stream is registered under its first lease")
		}
		return nil
	})
	rigtest.WantLive(t, r, client, s)
	wait.Until(t, func() error {
		const want = `fleet lease lost cluster=etcd fault="its keys were deleted"`
		if len(r.Log.Containing(want)) == 0 {
			return fmt.Errorf("the log has no line %s", want)
		}
		return nil
	})
	s.Close()
	e.WantStreams(t, 0)
}

// A client has more keys than anyone asked for. The Envoy lives, and the client's streams come and
// go as ever.
func TestHugeRange(t *testing.T) {
	t.Parallel()
	e := fleettest.StartEtcd(t, 1)
	between := fleettest.NewBetween(t, e.Nodes[0].Address)
	r := fleettest.Envoys(t, 1, fleettest.Options{Ports: []int{between.Port}})[0]
	c := rigtest.Dial(t, r, rig.HTTP2, 0)
	first := rigtest.Open(t, c, rigtest.Get("events", rigtest.NewClient()))
	e.WantStreams(t, 1)
	const keys = 100_000
	kv := append(message(1, []byte("elsewhere")), message(5, bytes.Repeat([]byte("x"), 100))...)
	huge := append(header(e.Cluster(t), 1<<20), bytes.Repeat(message(2, kv), keys)...)
	between.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		return r.URL.Path == ranges && always(0, "", huge)(w, r)
	})
	client := rigtest.NewClient()
	second := rigtest.Open(t, c, rigtest.Get("events", client))
	wait.Until(t, func() error {
		if n := rigtest.Metrics(t, r)["fleet_foreign"]; n < keys {
			return fmt.Errorf("fleet_foreign is %d, want %d at least", n, keys)
		}
		return nil
	})
	between.Answer(nil)
	third := rigtest.Open(t, c, rigtest.Get("events", client))
	rigtest.WantEnd(t, second, rig.Reset)
	e.WantStreams(t, 2)
	for _, s := range []*rig.Stream{first, third} {
		if !s.Live() {
			t.Error("a stream has ended")
		}
		s.Close()
	}
	e.WantStreams(t, 0)
}
