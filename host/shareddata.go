package host

import "bytes"

// SharedValue is one value in shared data, with its cas: the number that a compare-and-swap
// compares.
type SharedValue struct {
	Bytes []byte
	CAS   uint32
}

// sharedData is the shared data of one vm_id. It copies bytes in and out, so it shares no memory
// with a guest or a test.
//
// cpp-host: src/shared_data.cc.
type sharedData struct {
	values map[string]SharedValue
	cas    *uint32 // the cas of the next value; all vm_ids of a process count together
}

func newSharedData() *sharedData {
	first := uint32(1)
	return &sharedData{values: make(map[string]SharedValue), cas: &first}
}

// get returns NotFound only for a key that was never set. An empty value is a value.
func (d *sharedData) get(key string) (SharedValue, Status) {
	v, ok := d.values[key]
	if !ok {
		return SharedValue{}, StatusNotFound
	}
	return SharedValue{Bytes: bytes.Clone(v.Bytes), CAS: v.CAS}, StatusOk
}

// set stores a value, if the cas permits it:
//
//	key does not exist    any cas      stored
//	key exists            cas 0        stored
//	key exists            its cas      stored
//	key exists            another cas  CasMismatch
//
// All keys share one counter for the new cas, so a cas does not tell how often its key was written.
func (d *sharedData) set(key string, value []byte, cas uint32) Status {
	if old, ok := d.values[key]; ok && cas != 0 && cas != old.CAS {
		return StatusCasMismatch
	}
	d.values[key] = SharedValue{Bytes: bytes.Clone(value), CAS: d.nextCAS()}
	return StatusOk
}

// nextCAS counts from 1. It skips 0 when it wraps, because a cas of 0 means: do not compare.
func (d *sharedData) nextCAS() uint32 {
	cas := *d.cas
	*d.cas++
	if *d.cas == 0 {
		*d.cas = 1
	}
	return cas
}

func (d *sharedData) snapshot() map[string]SharedValue {
	out := make(map[string]SharedValue, len(d.values))
	for k, v := range d.values {
		out[k] = SharedValue{Bytes: bytes.Clone(v.Bytes), CAS: v.CAS}
	}
	return out
}
