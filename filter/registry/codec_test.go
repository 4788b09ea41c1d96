package registry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/filter/policy"
)

// stored is a value that the codec reads and writes, and its bytes.
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
func parseNames(b []byte) (any, error) {
	names, err := parseRules(b)
	return rules(names), err
}

// golden pins the stored form byte by byte. During an upgrade, workers of the new release read what
// workers of the old release wrote.
var golden = []stored{
	{"bucket without entries", &Bucket{Claims: 0x0102030405060708}, parseBucket,
		"03 0807060504030201"},
	{"bucket", &Bucket{Claims: 9, Entries: []Entry{
		{ID: clientID(0x10), Rule: 0xa1a2a3a4, Client: policy.Client{
			Streams: []policy.Stream{
				{Claim: 3, Owner: policy.Owner{Slot: 0x0203, Incarnation: 0x1112131415161718}, Context: 0x21222324, ClaimedAt: 0x3132333435363738, Instance: 0x4142434445464748},
				{Claim: 8, Owner: policy.Owner{Slot: 1, Incarnation: 2}, Context: 0, ClaimedAt: -1},
			},
			Superseded: []policy.Instance{0x5152535455565758, 1},
			Spent:      policy.Spent{Tokens: 0x6162, Since: 0x7172737475767778},
			Reconnects: policy.Spent{Tokens: 1, Since: 2},
			MaxStreams: 64,
			Dismissed:  5,
			Until:      0x0102030405060708,
		}},
		{ID: clientID(0x11), Rule: 0, Client: policy.Client{MaxStreams: 1, Streams: []policy.Stream{
			{Claim: 9, Owner: policy.Owner{Slot: 1023, Incarnation: math.MaxUint64}, Context: math.MaxUint32, ClaimedAt: 0, Instance: math.MaxUint64},
		}}},
		{ID: clientID(0x12), Rule: 1, Client: policy.Client{Spent: policy.Spent{Tokens: 1, Since: 2}, Until: 3}},
	}}, parseBucket, `
		03 0900000000000000
		101112131415161718191a1b1c1d1e1f a4a3a2a1 40 0f 02 02 6261 7877767574737271 0100 0200000000000000
			0500000000000000 0807060504030201
			5857565554535251 0100000000000000
			0300000000000000 1817161514131211 3837363534333231 4847464544434241 24232221 0302
			0800000000000000 0200000000000000 ffffffffffffffff 0000000000000000 00000000 0100
		1112131415161718191a1b1c1d1e1f20 00000000 01 00 00 01
			0900000000000000 ffffffffffffffff 0000000000000000 ffffffffffffffff ffffffff ff03
		12131415161718191a1b1c1d1e1f2021 01000000 00 09 00 00 0100 0200000000000000 0300000000000000`},
	{"free slot", Record{}, parseRecord,
		"03 0000000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000"},
	{"held slot", Record{Incarnation: 0x0102030405060708, Queue: 0x11121314, Heartbeat: 0x2122232425262728, BeatAt: 0x4142434445464748, Live: 0x31323334, Told: 0x51525354}, parseRecord,
		"03 0807060504030201 14131211 2827262524232221 4847464544434241 34333231 54535251"},
	{"table", Table{Bits: 14, Seed: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}, parseTable,
		"03 0e 0102030405060708090a0b0c0d0e0f10"},
	{"message", Message{Address: Address{Incarnation: 0x0102030405060708, Claim: 0x1112131415161718, Context: 0x21222324, Bucket: 0x41424344}, SentAt: 0x3132333435363738, Kind: Yield}, parseMessage,
		"03 0807060504030201 1817161514131211 24232221 44434241 3837363534333231 00000000 0000000000000000 0000000000000000 00000000 00000000 02"},
	{"message to take note", Message{Address: Address{Incarnation: 1, Claim: 2, Context: 3}, SentAt: -1, Kind: Noted}, parseMessage,
		"03 0100000000000000 0200000000000000 03000000 00000000 ffffffffffffffff 00000000 0000000000000000 0000000000000000 00000000 00000000 01"},
	{"message of an operator", Message{Address: Address{Incarnation: 1, Claim: 2, Context: 3}, SentAt: 4, Kind: Dismissed}, parseMessage,
		"03 0100000000000000 0200000000000000 03000000 00000000 0400000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000 03"},
	{"message to oneself", Message{Address: Address{Incarnation: 1, Claim: 2, Context: 3}, SentAt: 4, Kind: Recalled}, parseMessage,
		"03 0100000000000000 0200000000000000 03000000 00000000 0400000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000 04"},
	{"message that asks for a reply", Message{Address: Address{Incarnation: 1, Claim: 2, Context: 3}, SentAt: 4, Kind: Yield,
		ReplyTo: Reply{Queue: 0x01020304, Address: Address{Incarnation: 0x1112131415161718, Claim: 0x2122232425262728, Context: 0x31323334, Bucket: 0x51525354}}}, parseMessage,
		"03 0100000000000000 0200000000000000 03000000 00000000 0400000000000000 04030201 1817161514131211 2827262524232221 34333231 54535251 02"},
	{"reply", Message{Address: Address{Incarnation: 1, Claim: 2, Context: 3}, SentAt: 4, Kind: Gone}, parseMessage,
		"03 0100000000000000 0200000000000000 03000000 00000000 0400000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000 05"},
	{"no rules", rules{}, parseNames, "03"},
	{"rules", rules{0x01020304: "orders", 0xfffffffe: "", 0x11: "events"}, parseNames, `
		03 11000000 06 6576656e7473 04030201 06 6f7264657273 feffffff 00`},
}

