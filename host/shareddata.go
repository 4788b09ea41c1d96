package host

import "bytes"

// SharedValue is one entry of the shared data.
type SharedValue struct {
	Bytes []byte
	CAS   uint32
}

// sharedData is Envoy's shared data for one vm_id. It copies bytes in and out:
// nothing it holds aliases guest memory or a caller's slice.
//
// cpp-host: src/shared_data.cc.
type sharedData struct {
	values map[string]SharedValue
	cas    uint32 // the next number to hand out
}

func newSharedData() *sharedData {
	return &sharedData{values: make(map[string]SharedValue), cas: 1}
}

// get answers NotFound for a key that was never set. An empty value is a value.
func (d *sharedData) get(key string) (SharedValue, Status) {
	v, ok := d.values[key]
	if !ok {
		return SharedValue{}, StatusNotFound
	}
	return SharedValue{Bytes: bytes.Clone(v.Bytes), CAS: v.CAS}, StatusOk
}

// set stores value under key.
//
//	key absent                  any cas     creates it
//	key present                 cas 0       overwrites it
//	key present                 its cas     replaces it
//	key present                 other cas   CasMismatch, nothing changes
//
// The new cas comes from one counter for all keys, so it tells nothing about
// how often this key was written.
func (d *sharedData) set(key string, value []byte, cas uint32) Status {
	if old, ok := d.values[key]; ok && cas != 0 && cas != old.CAS {
		return StatusCasMismatch
	}
	d.values[key] = SharedValue{Bytes: bytes.Clone(value), CAS: d.nextCAS()}
	return StatusOk
}

// nextCAS counts from 1 and skips 0 when it wraps: a cas of 0 means "do not
// compare".
func (d *sharedData) nextCAS() uint32 {
	cas := d.cas
	d.cas++
	if d.cas == 0 {
		d.cas = 1
	}
	return cas
}

// snapshot returns a copy of everything.
func (d *sharedData) snapshot() map[string]SharedValue {
	out := make(map[string]SharedValue, len(d.values))
	for k, v := range d.values {
		out[k] = SharedValue{Bytes: bytes.Clone(v.Bytes), CAS: v.CAS}
	}
	return out
}
