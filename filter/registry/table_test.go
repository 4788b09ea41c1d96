package registry

import (
	"encoding/hex"
	"math"
	"testing"
)

// The hash is held to the published test vectors of SipHash-2-4 with 128 bits, key 000102…0f. Their
// inputs are the byte 00, which is what an empty rule and an empty key become, and the bytes 00 01.
func TestClientHash(t *testing.T) {
	table := Table{Bits: bucketBits}
	for i := range table.Seed {
		table.Seed[i] = byte(i)
	}
	for key, want := range map[string]string{
		"":     "da87c1d86b99af44347659119b22fc45",
		"\x01": "8177228da4a45dc7fca38bdef60affe4",
	} {
		got := table.Client("", []byte(key))
		if hex.EncodeToString(got[:]) != want {
			t.Errorf("client of %q is %x, want %s", key, got, want)
		}
	}
	if got := table.Client("", nil).Short(); got != "da87c1d8" {
		t.Errorf("short form %s, want the first 8 digits", got)
	}
}

// Two different pairs of rule and key are never the same client, wherever the one ends and the
// other begins.
func TestRuleAndKeyAreKeptApart(t *testing.T) {
	table := Table{Bits: bucketBits, Seed: [16]byte{1}}
	var words []string
	for _, alphabet := range []string{"\x00\x01\x02a"} {
		words = append(words, "")
		for from := 0; len(words[from]) < 3; from++ {
			for _, c := range []byte(alphabet) {
				words = append(words, words[from]+string(c))
			}
		}
	}
	seen := map[ClientID][2]string{}
	for _, rule := range words {
		for _, key := range words {
			id := table.Client(rule, []byte(key))
			if other, ok := seen[id]; ok {
				t.Fatalf("%q and %q are the same client", other, [2]string{rule, key})
			}
			seen[id] = [2]string{rule, key}
		}
	}
	if len(seen) < 7000 {
		t.Fatalf("tested %d pairs, want at least 7000", len(seen))
	}
}

// Another seed gives other clients, rules and buckets. Every byte of it counts.
func TestEverySeedByteCounts(t *testing.T) {
	base := Table{Bits: bucketBits, Seed: [16]byte{1}}
	for i := range base.Seed {
		other := base
		other.Seed[i] ^= 0x80
		if base.Client("events", []byte("alice")) == other.Client("events", []byte("alice")) {
			t.Errorf("byte %d of the seed does not change the client", i)
		}
		if base.Rule("events") == other.Rule("events") {
			t.Errorf("byte %d of the seed does not change the rule", i)
		}
		same := 0
		for n := range 100 {
			key := []byte(clientName(n))
			if base.bucket(base.Client("events", key)) == other.bucket(other.Client("events", key)) {
				same++
			}
		}
		if same > 5 {
			t.Errorf("byte %d of the seed leaves %d of 100 clients in their bucket", i, same)
		}
	}
}

// Clients whose names count up are spread over the buckets as chance would spread them.
func TestDistribution(t *testing.T) {
	for _, bits := range []uint8{0, 1, 6, bucketBits} {
		table := Table{Bits: bits, Seed: [16]byte{1}}
		counts := make([]int, table.Buckets())
		mean := 20.0
		for i := range int(mean) * len(counts) {
			counts[table.bucket(table.Client("events", []byte(clientName(i))))]++
		}
		chi := 0.0
		for _, n := range counts {
			chi += (float64(n) - mean) * (float64(n) - mean) / mean
		}
		// Chi-square with k degrees of freedom has mean k and variance 2k.
		k := float64(len(counts) - 1)
		if off := math.Abs(chi - k); off > 5*math.Sqrt(2*k)+1 {
			t.Errorf("%d buckets: chi-square %.0f, want about %.0f", len(counts), chi, k)
		}
	}
}