// rules gives appendRules the method that the other values have.
type rules map[RuleID]string

func (r rules) Append(dst []byte) []byte { return appendRules(dst, r) }

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
		bucketKey(0):     "streamlatch/3/b/0",
		bucketKey(16383): "streamlatch/3/b/16383",
		slotKey(1023):    "streamlatch/3/w/1023",
		queueName(7):     "streamlatch/3/q/7",
		tableKey:         "streamlatch/3/table",
		rulesKey:         "streamlatch/3/rules",
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

// A value that was cut short, or has a byte too many, is malformed.
func TestWrongLengthIsMalformed(t *testing.T) {
	for _, g := range golden {
		whole := unhex(t, g.hex)
		lengths := 0
		for n := range whole {
			if _, err := g.parse(whole[:n]); err == nil {
				// A bucket that was cut between two entries is a shorter bucket, and names of rules
				// that were cut between two names are fewer names.
				lengths++
			} else if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut to %d bytes: %v does not wrap ErrMalformed", g.name, n, err)
			}
		}
		if want := map[string]int{"bucket": 3, "rules": 3}[g.name]; lengths != want {
			t.Errorf("%s parses at %d shorter lengths, want %d", g.name, lengths, want)
		}
		if _, err := g.parse(append(bytes.Clone(whole), 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte after it: %v", g.name, err)
		}
	}
}

// someStream is the stored form of a stream, after its claim number.
const someStream = "0700000000000000 0000000000000000 0000000000000000 01000000 0000"

// entry is the stored form of an entry's head after its client and rule: a limit of one stream,
// nothing remembered, and the two counts.
func entry(known, streams int) string { return fmt.Sprintf("01 00 %02x %02x", known, streams) }

// memory is the stored form of an entry's head without streams that has what the bits say.
func memory(has string) string { return "00 " + has + " 00 00" }

// claims is the stored form of streams with the claim numbers 1 to n.
func claims(n int) string {
	var s strings.Builder
	for claim := 1; claim <= n; claim++ {
		fmt.Fprintf(&s, "%02x00000000000000 %s", claim, someStream)
	}
	return s.String()
}

// The counterpart of the malformed "65 streams" below.
func TestMaxStreamsParse(t *testing.T) {
	b, err := ParseBucket(unhex(t, "03 4000000000000000 101112131415161718191a1b1c1d1e1f a4a3a2a1"+entry(0, policy.MaxStreams)+claims(policy.MaxStreams)))
	if err != nil || len(b.Entries[0].Streams) != 64 {
		t.Fatalf("64 streams: %+v, %v", b, err)
	}
}

// The counterpart of the malformed "5 superseded instances" below.
func TestMaxSupersededParse(t *testing.T) {
	b, err := ParseBucket(unhex(t, "03 0100000000000000 101112131415161718191a1b1c1d1e1f a4a3a2a1"+entry(4, 1)+instances(4)+claims(1)))
	if err != nil || !slices.Equal(b.Entries[0].Superseded, []policy.Instance{1, 2, 3, 4}) {
		t.Fatalf("4 superseded instances: %+v, %v", b, err)
	}
}

