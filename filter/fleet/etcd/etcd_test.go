package etcd

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// golden returns the messages that e2e/fleet has made with etcd's own types, by name.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	file, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	messages := map[string][]byte{}
	for line := range strings.Lines(string(file)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if messages[name], err = hex.DecodeString(digits); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return messages
}

func TestRequests(t *testing.T) {
	want := golden(t)
	for name, request := range map[string]Request{
		"range":            RangeRequest{Key: "c/a/", End: PrefixEnd("c/a/")},
		"range count":      RangeRequest{Key: "m/", End: "m0", CountOnly: true},
		"range one":        RangeRequest{Key: "m/"},
		"put":              PutRequest{Key: "m/1/", Value: []byte("node"), Lease: 1 << 62},
		"put ignore lease": PutRequest{Key: "m/1/2", Value: []byte("!dismissed"), IgnoreLease: true},
		"txn claim": Txn{
			Compare: []Compare{
				{Key: "c/a/", End: "c/a0", Target: ModLess, Revision: 8},
				{Key: "c/a/2", Target: CreateEqual, Revision: 5},
			},
			Success: []Op{
				PutRequest{Key: "c/a/1", Value: []byte(strings.Repeat("v", 200)), Lease: 7},
				PutRequest{Key: "m/1", Value: []byte("a"), Lease: 7},
				DeleteRequest{Key: "c/a/3"}, DeleteRequest{Key: "m/3"},
			},
			Failure: []Op{RangeRequest{Key: "c/a/", End: "c/a0"}},
		},
		"txn return": Txn{
			Compare: []Compare{{Key: "c/a/", End: "c/a0", Target: ModLess}, {Key: "c/a/2", Target: CreateEqual}},
			Success: []Op{PutRequest{Key: "c/a/1", Value: []byte("v"), Lease: -1}},
			Failure: []Op{RangeRequest{Key: "c/a/", End: "c/a0"}},
		},
		"txn release": Txn{Success: []Op{DeleteRequest{Key: "c/a/1"}, DeleteRequest{Key: "m/1"}}},
		"grant":       LeaseGrantRequest{TTL: 10},
		"revoke":      LeaseRevokeRequest{ID: 1 << 62},
		"keep alive":  LeaseKeepAliveRequest{ID: 1 << 62},
		"watch":       WatchRequest{Key: "m/1/", End: "m/10", StartRevision: 9},
	} {
		if got := request.Append([]byte("before")); string(got) != "before"+string(want[name]) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, strings.TrimPrefix(string(got), "before"), want[name])
		}
	}
}

// show tells all that an answer has.
func show(header Header, rest ...any) string {
	return strings.TrimSuffix(fmt.Sprintln(append([]any{header}, rest...)...), "\n")
}

