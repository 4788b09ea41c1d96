package fleet

import (
	"bytes"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// The filter reads from any bytes what etcd's own types read, or refuses them. It refuses groups,
// which etcd's types skip.
//
//	go -C e2e/fleet test -fuzz FuzzAnswers -fuzztime 30s .
func FuzzAnswers(f *testing.F) {
	for _, g := range golden {
		b, err := proto.Marshal(g.message)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := etcd.ParseRange(b); err == nil {
			want := read(t, b, new(etcdserverpb.RangeResponse))
			equalRange(t, got, want)
		}
		if got, err := etcd.ParseTxn(b); err == nil {
			want := new(etcdserverpb.TxnResponse)
			// The filter reads no answers but those of ranges, so it knows no fault in them.
			if proto.Unmarshal(b, want) == nil {
				equal(t, "header", got.Header, head(want.Header))
				equal(t, "succeeded", got.Succeeded, want.Succeeded)
			}
		}
		if got, err := etcd.ParseWatch(b); err == nil {
			want := new(etcdserverpb.WatchResponse)
			if proto.Unmarshal(b, want) == nil { // it may find a fault in prev_kv, which the filter does not read
				equalWatch(t, got, want)
			}
		}
		if got, err := etcd.ParseLease(b); err == nil {
			want := read(t, b, new(etcdserverpb.LeaseKeepAliveResponse))
			equal(t, "lease", got, etcd.Lease{Header: head(want.Header), ID: want.ID, TTL: want.TTL})
		}
		if got, err := etcd.ParsePut(b); err == nil {
			want := new(etcdserverpb.PutResponse)
			if proto.Unmarshal(b, want) == nil {
				equal(t, "header", got, head(want.Header))
			}
		}
	})
}

// read unmarshals b, which the filter has accepted.
func read[M proto.Message](t *testing.T, b []byte, m M) M {
	t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("the filter reads %x, and etcd's types do not: %v", b, err)
	}
	return m
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func head(h *etcdserverpb.ResponseHeader) etcd.Header {
	return etcd.Header{Cluster: h.GetClusterId(), Member: h.GetMemberId(), Revision: h.GetRevision()}
}

func equalRange(t *testing.T, got etcd.Range, want *etcdserverpb.RangeResponse) {
	t.Helper()
	equal(t, "header", got.Header, head(want.Header))
	equal(t, "count", got.Count, want.Count)
	equal(t, "more", got.More, want.More)
	n := 0
	for kv := range got.KVs() {
		if n < len(want.Kvs) {
			equalKV(t, kv, want.Kvs[n])
		}
		n++
	}
	equal(t, "number of keys", n, len(want.Kvs))
}

func equalWatch(t *testing.T, got etcd.Watch, want *etcdserverpb.WatchResponse) {
	t.Helper()
	equal(t, "header", got.Header, head(want.Header))
	equal(t, "created", got.Created, want.Created)
	equal(t, "canceled", got.Canceled, want.Canceled)
	equal(t, "compact revision", got.CompactRevision, want.CompactRevision)
	equal(t, "reason", string(got.Reason), want.CancelReason)
	n := 0
	for e := range got.Events() {
		if n < len(want.Events) {
			equal(t, "delete", e.Delete, want.Events[n].Type == mvccpb.DELETE)
			equalKV(t, e.KV, want.Events[n].Kv)
		}
		n++
	}
	equal(t, "number of events", n, len(want.Events))
}

func equalKV(t *testing.T, got etcd.KV, want *mvccpb.KeyValue) {
	t.Helper()
	if !bytes.Equal(got.Key, want.GetKey()) || !bytes.Equal(got.Value, want.GetValue()) || got.Lease != want.GetLease() ||
		got.CreateRevision != want.GetCreateRevision() || got.ModRevision != want.GetModRevision() {
		t.Errorf("got %+v, want %v", got, want)
	}
}
