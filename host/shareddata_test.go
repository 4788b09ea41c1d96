package host

import (
	"math"
	"testing"
)

// Envoy's rules for the cas. Other hosts differ from it in every row except the exact match.
func TestSharedDataCas(t *testing.T) {
	const absent, present = false, true
	tests := []struct {
		name   string
		exists bool
		cas    func(stored uint32) uint32
		want   Status
	}{
		{"no key, cas 0: created", absent, func(uint32) uint32 { return 0 }, StatusOk},
		{"no key, any other cas: created", absent, func(uint32) uint32 { return math.MaxUint32 }, StatusOk},
		{"key, cas 0: replaced", present, func(uint32) uint32 { return 0 }, StatusOk},
		{"key, its cas: replaced", present, func(stored uint32) uint32 { return stored }, StatusOk},
		{"key, an older cas: mismatch", present, func(stored uint32) uint32 { return stored - 1 }, StatusCasMismatch},
		{"key, a cas that no key has had: mismatch", present, func(uint32) uint32 { return math.MaxUint32 }, StatusCasMismatch},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newSharedData()
			d.set("other", []byte("x"), 0)
			var stored uint32
			want := "new"
			if tt.exists {
				d.set("key", []byte("old"), 0)
				before, _ := d.get("key")
				stored = before.CAS
			}
			if tt.want == StatusCasMismatch {
				want = "old"
			}
			if got := d.set("key", []byte("new"), tt.cas(stored)); got != tt.want {
				t.Fatalf("set: got the status %v, want %v", got, tt.want)
			}
			after, status := d.get("key")
			if status != StatusOk || string(after.Bytes) != want {
				t.Errorf("get: got %q, %v, want %q, Ok", after.Bytes, status, want)
			}
			if unchanged := after.CAS == stored; unchanged != (tt.want == StatusCasMismatch) {
				t.Errorf("cas %d before, %d after: want a new one only if the set is Ok", stored, after.CAS)
			}
		})
	}
}

// All keys share one counter for the cas. It starts at 1 and skips 0 when it wraps.
func TestSharedDataCasCounter(t *testing.T) {
	d := newSharedData()
	d.set("a", nil, 0)
	d.set("b", nil, 0)
	d.set("a", nil, 0)
	a, _ := d.get("a")
	b, _ := d.get("b")
	if a.CAS != 3 || b.CAS != 2 {
		t.Errorf("got the cas %d for a and %d for b, want 3 and 2", a.CAS, b.CAS)
	}
	*d.cas = math.MaxUint32
	d.set("a", nil, 0)
	d.set("b", nil, 0)
	a, _ = d.get("a")
	b, _ = d.get("b")
	if a.CAS != math.MaxUint32 || b.CAS != 1 {
		t.Errorf("when the counter wraps: got the cas %d and then %d, want %d and then 1", a.CAS, b.CAS, uint32(math.MaxUint32))
	}
}

func TestSharedDataEmptyValue(t *testing.T) {
	d := newSharedData()
	if _, status := d.get("key"); status != StatusNotFound {
		t.Errorf("a key that was never set: got the status %v, want %v", status, StatusNotFound)
	}
	d.set("key", nil, 0)
	if v, status := d.get("key"); status != StatusOk || len(v.Bytes) != 0 {
		t.Errorf("a key with an empty value: got %q, %v, want no bytes, %v", v.Bytes, status, StatusOk)
	}
}

func TestSharedDataCopies(t *testing.T) {
	d := newSharedData()
	in := []byte("value")
	d.set("key", in, 0)
	in[0] = 'X'
	got, _ := d.get("key")
	got.Bytes[1] = 'X'
	d.snapshot()["key"].Bytes[2] = 'X'
	if again, _ := d.get("key"); string(again.Bytes) != "value" {
		t.Errorf("got %q after changes of copies, want value", again.Bytes)
	}
}
