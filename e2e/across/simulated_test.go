//go:build etcd

package across

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/fleettest"
	wire "github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/fleet/etcdtest"
)

// The simulated etcd of other tests answers as a real one does, and its watches tell the same.
func TestSimulatedEtcd(t *testing.T) {
	t.Parallel()
	real, simulated := fleettest.StartEtcd(t, 1).Nodes[0], etcdtest.New()
	c := newCaller(real.Address)
	var leases [2][]int64 // their ids differ
	for step := range uint64(400) {
		var shown [2]string
		for i := range shown {
			request := ask{rand.New(rand.NewPCG(step, 1)), leases[i]}.request()
			var answer []byte
			var failed *etcdtest.Failure
			if i == 0 {
				answer, failed = c.call(t, request)
			} else {
				answer, failed = simulated.Do(request)
			}
			shown[i] = show(t, request, answer, failed, &leases[i])
		}
		if shown[0] != shown[1] {
			t.Fatalf("step %d: the real etcd answers\n%s, and the simulated one\n%s", step, shown[0], shown[1])
		}
	}
	request := wire.WatchRequest{Key: "k/", End: "k0", StartRevision: 2}
	watch := simulated.Watch(request)
	var want strings.Builder
	for len(watch.Next(simulated)) > 0 {
		showEvents(t, &want, watch.Tell(simulated))
	}
	events := c.stream(t, request)
	var got strings.Builder
	for got.Len() < want.Len() {
		showEvents(t, &got, nextMessage(t, events))
	}
	if got.String() != want.String() {
		t.Errorf("the watch of the real etcd tells\n%s\nand that of the simulated one\n%s", &got, &want)
	}
}

// ask makes requests at random.
type ask struct {
	r      *rand.Rand
	leases []int64
}

func (a ask) request() wire.Request {
	switch n := a.r.IntN(20); {
	case n < 2:
		return wire.LeaseGrantRequest{TTL: 600}
	case n < 3:
		return wire.LeaseRevokeRequest{ID: a.lease()}
	case n < 5:
		return wire.RangeRequest{Key: "k/", End: "k0", CountOnly: n == 3}
	case n < 8:
		return a.put(a.key())
	}
	all := wire.RangeRequest{Key: "k/", End: "k0"}
	t := wire.Txn{Failure: []wire.Op{all}}
	revision := int64(a.r.IntN(100))
	if a.r.IntN(2) == 0 {
		revision = 1 << 40
	}
	t.Compare = append(t.Compare, wire.Compare{Key: all.Key, End: all.End, Target: wire.ModLess, Revision: revision})
	if a.r.IntN(3) == 0 {
		t.Compare = append(t.Compare, wire.Compare{Key: a.key(), Target: wire.CreateEqual, Revision: int64(a.r.IntN(3))})
	}
	for _, key := range []string{"k/1", "k/2", "k/3", "other"} {
		switch a.r.IntN(4) {
		case 0:
			t.Success = append(t.Success, a.put(key))
		case 1:
			t.Success = append(t.Success, wire.DeleteRequest{Key: key})
		}
	}
	return t
}

func (a ask) put(key string) wire.PutRequest {
	p := wire.PutRequest{Key: key, Value: []byte(strconv.Itoa(a.r.IntN(100))), Lease: a.lease()}
	if a.r.IntN(5) == 0 {
		p.IgnoreLease, p.Lease = true, 0
	}
	return p
}

func (a ask) key() string { return fmt.Sprint("k/", a.r.IntN(5)) }

func (a ask) lease() int64 {
	n := a.r.IntN(20)
	if len(a.leases) == 0 {
		return 12345 // there is no such lease
	}
	return a.leases[n%len(a.leases)]
}

// show tells what an answer says, with the leases by their order.
func show(t *testing.T, r wire.Request, answer []byte, failed *etcdtest.Failure, leases *[]int64) string {
	t.Helper()
	if failed != nil {
		return fmt.Sprintf("%T fails: %+v", r, *failed)
	}
	var err error
	var ranged wire.Range
	b := fmt.Sprintf("%T", r)
	switch r.(type) {
	case wire.LeaseGrantRequest:
		var l wire.Lease
		l, err = wire.ParseLease(answer)
		*leases = append(*leases, l.ID)
		b += fmt.Sprint(" revision ", l.Header.Revision, " TTL ", l.TTL)
	case wire.RangeRequest:
		ranged, err = wire.ParseRange(answer)
		b += fmt.Sprint(" revision ", ranged.Header.Revision)
	case wire.Txn:
		var a wire.TxnAnswer
		a, err = wire.ParseTxn(answer)
		ranged = a.Range
		b += fmt.Sprint(" revision ", a.Header.Revision, " succeeded ", a.Succeeded)
	default:
		var h wire.Header
		h, err = wire.ParsePut(answer)
		b += fmt.Sprint(" revision ", h.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	b += fmt.Sprint(" count ", ranged.Count)
	for kv := range ranged.KVs() {
		lease := -1
		for n, id := range *leases {
			if id == kv.Lease {
				lease = n
			}
		}
		b += fmt.Sprintf(" %s=%s(%d,%d,%d)", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, lease)
	}
	return b
}

func showEvents(t *testing.T, b *strings.Builder, message []byte) {
	t.Helper()
	w, err := wire.ParseWatch(message)
	if err != nil {
		t.Fatal(err)
	}
	for e := range w.Events() {
		fmt.Fprintf(b, "%d %s=%s delete %t\n", e.KV.ModRevision, e.KV.Key, e.KV.Value, e.Delete)
	}
}

// caller makes calls of gRPC, without what a client library adds.
type caller struct {
	http    http.Client
	address string
}

func newCaller(address string) *caller {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	return &caller{http.Client{Transport: &http.Transport{Protocols: &p}}, address}
}

func (c *caller) send(t *testing.T, r wire.Request) *http.Response {
	t.Helper()
	message := r.Append(nil)
	frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	url := "http://" + c.address + "/" + r.Method().Service() + "/" + r.Method().String()
	request, err := http.NewRequestWithContext(t.Context(), "POST", url, bytes.NewReader(frame))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("content-type", "application/grpc")
	request.Header.Set("te", "trailers")
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func (c *caller) call(t *testing.T, r wire.Request) (answer []byte, failed *etcdtest.Failure) {
	t.Helper()
	response := c.send(t, r)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	trailers := response.Trailer
	if len(body) == 0 && response.Header.Get("grpc-status") != "" {
		trailers = response.Header
	}
	if status, _ := strconv.Atoi(trailers.Get("grpc-status")); status != 0 {
		return nil, &etcdtest.Failure{Status: status, Message: trailers.Get("grpc-message")}
	}
	return body[min(5, len(body)):], nil
}

// stream opens a stream of messages.
func (c *caller) stream(t *testing.T, r wire.Request) io.Reader {
	t.Helper()
	response := c.send(t, r)
	t.Cleanup(func() { response.Body.Close() })
	return response.Body
}

func nextMessage(t *testing.T, from io.Reader) []byte {
	t.Helper()
	var head [5]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		t.Fatal(err)
	}
	message := make([]byte, binary.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(from, message); err != nil {
		t.Fatal(err)
	}
	return message
}
