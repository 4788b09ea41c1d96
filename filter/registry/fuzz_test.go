package registry

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// The stored form is canonical: bytes that parse encode to the same bytes, and all others are
// ErrMalformed.
//
//	go test ./filter/registry -fuzz FuzzParseBucket -fuzztime 30s

func FuzzParseBucket(f *testing.F) {
	fuzzCanonical(f, func(b []byte) ([]byte, error) {
		bucket, err := ParseBucket(b)
		return bucket.Append(nil), err
	})
}

func FuzzParseRecord(f *testing.F) {
	fuzzCanonical(f, func(b []byte) ([]byte, error) {
		record, err := ParseRecord(b)
		return record.Append(nil), err
	})
}

func FuzzParseTable(f *testing.F) {
	fuzzCanonical(f, func(b []byte) ([]byte, error) {
		table, err := ParseTable(b)
		return table.Append(nil), err
	})
}

func FuzzParseMessage(f *testing.F) {
	fuzzCanonical(f, func(b []byte) ([]byte, error) {
		message, err := ParseMessage(b)
		return message.Append(nil), err
	})
}

func FuzzParseRules(f *testing.F) {
	fuzzCanonical(f, func(b []byte) ([]byte, error) {
		names, err := parseRules(b)
		return appendRules(nil, names), err
	})
}

// fuzzCanonical feeds bytes to again, which parses them and encodes the result.
func fuzzCanonical(f *testing.F, again func([]byte) ([]byte, error)) {
	for _, g := range golden {
		f.Add(unhex(f, g.hex))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		got, err := again(value)
		if !bytes.Equal(value, before) {
			t.Fatalf("parsing %x changed it to %x", before, value)
		}
		switch {
		case err != nil && !errors.Is(err, ErrMalformed):
			t.Fatalf("%x: %v does not wrap ErrMalformed", value, err)
		case err == nil && !bytes.Equal(got, value):
			t.Fatalf("%x parses, and encodes to %x", value, got)
		}
	})
}

// A worker meets any bytes in a bucket, in its own slot and in another. Nothing panics, and after a
// few ticks a new claim is registered as it should be.
func FuzzStore(f *testing.F) {
	for _, g := range golden {
		f.Add(unhex(f, g.hex), unhex(f, g.hex), unhex(f, g.hex))
	}
	for _, left := range []string{"ff", "fe", "fd"} {
		f.Add(unhex(f, "02"+left+"ffffffffffffff"), []byte{}, []byte{})
	}
	f.Fuzz(func(t *testing.T, bucket, own, other []byte) {
		w := newWorld().small(0)
		a := w.thread()
		a.open("alice")
		w.envoy.write(bucketKey(0), bucket)
		w.envoy.write(slotKey(0), own)
		w.envoy.write(slotKey(1), other)
		for range 2*missedTicks + 4 {
			w.now += 1000
			found, err := a.Tick(w.now)
			if err != nil {
				t.Fatalf("tick: %v", err)
			}
			for _, s := range found.End {
				if _, err := a.Release(s); err != nil {
					t.Fatalf("release: %v", err)
				}
			}
		}
		// The last claim number may have been used. Then the bucket is malformed, and the
		// next claim starts it afresh.
		if err := claimed(a); err != nil {
			if err := claimed(a); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// claimed opens a stream, and returns an error unless the only bucket holds exactly that stream for
// its client.
func claimed(a *thread) error {
	s := a.open("alice")
	if s.err != nil {
		return s.err
	}
	b, err := ParseBucket(a.world.envoy.data[bucketKey(0)].value)
	if err != nil {
		return err
	}
	at, found := b.find(s.handle.Client)
	if !found || len(b.Entries[at].Streams) != 1 || b.Entries[at].Streams[0] != s.handle.as() {
		return fmt.Errorf("after a claim as %+v the bucket holds %+v", s.handle.as(), b)
	}
	return nil
}
