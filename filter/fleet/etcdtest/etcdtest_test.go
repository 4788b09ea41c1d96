package etcdtest

import (
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// What etcd's own types encode is read, all of it.
func TestParseRequest(t *testing.T) {
	methods := map[string]etcd.Method{
		"range": etcd.KVRange, "put": etcd.KVPut, "txn": etcd.KVTxn, "grant": etcd.LeaseGrant,
		"revoke": etcd.LeaseRevoke, "keep": etcd.LeaseKeepAlive, "watch": etcd.WatchWatch,
	}
	file, err := os.ReadFile("../etcd/testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	read := map[etcd.Method]bool{}
	for line := range strings.Lines(string(file)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if strings.Contains(name, "answer") {
			continue
		}
		message, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(name, " ")
		m := methods[kind]
		if _, err := ParseRequest(m, message); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		read[m] = true
		for _, bad := range [][]byte{append(slices.Clone(message), 0x78, 1), append(slices.Clone(message), 0xff)} {
			if r, err := ParseRequest(m, bad); err == nil {
				t.Errorf("%s with more: got %+v, want an error", name, r)
			}
		}
		if got, found := MethodOf(m.Service(), m.String()); !found || got != m {
			t.Errorf("%s/%s: got method %d, %t", m.Service(), m, got, found)
		}
	}
	if len(read) != len(methods) {
		t.Errorf("methods with messages: %v, want all of %v", read, methods)
	}
	if m, found := MethodOf("etcdserverpb.KV", "Compact"); found {
		t.Errorf("got method %d for one that the fleet does not use", m)
	}
}

// run carries out a request and shows what it has changed.
func run(s *Store, r etcd.Request) string {
	_, failed := s.Do(r)
	b := fmt.Sprintf("%d:", s.Revision)
	for _, k := range s.Keys {
		b += fmt.Sprintf(" %s=%s(%d,%d,lease %d)", k.Name, k.Value, k.Created, k.Written, k.Lease)
	}
	if failed != nil {
		b += " " + failed.Message
	}
	return b
}

// TestSimulatedEtcd in e2e/across compares this etcd with a real one.
func TestStore(t *testing.T) {
	s := New()
	for _, c := range []struct {
		r    etcd.Request
		want string
	}{
		{etcd.LeaseGrantRequest{TTL: 10}, "1:"},
		{etcd.PutRequest{Key: "a", Value: []byte("x"), Lease: 1}, "2: a=x(2,2,lease 1)"},
		{etcd.PutRequest{Key: "b", Lease: 9}, "2: a=x(2,2,lease 1) etcdserver: requested lease not found"},
		{etcd.PutRequest{Key: "b", IgnoreLease: true}, "2: a=x(2,2,lease 1) etcdserver: key not found"},
		{etcd.PutRequest{Key: "a", Value: []byte("y"), IgnoreLease: true}, "3: a=y(2,3,lease 1)"},
		{etcd.Txn{
			Compare: []etcd.Compare{{Key: "a", End: "b", Target: etcd.ModLess, Revision: 3}},
			Success: []etcd.Op{etcd.DeleteRequest{Key: "a"}}, Failure: []etcd.Op{etcd.RangeRequest{Key: "a"}},
		}, "3: a=y(2,3,lease 1)"},
		{etcd.Txn{Success: []etcd.Op{etcd.DeleteRequest{Key: "z"}}}, "3: a=y(2,3,lease 1)"},
		{etcd.Txn{
			Compare: []etcd.Compare{{Key: "a", End: "b", Target: etcd.ModLess, Revision: 4}, {Key: "a", Target: etcd.CreateEqual, Revision: 2}, {Key: "c", Target: etcd.CreateEqual}},
			Success: []etcd.Op{etcd.PutRequest{Key: "b", Value: []byte("v"), Lease: 1}, etcd.DeleteRequest{Key: "a"}},
		}, "4: b=v(4,4,lease 1)"},
		{etcd.Txn{Success: []etcd.Op{etcd.DeleteRequest{Key: "b"}, etcd.PutRequest{Key: "c", Lease: 9}}}, "4: b=v(4,4,lease 1) etcdserver: requested lease not found"},
		{etcd.PutRequest{Key: "c"}, "5: b=v(4,4,lease 1) c=(5,5,lease 0)"},
		{etcd.LeaseRevokeRequest{ID: 1}, "6: c=(5,5,lease 0)"},
		{etcd.LeaseRevokeRequest{ID: 1}, "6: c=(5,5,lease 0) etcdserver: requested lease not found"},
	} {
		if got := run(s, c.r); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.r, got, c.want)
		}
	}
}

// A watch tells of each revision in one message, beginning with the one that it was asked for.
func TestWatch(t *testing.T) {
	s := New()
	run(s, etcd.PutRequest{Key: "m/1", Value: []byte("old")})
	run(s, etcd.Txn{Success: []etcd.Op{
		etcd.PutRequest{Key: "m/1", Value: []byte("new")}, etcd.PutRequest{Key: "c/1"}, etcd.PutRequest{Key: "m/2"},
	}})
	run(s, etcd.PutRequest{Key: "m0"})
	run(s, etcd.Txn{Success: []etcd.Op{etcd.DeleteRequest{Key: "m/1"}}})
	w := s.Watch(etcd.WatchRequest{Key: "m/", End: "m0", StartRevision: 3})
	var got []string
	for len(w.Next(s)) > 0 {
		message, err := etcd.ParseWatch(w.Tell(s))
		if err != nil {
			t.Fatal(err)
		}
		for e := range message.Events() {
			got = append(got, fmt.Sprintf("%d %s=%s %t", e.KV.ModRevision, e.KV.Key, e.KV.Value, e.Delete))
		}
		got = append(got, "|")
	}
	const want = "3 m/1=new false; 3 m/2= false; |; 5 m/1= true; |"
	if got := strings.Join(got, "; "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestKeepAlive(t *testing.T) {
	s := New()
	s.Do(etcd.LeaseGrantRequest{TTL: 10})
	for id, want := range map[int64]int64{1: 10, 2: 0} {
		answer, _ := s.Do(etcd.LeaseKeepAliveRequest{ID: id})
		if l, err := etcd.ParseLease(answer); err != nil || l.ID != id || l.TTL != want {
			t.Errorf("lease %d: got %+v, %v, want %d s", id, l, err, want)
		}
	}
}
