package host

import (
	"math"
	"testing"
)

// The table of Envoy's compare-and-swap. Other hosts differ in every row but the
// plain match (host-semantics: proxytest, mosn, ngx_wasm_module, the Java host).
func TestSharedDataCas(t *testing.T) {
	const absent, present = false, true
	tests := []struct {
		name   string
		exists bool
		cas    func(stored uint32) uint32
		want   Status
	}{
		{"absent, cas 0 creates", absent, func(uint32) uint32 { return 0 }, StatusOk},
		{"absent, any other cas creates too", absent, func(uint32) uint32 { return math.MaxUint32 }, StatusOk},
		{"present, cas 0 overwrites", present, func(uint32) uint32 { return 0 }, StatusOk},
		{"present, its cas replaces", present, func(stored uint32) uint32 { return stored }, StatusOk},
		{"present, an older cas is a mismatch", present, func(stored uint32) uint32 { return stored - 1 }, StatusCasMismatch},
		{"present, a cas that was never given is a mismatch", present, func(uint32) uint32 { return math.MaxUint32 }, StatusCasMismatch},
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
				t.Fatalf("set: got %v, want %v", got, tt.want)
			}
			after, status := d.get("key")
			if status != StatusOk || string(after.Bytes) != want {
				t.Errorf("afterwards: got %q, %v, want %q", after.Bytes, status, want)
			}
			if unchanged := after.CAS == stored; unchanged != (tt.want == StatusCasMismatch) {
				t.Errorf("cas went from %d to %d", stored, after.CAS)
			}
		})
	}
}

func TestSharedDataCasIsOneCounterFromOneThatSkipsZero(t *testing.T) {
	d := newSharedData()
	d.set("a", nil, 0)
	d.set("b", nil, 0)
	d.set("a", nil, 0)
	a, _ := d.get("a")
	b, _ := d.get("b")
	if a.CAS != 3 || b.CAS != 2 {
		t.Errorf("cas of a and b: got %d and %d, want 3 and 2", a.CAS, b.CAS)
	}
	d.cas = math.MaxUint32
	d.set("a", nil, 0)
	d.set("b", nil, 0)
	a, _ = d.get("a")
	b, _ = d.get("b")
	if a.CAS != math.MaxUint32 || b.CAS != 1 {
		t.Errorf("cas around the wrap: got %d and %d, want %d and 1", a.CAS, b.CAS, uint32(math.MaxUint32))
	}
}

func TestSharedDataTellsEmptyFromAbsent(t *testing.T) {
	d := newSharedData()
	if _, status := d.get("key"); status != StatusNotFound {
		t.Errorf("absent: got %v, want %v", status, StatusNotFound)
	}
	d.set("key", nil, 0)
	if v, status := d.get("key"); status != StatusOk || len(v.Bytes) != 0 {
		t.Errorf("empty: got %q, %v, want no bytes, %v", v.Bytes, status, StatusOk)
	}
}

func TestSharedDataSharesNoMemory(t *testing.T) {
	d := newSharedData()
	in := []byte("value")
	d.set("key", in, 0)
	in[0] = 'X'
	got, _ := d.get("key")
	got.Bytes[1] = 'X'
	d.snapshot()["key"].Bytes[2] = 'X'
	if again, _ := d.get("key"); string(again.Bytes) != "value" {
		t.Errorf("stored value became %q", again.Bytes)
	}
}
