package host

import (
	"encoding/binary"
	"strings"
)

// view returns a part of guest memory, or false if it is out of bounds. The bytes are the guest's
// own and are valid only until the guest runs again, which a memory allocation for the result of
// the same hostcall also does. Callers that need them longer must copy them.
//
// cpp-host: src/v8/v8.cc, getMemory.
func (v *vm) view(pointer, size uint32) ([]byte, bool) {
	return v.memory.Read(pointer, size)
}

// readString copies a part of guest memory.
func (v *vm) readString(pointer, size uint32) (string, bool) {
	b, ok := v.view(pointer, size)
	return string(b), ok
}

// readBytes copies a part of guest memory. The slice is never nil.
func (v *vm) readBytes(pointer, size uint32) ([]byte, bool) {
	b, ok := v.view(pointer, size)
	return append([]byte{}, b...), ok
}

func (v *vm) putUint32(pointer, x uint32) bool { return v.memory.WriteUint32Le(pointer, x) }

func (v *vm) putUint64(pointer uint32, x uint64) bool { return v.memory.WriteUint64Le(pointer, x) }

// copyToGuest copies b into memory that the guest allocates, and writes its address and its length
// to pointerAt and sizeAt. For an empty b nothing is allocated, and the guest gets 0 and 0.
//
// cpp-host: include/proxy-wasm/wasm.h, copyToPointerSize.
func (v *vm) copyToGuest(b []byte, pointerAt, sizeAt uint32) Status {
	pointer := uint32(0)
	if len(b) > 0 {
		var ok bool
		if pointer, ok = v.allocate(uint32(len(b))); !ok || !v.memory.Write(pointer, b) {
			return StatusInvalidMemoryAccess
		}
	}
	if !v.putUint32(pointerAt, pointer) || !v.putUint32(sizeAt, uint32(len(b))) {
		return StatusInvalidMemoryAccess
	}
	return StatusOk
}

// allocate asks the guest for memory. While the guest allocates it may make hardly any hostcalls:
// see hostFunc. It returns false if the guest trapped, or returned 0 or an address out of bounds.
//
// cpp-host: include/proxy-wasm/wasm.h, allocMemory.
func (v *vm) allocate(size uint32) (uint32, bool) {
	v.allocating = true
	pointer, ok := v.enter(v.vmContext, v.allocator, uint64(size))
	v.allocating = false
	if !ok || pointer == 0 {
		return 0, false
	}
	_, ok = v.view(pointer, size)
	return pointer, ok
}

// readVectors copies and joins the buffers of a WASI ciovec array.
func (v *vm) readVectors(iovs, count uint32) (string, bool) {
	var s strings.Builder
	for i := range count {
		iov, ok := v.view(iovs+i*8, 8)
		if !ok {
			return "", false
		}
		part, ok := v.view(binary.LittleEndian.Uint32(iov), binary.LittleEndian.Uint32(iov[4:]))
		if !ok {
			return "", false
		}
		s.Write(part)
	}
	return s.String(), true
}
