package registry

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dchest/siphash"

	"github.com/streamlatch/streamlatch/filter/policy"
)

const (
	tableKey  = keyPrefix + "table"
	tableSize = 1 + 1 + 16

	// bucketBits makes 16,384 buckets in a new table. With 100,000 live clients a bucket holds six
	// of them, about 400 bytes each time it is read or written; and all buckets can be read in some
	// 50 ms. Buckets that were never touched cost nothing.
	bucketBits    = 14
	maxBucketBits = 20
)

// Table is what all workers that share a store must agree on. The first worker writes it, and
// nobody changes it.
type Table struct {
	Bits uint8 // there are 1<<Bits buckets
	Seed [16]byte
}

// Buckets returns the number of buckets.
func (t Table) Buckets() uint32 { return 1 << t.Bits }

// Client returns the id of a client: the hash of a rule's name and of the client's key under that
// rule.
func (t Table) Client(rule string, key []byte) ClientID {
	// The length of the name comes first, so two different pairs of rule and key are never the
	// same input.
	input := make([]byte, 0, 128)
	input = binary.AppendUvarint(input, uint64(len(rule)))
	input = append(input, rule...)
	input = append(input, key...)
	k0, k1 := binary.LittleEndian.Uint64(t.Seed[:]), binary.LittleEndian.Uint64(t.Seed[8:])
	lo, hi := siphash.Hash128(k0, k1, input)
	var id ClientID
	binary.LittleEndian.PutUint64(id[:], lo)
	binary.LittleEndian.PutUint64(id[8:], hi)
	return id
}

// Rule hashes a rule's name.
func (t Table) Rule(name string) RuleID {
	k0, k1 := binary.LittleEndian.Uint64(t.Seed[:]), binary.LittleEndian.Uint64(t.Seed[8:])
	return RuleID(siphash.Hash(k0, k1, []byte(name)))
}

// Instance hashes what names one page or process of a client.
func (t Table) Instance(id ClientID, key []byte) policy.Instance {
	k0, k1 := binary.LittleEndian.Uint64(t.Seed[:]), binary.LittleEndian.Uint64(t.Seed[8:])
	input := make([]byte, 0, 128)
	input = append(input, id[:]...)
	input = append(input, key...)
	return policy.Instance(max(1, siphash.Hash(k0, k1, input))) // 0 means no instance
}

// bucket returns the number of the client's bucket.
func (t Table) bucket(client ClientID) uint32 {
	return binary.LittleEndian.Uint32(client[12:]) & (t.Buckets() - 1)
}

// Append appends the stored form of t to dst.
func (t Table) Append(dst []byte) []byte {
	dst = append(dst, formatVersion, t.Bits)
	return append(dst, t.Seed[:]...)
}

// ParseTable reads the stored form of a table.
func ParseTable(value []byte) (Table, error) {
	if len(value) != tableSize || value[0] != formatVersion || value[1] > maxBucketBits {
		return Table{}, malformed("table: found %d bytes, want %d bytes with version %d and at most %d bits",
			len(value), tableSize, formatVersion, maxBucketBits)
	}
	t := Table{Bits: value[1]}
	copy(t.Seed[:], value[2:])
	return t, nil
}

// loadTable returns the table in the store; if there is none, it writes a new one. A malformed
// table is an error and is not replaced: other workers may use it, and a second seed would hide
// their streams.
func loadTable(store Store, random func() uint64) (Table, error) {
	fresh := Table{Bits: bucketBits}
	binary.LittleEndian.PutUint64(fresh.Seed[:], random())
	binary.LittleEndian.PutUint64(fresh.Seed[8:], random())
	err := store.Set(tableKey, fresh.Append(nil), Absent)
	if err == nil {
		return fresh, nil
	}
	if !errors.Is(err, ErrCasMismatch) {
		return Table{}, fmt.Errorf("write %s: %w", tableKey, err)
	}
	value, _, err := store.Get(tableKey)
	if err != nil {
		return Table{}, fmt.Errorf("read %s: %w", tableKey, err)
	}
	t, err := ParseTable(value)
	if err != nil {
		return Table{}, fmt.Errorf("read %s: %w", tableKey, err)
	}
	return t, nil
}