// instances is the stored form of the instances 1 to n.
func instances(n int) string {
	var s strings.Builder
	for instance := 1; instance <= n; instance++ {
		fmt.Fprintf(&s, "%02x00000000000000", instance)
	}
	return s.String()
}

// If streams or instances are appended to an entry, the next entry stays as it is.
func TestEntriesAreIndependent(t *testing.T) {
	b, err := ParseBucket(unhex(t, "03 0900000000000000"+
		"101112131415161718191a1b1c1d1e1f 00000000"+entry(3, 1)+instances(3)+claims(1)+ // after three, the array has room for a fourth
		"1112131415161718191a1b1c1d1e1f20 00000000"+entry(1, 1)+instances(1)+claims(1)))
	if err != nil {
		t.Fatal(err)
	}
	_ = append(b.Entries[0].Streams, policy.Stream{Claim: 99})
	_ = append(b.Entries[0].Superseded, 99)
	if got := b.Entries[1].Streams[0].Claim; got != 1 {
		t.Fatalf("the next entry's claim is %d now, was 1", got)
	}
	if got := b.Entries[1].Superseded[0]; got != 1 {
		t.Fatalf("the next entry's superseded instance is %d now, was 1", got)
	}
}

func TestMalformed(t *testing.T) {
	const (
		head   = "03 0900000000000000"
		client = "101112131415161718191a1b1c1d1e1f a4a3a2a1"
		stream = "0300000000000000" + someStream
	)
	tests := []struct {
		name, hex string
		parse     func([]byte) (any, error)
	}{
		{"empty bucket value", "", parseBucket},
		{"bucket of the last version", "02 0900000000000000", parseBucket},
		{"bucket of the next version", "04 0900000000000000", parseBucket},
		{"claim number without a successor", "03 ffffffffffffffff", parseBucket},
		{"entry without streams", head + client + memory("00"), parseBucket},
		{"entry without streams, but with a limit", head + client + "01 08 00 00 0100000000000000", parseBucket},
		{"entry without streams, but with a superseded instance", head + client + "00 08 01 00 0100000000000000" + instances(1), parseBucket},
		{"entry without streams that remembers tokens for ever", head + client + memory("01") + "0100 0200000000000000", parseBucket},
		{"dismissed for ever", head + client + "01 04 00 01 0100000000000000" + stream, parseBucket},
		{"dismissed a claim that never was", head + client + memory("0c") + "0a00000000000000 0100000000000000", parseBucket},
		{"dismissed claim 0", head + client + memory("0c") + "0000000000000000 0100000000000000", parseBucket},
		{"remembered until 0", head + client + "01 08 00 01 0000000000000000" + stream, parseBucket},
		{"unknown bit", head + client + "01 10 00 01" + stream, parseBucket},
		{"a limit of 65", head + client + "41 00 00 01" + stream, parseBucket},
		{"no limit", head + client + "00 00 00 01" + stream, parseBucket},
		{"memory cut short", head + client + memory("08") + "01000000000000", parseBucket},
		{"no reconnect spent, but a time", head + client + "01 02 00 01 0000 0100000000000000" + stream, parseBucket},
		{"65 streams", "03 4100000000000000" + client + entry(0, 65) + claims(65), parseBucket},
		{"5 superseded instances", head + client + entry(5, 1) + instances(5) + stream, parseBucket},
		{"superseded instance 0", head + client + entry(1, 1) + "0000000000000000" + stream, parseBucket},
		{"superseded instance twice", head + client + entry(3, 1) + instances(2) + instances(1) + stream, parseBucket},
		{"superseded instance cut short", head + client + entry(4, 1) + instances(3) + stream, parseBucket},
		{"no token spent, but a time", head + client + "01 01 00 01 0000 0100000000000000" + stream, parseBucket},
		{"claim number 0", head + client + entry(0, 1) + "0000000000000000" + someStream, parseBucket},
		{"claim number never given", head + client + entry(0, 1) + "0a00000000000000" + someStream, parseBucket},
		{"same claim twice", head + client + entry(0, 2) + stream + stream, parseBucket},
		{"claims out of order", head + client + entry(0, 2) + "0400000000000000" + someStream + stream, parseBucket},
		{"no incarnation", head + client + entry(0, 1) + "0300000000000000 0000000000000000" + someStream[16:], parseBucket},
		{"slot 1024", head + client + entry(0, 1) + stream[:len(stream)-4] + "0004", parseBucket},
		{"same client twice", head + client + entry(0, 1) + stream + client + entry(0, 1) + stream, parseBucket},
		{"clients out of order", head + "ff" + client[2:] + entry(0, 1) + stream + client + entry(0, 1) + stream, parseBucket},
		{"slot record of another length", "03 0000000000000000 00000000 0000000000000000 00000000", parseRecord},
		{"slot record of another version", "02 0000000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000", parseRecord},
		{"free slot with a queue", "03 0000000000000000 01000000 0000000000000000 0000000000000000 00000000 00000000", parseRecord},
		{"free slot with a heartbeat", "03 0000000000000000 00000000 0100000000000000 0000000000000000 00000000 00000000", parseRecord},
		{"free slot with a time", "03 0000000000000000 00000000 0000000000000000 0100000000000000 00000000 00000000", parseRecord},
		{"free slot with streams", "03 0000000000000000 00000000 0000000000000000 0000000000000000 01000000 00000000", parseRecord},
		{"free slot with messages", "03 0000000000000000 00000000 0000000000000000 0000000000000000 00000000 01000000", parseRecord},
		{"table of another version", "02 0e 0102030405060708090a0b0c0d0e0f10", parseTable},
		{"table too large", "03 15 0102030405060708090a0b0c0d0e0f10", parseTable},
		{"message of another version", "02 0100000000000000 0200000000000000 03000000 00000000 0000000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000 01", parseMessage},
		{"message of kind 0", "03 0100000000000000 0200000000000000 03000000 00000000 0000000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000 00", parseMessage},
		{"message of kind 7", "03 0100000000000000 0200000000000000 03000000 00000000 0000000000000000 00000000 0000000000000000 0000000000000000 00000000 00000000 07", parseMessage},
		{"empty rules value", "", parseNames},
		{"rules of another version", "02", parseNames},
		{"rule without a length", "03 11000000", parseNames},
		{"rule cut short", "03 11000000 02 61", parseNames},
		{"same rule twice", "03 11000000 01 61 11000000 01 61", parseNames},
		{"rules out of order", "03 11000000 01 61 10000000 01 61", parseNames},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			value := unhex(t, test.hex)
			if got, err := test.parse(value); !errors.Is(err, ErrMalformed) {
				t.Errorf("parsed %+v, %v; want ErrMalformed", got, err)
			}
		})
	}
}

