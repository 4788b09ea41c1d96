package registry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// stored is a value that the codec reads and writes: what it parses to, and its bytes.
type stored struct {
	name  string
	value interface{ Append([]byte) []byte }
	parse func([]byte) (any, error)
	hex   string
}

func parseBucket(b []byte) (any, error) {
	bucket, err := ParseBucket(b)
	return &bucket, err
}
func parseRecord(b []byte) (any, error)  { return ParseRecord(b) }
func parseTable(b []byte) (any, error)   { return ParseTable(b) }
func parseMessage(b []byte) (any, error) { return ParseMessage(b) }

// golden pins the stored form byte by byte: workers of the next release read what those of the last one wrote.
var golden = []stored{
	{"bucket without entries", &Bucket{Claims: 0x0102030405060708}, parseBucket,
		"01 0807060504030201"},
	{"bucket", &Bucket{Claims: 9, Entries: []Entry{
		{Client: clientID(0x10), Rule: 0xa1a2a3a4, Streams: []policy.Stream{
			{Claim: 3, Owner: policy.Owner{Slot: 0x0203, Incarnation: 0x1112131415161718}, Context: 0x21222324, ClaimedAt: 0x3132333435363738},
			{Claim: 8, Owner: policy.Owner{Slot: 1, Incarnation: 2}, Context: 0, ClaimedAt: -1},
		}},
		{Client: clientID(0x11), Rule: 0, Streams: []policy.Stream{
			{Claim: 9, Owner: policy.Owner{Slot: 1023, Incarnation: math.MaxUint64}, Context: math.MaxUint32, ClaimedAt: 0},
		}},
	}}, parseBucket, `
		01 0900000000000000
		101112131415161718191a1b1c1d1e1f a4a3a2a1 02
			0300000000000000 1817161514131211 3837363534333231 24232221 0302
			0800000000000000 0200000000000000 ffffffffffffffff 00000000 0100
		1112131415161718191a1b1c1d1e1f20 00000000 01
			0900000000000000 ffffffffffffffff 0000000000000000 ffffffff ff03`},
	{"free slot", Record{}, parseRecord,
		"01 0000000000000000 00000000 0000000000000000 00000000"},
	{"held slot", Record{Incarnation: 0x0102030405060708, Queue: 0x11121314, Heartbeat: 0x2122232425262728, Live: 0x31323334}, parseRecord,
		"01 0807060504030201 14131211 2827262524232221 34333231"},
	{"table", Table{Bits: 14, Seed: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}, parseTable,
		"01 0e 0102030405060708090a0b0c0d0e0f10"},
	{"message", Message{Incarnation: 0x0102030405060708, Claim: 0x1112131415161718, Context: 0x21222324, SentAt: 0x3132333435363738, Enforce: true}, parseMessage,
		"01 0807060504030201 1817161514131211 24232221 3837363534333231 01"},
	{"message to take note", Message{Incarnation: 1, Claim: 2, Context: 3, SentAt: -1}, parseMessage,
		"01 0100000000000000 0200000000000000 03000000 ffffffffffffffff 00"},
}

// clientID is 16 bytes that count up from first.
func clientID(first byte) (c ClientID) {
	for i := range c {
		c[i] = first + byte(i)
	}
	return c
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	for _, g := range golden {
		t.Run(g.name, func(t *testing.T) {
			want := unhex(t, g.hex)
			if got := g.value.Append(nil); !bytes.Equal(got, want) {
				t.Fatalf("encoded\n%x, want\n%x", got, want)
			}
			if got := g.value.Append([]byte("before")); string(got) != "before"+string(want) {
				t.Fatalf("Append does not append: %x", got)
			}
			got, err := g.parse(want)
			if err != nil || !reflect.DeepEqual(got, any(g.value)) {
				t.Fatalf("parsed %+v, %v; want %+v", got, err, g.value)
			}
		})
	}
}

