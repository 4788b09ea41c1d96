package host

func sharedDataFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_shared_data", signature: "iiiii->i", run: proxyGetSharedData, subject: subjectKey},
		{name: "proxy_set_shared_data", signature: "iiiii->i", run: proxySetSharedData, subject: subjectKey},
	}
}

// proxyGetSharedData is proxy_get_shared_data.
//
// Parameters: key pointer, key size, where to write the value's pointer, its
// size, and its cas.
//
//   - InvalidMemoryAccess: the key is out of bounds; or the value exists and a
//     result cannot be written
//   - NotFound: the key was never set; nothing is written. An empty value is Ok,
//     with pointer 0 and size 0
//
// cpp-host: src/exports.cc, get_shared_data.
func proxyGetSharedData(v *vm, a args) uint32 {
	key, ok := v.text(a.u32(0), a.u32(1))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	value, status := v.world.data.get(key)
	if status != StatusOk {
		return uint32(status)
	}
	if status := v.give(value.Bytes, a.u32(2), a.u32(3)); status != StatusOk {
		return uint32(status)
	}
	if !v.putUint32(a.u32(4), value.CAS) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}

// proxySetSharedData is proxy_set_shared_data.
//
// Parameters: key pointer, key size, value pointer, value size, cas.
//
//   - InvalidMemoryAccess: key or value is out of bounds
//   - CasMismatch: the key exists, the cas is not 0 and not that of the value. A
//     key that does not exist is created whatever the cas
//
// cpp-host: src/exports.cc, set_shared_data.
func proxySetSharedData(v *vm, a args) uint32 {
	key, okKey := v.text(a.u32(0), a.u32(1))
	value, okValue := v.data(a.u32(2), a.u32(3))
	if !okKey || !okValue {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(v.world.data.set(key, value, a.u32(4)))
}
