// Package fleet holds what the filter says to etcd to etcd's own types. It is a module of its own,
// so that the filter's module does not depend on etcd.
package fleet

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

var update = flag.Bool("update", false, "write the golden file")

const goldenFile = "../../filter/fleet/etcd/testdata/golden.txt"

// golden are the messages, as etcd's own types have them, that the tests of filter/fleet/etcd make
// and read.
var golden = []struct {
	name    string
	message proto.Message
}{
	{"range", &etcdserverpb.RangeRequest{Key: []byte("c/a/"), RangeEnd: []byte("c/a0")}},
	{"range count", &etcdserverpb.RangeRequest{Key: []byte("m/"), RangeEnd: []byte("m0"), CountOnly: true}},
	{"range one", &etcdserverpb.RangeRequest{Key: []byte("m/")}},
	{"put", &etcdserverpb.PutRequest{Key: []byte("m/1/"), Value: []byte("node"), Lease: 1 << 62}},
	{"put ignore lease", &etcdserverpb.PutRequest{Key: []byte("m/1/2"), Value: []byte("!dismissed"), IgnoreLease: true}},
	{"txn claim", &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{modLess("c/a/", "c/a0", 8), createEqual("c/a/2", 5)},
		Success: []*etcdserverpb.RequestOp{
			put("c/a/1", strings.Repeat("v", 200), 7), put("m/1", "a", 7), del("c/a/3"), del("m/3"),
		},
		Failure: []*etcdserverpb.RequestOp{get("c/a/", "c/a0")},
	}},
	{"txn return", &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{modLess("c/a/", "c/a0", 0), createEqual("c/a/2", 0)},
		Success: []*etcdserverpb.RequestOp{put("c/a/1", "v", -1)},
		Failure: []*etcdserverpb.RequestOp{get("c/a/", "c/a0")},
	}},
	{"txn release", &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{del("c/a/1"), del("m/1")}}},
	{"grant", &etcdserverpb.LeaseGrantRequest{TTL: 10}},
	{"revoke", &etcdserverpb.LeaseRevokeRequest{ID: 1 << 62}},
	{"keep alive", &etcdserverpb.LeaseKeepAliveRequest{ID: 1 << 62}},
	{"watch", &etcdserverpb.WatchRequest{RequestUnion: &etcdserverpb.WatchRequest_CreateRequest{
		CreateRequest: &etcdserverpb.WatchCreateRequest{Key: []byte("m/1/"), RangeEnd: []byte("m/10"), StartRevision: 9},
	}}},

	{"range answer", rangeAnswer()},
	{"range answer count", &etcdserverpb.RangeResponse{Header: header(9), Count: 3}},
	{"txn answer done", &etcdserverpb.TxnResponse{Header: header(9), Succeeded: true, Responses: []*etcdserverpb.ResponseOp{
		{Response: &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: &etcdserverpb.PutResponse{Header: header(9)}}},
		{Response: &etcdserverpb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: &etcdserverpb.DeleteRangeResponse{Header: header(9), Deleted: 1}}},
	}}},
	{"txn answer else", &etcdserverpb.TxnResponse{Header: header(9), Responses: []*etcdserverpb.ResponseOp{
		{Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: rangeAnswer()}},
	}}},
	{"put answer", &etcdserverpb.PutResponse{Header: header(9)}},
	{"grant answer", &etcdserverpb.LeaseGrantResponse{Header: header(9), ID: 1 << 62, TTL: 10}},
	{"keep alive answer", &etcdserverpb.LeaseKeepAliveResponse{Header: header(9), ID: 1 << 62, TTL: 10}},
	{"keep alive answer gone", &etcdserverpb.LeaseKeepAliveResponse{Header: header(9), ID: 1 << 62}},
	{"watch answer created", &etcdserverpb.WatchResponse{Header: header(9), WatchId: 1, Created: true}},
	{"watch answer events", &etcdserverpb.WatchResponse{Header: header(12), WatchId: 1, Events: []*mvccpb.Event{
		{Kv: &mvccpb.KeyValue{Key: []byte("m/1/2"), Value: []byte("a"), CreateRevision: 11, ModRevision: 11, Version: 1, Lease: 7}},
		{Type: mvccpb.DELETE, Kv: &mvccpb.KeyValue{Key: []byte("m/1/2"), ModRevision: 12}},
	}}},
	{"watch answer compacted", &etcdserverpb.WatchResponse{
		Header: header(12), WatchId: 1, Canceled: true, CompactRevision: 11, CancelReason: "compacted",
	}},
}

func header(revision int64) *etcdserverpb.ResponseHeader {
	return &etcdserverpb.ResponseHeader{ClusterId: 1<<63 + 1, MemberId: 2, Revision: revision, RaftTerm: 3}
}

func rangeAnswer() *etcdserverpb.RangeResponse {
	return &etcdserverpb.RangeResponse{Header: header(9), Count: 2, More: true, Kvs: []*mvccpb.KeyValue{
		{Key: []byte("c/a/1"), Value: []byte("v"), CreateRevision: 5, ModRevision: 6, Version: 2, Lease: 7},
		{Key: []byte("c/a/2"), Value: []byte{}, CreateRevision: 8, ModRevision: 8, Version: 1},
	}}
}

func modLess(key, end string, revision int64) *etcdserverpb.Compare {
	return &etcdserverpb.Compare{
		Result: etcdserverpb.Compare_LESS, Target: etcdserverpb.Compare_MOD, Key: []byte(key), RangeEnd: []byte(end),
		TargetUnion: &etcdserverpb.Compare_ModRevision{ModRevision: revision},
	}
}

func createEqual(key string, revision int64) *etcdserverpb.Compare {
	return &etcdserverpb.Compare{
		Result: etcdserverpb.Compare_EQUAL, Target: etcdserverpb.Compare_CREATE, Key: []byte(key),
		TargetUnion: &etcdserverpb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func put(key, value string, lease int64) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{
		RequestPut: &etcdserverpb.PutRequest{Key: []byte(key), Value: []byte(value), Lease: lease},
	}}
}

func del(key string) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: []byte(key)},
	}}
}

func get(key, end string) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{
		RequestRange: &etcdserverpb.RangeRequest{Key: []byte(key), RangeEnd: []byte(end)},
	}}
}

// The golden messages that the tests of filter/fleet/etcd use are what etcd's own types encode to.
// With -update, this test writes them.
func TestGoldenIsEtcds(t *testing.T) {
	var want strings.Builder
	for _, g := range golden {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(g.message)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&want, "%s: %s\n", g.name, hex.EncodeToString(b))
	}
	if *update {
		if err := os.WriteFile(goldenFile, []byte(want.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want.String() {
		t.Errorf("%s is not what etcd's types encode to: run this test with -update, and read the difference", goldenFile)
	}
}
