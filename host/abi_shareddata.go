package host

func sharedDataFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_shared_data", params: "key:string value@bytes cas@u32", run: proxyGetSharedData},
		{name: "proxy_set_shared_data", params: "key:string value:bytes cas:u32", run: proxySetSharedData},
	}
}

// proxyGetSharedData is proxy_get_shared_data, which returns a value and its cas. An empty value is
// Ok, with pointer 0 and size 0.
//
// Parameters: key pointer, key size, where to write the value's pointer, where to write its size,
// where to write its cas.
//
//   - InvalidMemoryAccess: the key is out of bounds, or a result cannot be written
//   - NotFound: the key was never set
//
// cpp-host: src/exports.cc, get_shared_data.
func proxyGetSharedData(v *vm, a args) uint32 {
	key, ok := v.readString(a.u32(0), a.u32(1))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	value, status := v.world.data.get(key)
	if status != StatusOk {
		return uint32(status)
	}
	if status := v.copyToGuest(value.Bytes, a.u32(2), a.u32(3)); status != StatusOk {
		return uint32(status)
	}
	if !v.putUint32(a.u32(4), value.CAS) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}

// proxySetSharedData is proxy_set_shared_data: see sharedData.set for the meaning of the cas.
//
// Parameters: key pointer, key size, value pointer, value size, cas.
//
//   - InvalidMemoryAccess: the key or the value is out of bounds
//   - CasMismatch: the key exists, and the cas is neither 0 nor the cas of its value
//
// cpp-host: src/exports.cc, set_shared_data.
func proxySetSharedData(v *vm, a args) uint32 {
	key, okKey := v.readString(a.u32(0), a.u32(1))
	value, okValue := v.readBytes(a.u32(2), a.u32(3))
	if !okKey || !okValue {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(v.world.data.set(key, value, a.u32(4)))
}
