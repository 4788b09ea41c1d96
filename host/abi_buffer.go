package host

func bufferFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_buffer_bytes", signature: "iiiii->i", run: proxyGetBufferBytes},
		{name: "proxy_set_buffer_bytes", signature: "iiiii->i", run: proxySetBufferBytes},
		{name: "proxy_get_buffer_status", signature: "iii->i", run: proxyGetBufferStatus},
	}
}

// The ABI's buffer types.
const (
	bufferRequestBody      = 0
	bufferResponseBody     = 1
	bufferHTTPCallResponse = 4
	bufferVMConfig         = 6
	bufferPluginConfig     = 7
	maxBufferType          = 8
)

// buffer returns what a type stands for in the current context, nil if Envoy has
// no such buffer now. A body that is not there is not nil: Envoy answers for an
// empty one that cannot be written.
//
// Envoy: source/extensions/common/wasm/context.cc, getBuffer.
func (v *vm) buffer(kind uint32) *buffer {
	var body *buffer
	switch c := v.context(); kind {
	case bufferVMConfig:
		return &buffer{data: v.world.config.VMConfig, readOnly: true}
	case bufferPluginConfig:
		if !c.configReadable {
			return nil
		}
		return &buffer{data: c.plugin.config, readOnly: true}
	case bufferHTTPCallResponse:
		return nil
	case bufferRequestBody:
		if c.stream != nil {
			body = c.stream.request.openBody
		}
	case bufferResponseBody:
		if c.stream != nil {
			body = c.stream.response.openBody
		}
	}
	if body == nil {
		return &buffer{readOnly: true}
	}
	return body
}

// proxyGetBufferBytes is proxy_get_buffer_bytes: a copy of a part of a buffer. The
// range is clamped; an empty one is Ok with pointer 0 and size 0.
//
// Parameters: buffer type, start, length, where to write the pointer and the size.
//
//   - BadArgument: the type is above 8
//   - NotFound: no such buffer now; the plugin's configuration is there only in
//     the plugin's on_context_create and on_configure
//   - InvalidMemoryAccess: a result cannot be written
//
// cpp-host: src/exports.cc, get_buffer_bytes.
func proxyGetBufferBytes(v *vm, a args) uint32 {
	if a.u32(0) > maxBufferType {
		return uint32(StatusBadArgument)
	}
	b := v.buffer(a.u32(0))
	if b == nil {
		return uint32(StatusNotFound)
	}
	return uint32(v.give(b.read(a.u32(1), a.u32(2)), a.u32(3), a.u32(4)))
}

// proxySetBufferBytes is proxy_set_buffer_bytes: see buffer.write for what start
// and length mean.
//
// Parameters: buffer type, start, length, data pointer, data size.
//
//   - BadArgument: the type is above 8; or the range has no meaning; or the buffer
//     cannot be changed, as configurations and bodies outside their callback
//   - NotFound: no such buffer now
//   - InvalidMemoryAccess: the data is out of bounds
//
// cpp-host: src/exports.cc, set_buffer_bytes.
func proxySetBufferBytes(v *vm, a args) uint32 {
	if a.u32(0) > maxBufferType {
		return uint32(StatusBadArgument)
	}
	b := v.buffer(a.u32(0))
	if b == nil {
		return uint32(StatusNotFound)
	}
	data, ok := v.data(a.u32(3), a.u32(4))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(b.write(a.u32(1), a.u32(2), data))
}

// proxyGetBufferStatus is proxy_get_buffer_status: the length, and flags that are
// always 0.
//
// Parameters: buffer type, where to write the length and the flags.
//
//   - BadArgument: the type is above 8
//   - NotFound: no such buffer now
//   - InvalidMemoryAccess: a result cannot be written
//
// cpp-host: src/exports.cc, get_buffer_status.
func proxyGetBufferStatus(v *vm, a args) uint32 {
	if a.u32(0) > maxBufferType {
		return uint32(StatusBadArgument)
	}
	b := v.buffer(a.u32(0))
	if b == nil {
		return uint32(StatusNotFound)
	}
	if !v.putUint32(a.u32(1), uint32(len(b.data))) || !v.putUint32(a.u32(2), 0) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}