// Each malformed bucket above must be malformed only for the reason in its name. These are the same
// buckets with that one fault corrected, unless the corrected bucket is among the golden ones.
func TestCorrectedBucketsParse(t *testing.T) {
	const (
		head   = "03 0900000000000000"
		client = "101112131415161718191a1b1c1d1e1f a4a3a2a1"
		stream = "0300000000000000" + someStream
	)
	for _, corrected := range []string{
		head + client + entry(0, 1) + stream,
		head + client + entry(2, 1) + instances(2) + stream,
		head + client + "01 01 00 01 0100 0100000000000000" + stream,
		head + client + "01 02 00 01 0100 0000000000000000" + stream,
		head + client + memory("08") + "0100000000000000",
		head + client + memory("09") + "0100 0200000000000000 0100000000000000",
		head + client + memory("0c") + "0900000000000000 0100000000000000",
		head + client + "01 0c 00 01 0100000000000000 0100000000000000" + stream,
		head + client + "40 00 00 01" + stream,
		head + client + entry(0, 1) + stream[:len(stream)-4] + "ff03",
		head + client + entry(0, 2) + stream + "0400000000000000" + someStream,
		head + client + entry(0, 1) + "0900000000000000" + someStream,
		head + client + entry(0, 1) + stream + "ff" + client[2:] + entry(0, 1) + stream,
	} {
		if _, err := ParseBucket(unhex(t, corrected)); err != nil {
			t.Errorf("%s: %v", corrected, err)
		}
	}
}