func TestGoldenKeys(t *testing.T) {
	for got, want := range map[string]string{
		bucketKey(0):     "streamlatch/1/b/0",
		bucketKey(16383): "streamlatch/1/b/16383",
		slotKey(1023):    "streamlatch/1/w/1023",
		queueName(7):     "streamlatch/1/q/7",
		tableKey:         "streamlatch/1/table",
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

// TestEveryByteCounts cuts golden values short at every length and puts a byte after them.
func TestEveryByteCounts(t *testing.T) {
	for _, g := range golden {
		whole := unhex(t, g.hex)
		lengths := 0
		for n := range whole {
			if _, err := g.parse(whole[:n]); err == nil {
				// A bucket cut between entries is a bucket; it may not be the same one.
				lengths++
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d bytes: %v does not wrap ErrMalformed", g.name, n, err)
			}
		}
		if want := map[string]int{"bucket": 2}[g.name]; lengths != want {
			t.Errorf("%s parses at %d shorter lengths, want %d", g.name, lengths, want)
		}
		if _, err := g.parse(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte after it: %v", g.name, err)
		}
	}
}

// claims is the stored form of streams with the claim numbers 1 to n.
func claims(n int) string {
	var s strings.Builder
	for claim := 1; claim <= n; claim++ {
		fmt.Fprintf(&s, "%02x00000000000000 0700000000000000 0000000000000000 01000000 0000", claim)
	}
	return s.String()
}

// TestMostStreams is the other side of a case below: an entry may have as many streams as a rule may allow.
func TestMostStreams(t *testing.T) {
	b, err := ParseBucket(unhex(t, "01 4000000000000000 101112131415161718191a1b1c1d1e1f a4a3a2a1 40"+claims(policy.MaxStreams)))
	if err != nil || len(b.Entries[0].Streams) != 64 {
		t.Fatalf("64 streams: %+v, %v", b, err)
	}
}

// TestEntriesAreIndependent: an entry's streams can be appended to, and the next entry's stay as they are.
func TestEntriesAreIndependent(t *testing.T) {
	const stream = "0300000000000000 0700000000000000 0000000000000000 01000000 0000"
	b, err := ParseBucket(unhex(t, "01 0900000000000000"+
		"101112131415161718191a1b1c1d1e1f 00000000 01"+stream+
		"1112131415161718191a1b1c1d1e1f20 00000000 01"+stream))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(b.Entries[0].Streams, policy.Stream{Claim: 99})
	if got := b.Entries[1].Streams[0].Claim; got != 3 {
		t.Fatalf("the next entry's claim is %d now, was 3", got)
	}
}

func TestMalformed(t *testing.T) {
	const (
		head   = "01 0900000000000000"
		client = "101112131415161718191a1b1c1d1e1f a4a3a2a1"
		stream = "0300000000000000 0700000000000000 0000000000000000 01000000 0000"
	)
	tests := []struct {
		name, hex string
		parse     func([]byte) (any, error)
	}{
		{"empty bucket value", "", parseBucket},
		{"bucket of another version", "02 0900000000000000", parseBucket},
		{"the last claim number there is", "01 ffffffffffffffff", parseBucket},
		{"entry without streams", head + client + "00", parseBucket},
		{"65 streams", "01 4100000000000000" + client + "41" + claims(65), parseBucket},
		{"claim number 0", head + client + "01 0000000000000000 0700000000000000 0000000000000000 01000000 0000", parseBucket},
		{"claim number never given", head + client + "01 0a00000000000000 0700000000000000 0000000000000000 01000000 0000", parseBucket},
		{"same claim twice", head + client + "02" + stream + stream, parseBucket},
		{"claims out of order", head + client + "02 0400000000000000 0700000000000000 0000000000000000 01000000 0000" + stream, parseBucket},
		{"no incarnation", head + client + "01 0300000000000000 0000000000000000 0000000000000000 01000000 0000", parseBucket},
		{"slot 1024", head + client + "01 0300000000000000 0700000000000000 0000000000000000 01000000 0004", parseBucket},
		{"same client twice", head + client + "01" + stream + client + "01" + stream, parseBucket},
		{"clients out of order", head + "ff" + client[2:] + "01" + stream + client + "01" + stream, parseBucket},
		{"slot record of another version", "02 0000000000000000 00000000 0000000000000000 00000000", parseRecord},
		{"free slot with a queue", "01 0000000000000000 01000000 0000000000000000 00000000", parseRecord},
		{"free slot with a heartbeat", "01 0000000000000000 00000000 0100000000000000 00000000", parseRecord},
		{"free slot with streams", "01 0000000000000000 00000000 0000000000000000 01000000", parseRecord},
		{"table of another version", "02 0e 0102030405060708090a0b0c0d0e0f10", parseTable},
		{"table too large", "01 15 0102030405060708090a0b0c0d0e0f10", parseTable},
		{"message of another version", "02 0100000000000000 0200000000000000 03000000 0000000000000000 00", parseMessage},
		{"message neither to enforce nor not", "01 0100000000000000 0200000000000000 03000000 0000000000000000 02", parseMessage},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got, err := test.parse(unhex(t, test.hex)); !errors.Is(err, ErrMalformed) {
				t.Errorf("parsed %+v, %v; want ErrMalformed", got, err)
			}
		})
	}
}