func showRange(r Range) string {
	var keys strings.Builder
	for kv := range r.KVs() {
		fmt.Fprintf(&keys, "; %s=%s created %d mod %d lease %d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Lease)
	}
	return show(r.Header, "count", r.Count, "more", r.More) + keys.String()
}

func TestAnswers(t *testing.T) {
	const head9, head12 = "{9223372036854775809 2 9}", "{9223372036854775809 2 12}"
	const keys = "; c/a/1=v created 5 mod 6 lease 7; c/a/2= created 8 mod 8 lease 0"
	rangeOf := func(b []byte) (string, error) {
		r, err := ParseRange(b)
		return showRange(r), err
	}
	txn := func(b []byte) (string, error) {
		a, err := ParseTxn(b)
		return show(a.Header, "succeeded", a.Succeeded, "range", showRange(a.Range)), err
	}
	lease := func(b []byte) (string, error) {
		l, err := ParseLease(b)
		return show(l.Header, "id", l.ID, "ttl", l.TTL), err
	}
	watch := func(b []byte) (string, error) {
		w, err := ParseWatch(b)
		var events strings.Builder
		for e := range w.Events() {
			fmt.Fprintf(&events, "; delete %t %s=%s created %d mod %d lease %d", e.Delete, e.KV.Key, e.KV.Value, e.KV.CreateRevision, e.KV.ModRevision, e.KV.Lease)
		}
		return show(w.Header, w.Created, w.Canceled, w.CompactRevision, string(w.Reason)) + events.String(), err
	}
	messages := golden(t)
	for _, c := range []struct {
		name  string
		parse func([]byte) (string, error)
		want  string
	}{
		{"range answer", rangeOf, head9 + " count 2 more true" + keys},
		{"range answer count", rangeOf, head9 + " count 3 more false"},
		{"txn answer done", txn, head9 + " succeeded true range {0 0 0} count 0 more false"},
		{"txn answer else", txn, head9 + " succeeded false range " + head9 + " count 2 more true" + keys},
		{"put answer", func(b []byte) (string, error) { h, err := ParsePut(b); return show(h), err }, head9},
		{"grant answer", lease, head9 + " id 4611686018427387904 ttl 10"},
		{"keep alive answer", lease, head9 + " id 4611686018427387904 ttl 10"},
		{"keep alive answer gone", lease, head9 + " id 4611686018427387904 ttl 0"},
		{"watch answer created", watch, head9 + " true false 0 "},
		{"watch answer events", watch, head12 + " false false 0 ; delete false m/1/2=a created 11 mod 11 lease 7" +
			"; delete true m/1/2= created 0 mod 12 lease 0"},
		{"watch answer compacted", watch, head12 + " false true 11 compacted"},
	} {
		b, found := messages[c.name]
		if got, err := c.parse(b); !found || got != c.want || err != nil {
			t.Errorf("%s: got %s, %v\nwant %s", c.name, got, err, c.want)
		}
		// A part of a message is an error, or a smaller message. It is no panic.
		for i := range b {
			_, _ = c.parse(b[:i])
		}
	}
}

func TestMalformedAnswers(t *testing.T) {
	for _, c := range []struct {
		name, digits, want string
	}{
		{"a tag without an end", "ff", "1 bytes that begin with no tag"},
		{"field 0", "00", "1 bytes that begin with no tag"},
		{"nothing", "", "no cluster id in the header"},
		{"a field number beyond the last", "808080803030", "6 bytes that begin with no tag"},
		{"a varint without an end", "20ff", "field 4, wire type 0: its value is cut off or too large"},
		{"a length beyond the end", "1205", "field 2, wire type 2: its value is cut off or too large"},
		{"a huge length", "12ffffffffffffffff7f", "field 2, wire type 2: its value is cut off or too large"},
		{"a group", "0b0c", "field 1: wire type 3, want 0, 1, 2 or 5"},
		{"a fault in a key", "12020aff", "field 1, wire type 2: its value is cut off or too large"},
	} {
		b, err := hex.DecodeString(c.digits)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseRange(b); err == nil || err.Error() != "malformed answer of etcd: "+c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// A list in an answer takes no memory besides the message.
func TestListsAllocateNothing(t *testing.T) {
	kv := golden(t)["range answer"]
	var many []byte
	for range 10_000 {
		many = append(many, kv...)
	}
	r, err := ParseRange(many)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if allocs := testing.AllocsPerRun(10, func() {
		if r, err = ParseRange(many); err != nil {
			t.Fatal(err)
		}
		for range r.KVs() {
			n++
		}
	}); allocs > 20 {
		t.Errorf("%v allocations for 20,000 keys, want a fixed few", allocs)
	}
	if n == 0 || n%20_000 != 0 {
		t.Errorf("%d keys, want a multiple of 20,000", n)
	}
}

func TestLeaseLost(t *testing.T) {
	const message = "etcdserver: requested lease not found"
	for _, c := range []struct {
		status  int
		message string
		want    bool
	}{
		{5, message, true},
		{14, message, false},
		{5, "etcdserver: member not found", false},
		{14, "", false},
	} {
		if got := LeaseLost(c.status, c.message); got != c.want {
			t.Errorf("LeaseLost(%d, %q): got %t", c.status, c.message, got)
		}
	}
}

func TestMethods(t *testing.T) {
	for method, want := range map[Method]string{
		KVRange: "etcdserverpb.KV/Range", KVTxn: "etcdserverpb.KV/Txn", KVPut: "etcdserverpb.KV/Put",
		LeaseGrant: "etcdserverpb.Lease/LeaseGrant", LeaseRevoke: "etcdserverpb.Lease/LeaseRevoke",
		LeaseKeepAlive: "etcdserverpb.Lease/LeaseKeepAlive", WatchWatch: "etcdserverpb.Watch/Watch",
	} {
		if got := method.Service() + "/" + method.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got, want := method.Streams(), method == LeaseKeepAlive || method == WatchWatch; got != want {
			t.Errorf("%s streams: got %t", method, got)
		}
	}
}

// Nothing that etcd answers causes a panic. FuzzAnswers in e2e/fleet compares what is read with
// what etcd's own types read.
//
//	go test ./filter/fleet/etcd -fuzz FuzzParse -fuzztime 30s
func FuzzParse(f *testing.F) {
	for _, b := range golden(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, rangeErr := ParseRange(b)
		for range r.KVs() {
		}
		a, txnErr := ParseTxn(b)
		for range a.Range.KVs() {
		}
		w, watchErr := ParseWatch(b)
		for range w.Events() {
		}
		_, leaseErr := ParseLease(b)
		_, putErr := ParsePut(b)
		for _, err := range []error{rangeErr, txnErr, watchErr, leaseErr, putErr} {
			if err != nil && !strings.HasPrefix(err.Error(), ErrMalformed.Error()) {
				t.Errorf("%v does not wrap ErrMalformed", err)
			}
		}
	})
}
