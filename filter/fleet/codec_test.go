package fleet

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

var someRecord = Record{
	Stamp: 0x0102030405060708, Instance: 9,
	Memory: policy.Memory{
		Spent:      policy.Spent{Tokens: 2, Since: 1000},
		Reconnects: policy.Spent{Tokens: 1, Since: 2000},
		Superseded: []policy.Instance{7, 8},
	},
}

// A change of the stored form needs a new formatVersion.
const someRecordHex = "0102030405060708" + "0000000000000009" + "000200000000000003e8" + "000100000000000007d0" +
	"0000000000000007" + "0000000000000008"

func TestRecord(t *testing.T) {
	b := someRecord.Append(nil)
	if got := hex.EncodeToString(b); got != someRecordHex {
		t.Errorf("got %s, want %s", got, someRecordHex)
	}
	got, err := ParseRecord(b)
	if again := got.Append(nil); err != nil || !bytes.Equal(again, b) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[:len(b)-1], b[:fixedSize-1], append(bytes.Clone(b), make([]byte, 3*instanceSize)...), make([]byte, fixedSize)} {
		if _, err := ParseRecord(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: got %v, want ErrMalformed", bad, err)
		}
	}
}

func TestKeys(t *testing.T) {
	k, n, id := newKeys("p"), name{lease: 0x1f, context: 0x2a}, ID{0xff}
	for _, c := range []struct{ got, want string }{
		{k.stream(id, n), "p/1/c/_wAAAAAAAAAAAAAAAAAAAA/000000000000001f0000002a"},
		{k.member(n.lease), "p/1/m/000000000000001f/"},
		{k.listed(n), "p/1/m/000000000000001f/0000002a"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
	if got, ok := parseName(n.String()); !ok || got != n {
		t.Errorf("got %v, %t, want %v", got, ok, n)
	}
	if got, ok := parseID(appendID(id)); !ok || got != id {
		t.Errorf("got %v, %t, want %v", got, ok, id)
	}
	for _, bad := range []string{"", "000000000000001f0000002", "000000000000001F0000002a", "000000000000001f0000002g"} {
		if _, ok := parseName(bad); ok {
			t.Errorf("%q is a name", bad)
		}
	}
}

// The registry of an Envoy gets a record's instances. It takes a bucket of many clients that has an
// instance twice, or none, for damaged, and begins it afresh.
func TestInstancesOfARecord(t *testing.T) {
	for _, bad := range [][]policy.Instance{{0}, {7, 7}, {7, 8, 7}, {7, 0}} {
		r := someRecord
		r.Superseded = bad
		if _, err := ParseRecord(r.Append(nil)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: got %v, want ErrMalformed", bad, err)
		}
	}
}

// A later claim has the larger stamp, whatever the clocks say.
func TestStampsGrow(t *testing.T) {
	for _, c := range []struct {
		newest Stamp
		now    int64
	}{{0, 0}, {0, 1 << 40}, {after(0, 1<<40, 1<<63), 5}, {after(0, 5, 0), 5}, {0, -5}} {
		for _, random := range []uint64{0, 1<<64 - 1} {
			if got := after(c.newest, c.now, random); got <= c.newest || int64(got.millis()) < c.now {
				t.Errorf("after %d at %d: got %d", c.newest, c.now, got)
			}
		}
	}
}

// The stored form is canonical.
//
//	go test ./filter/fleet -fuzz FuzzParseRecord -fuzztime 30s
func FuzzParseRecord(f *testing.F) {
	f.Add(someRecord.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Fatalf("%x parses, and encodes to %x", b, r.Append(nil))
		}
	})
}
