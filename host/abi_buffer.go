package host

// configurationFunctions are only in ABI 0.1.0. Later guests read their configuration as a buffer.
func configurationFunctions(version abiVersion) []hostFunc {
	if version != abi010 {
		return nil
	}
	return []hostFunc{{name: "proxy_get_configuration", params: "configuration@bytes", run: proxyGetConfiguration}}
}

func bufferFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_buffer_bytes", params: "buffer:buffer start:u32 length:u32 data@bytes", run: proxyGetBufferBytes},
		{name: "proxy_set_buffer_bytes", params: "buffer:buffer start:u32 length:u32 data:bytes", run: proxySetBufferBytes},
		{name: "proxy_get_buffer_status", params: "buffer:buffer length@u32 flags@u32", run: proxyGetBufferStatus},
	}
}

// The ABI's buffer types.
const (
	bufferRequestBody      = 0
	bufferResponseBody     = 1
	bufferDownstreamData   = 2
	bufferUpstreamData     = 3
	bufferHTTPCallResponse = 4
	bufferGRPCMessage      = 5
	bufferVMConfig         = 6
	bufferPluginConfig     = 7
	maxBufferType          = 8
)

// buffer returns the buffer of a type in the present context, or nil if Envoy answers NotFound for
// it. A body that the guest cannot reach now is not nil, but an empty buffer that cannot be
// written, as in Envoy.
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
		return &buffer{data: c.plugin.Config, readOnly: true}
	case bufferHTTPCallResponse:
		if c.root().httpResponse == nil {
			return nil
		}
		return &buffer{data: c.root().httpResponse.Body, readOnly: true}
	case bufferGRPCMessage:
		body = c.root().grpc.message
	case bufferDownstreamData:
		if c.connection != nil {
			body = c.connection.downstream.visible
		}
	case bufferUpstreamData:
		if c.connection != nil {
			body = c.connection.upstream.visible
		}
	case bufferRequestBody:
		if c.stream != nil {
			body = c.stream.request.visibleBody
		}
	case bufferResponseBody:
		if c.stream != nil {
			body = c.stream.response.visibleBody
		}
	}
	if body == nil {
		return &buffer{readOnly: true}
	}
	return body
}

// proxyGetBufferBytes is proxy_get_buffer_bytes, which copies a part of a buffer. A range that goes
// beyond the end is cut there, without an error. An empty result is Ok, with pointer 0 and size 0.
//
// Parameters: buffer type, start, length, where to write the pointer, where to write the size.
//
//   - BadArgument: the type is above 8
//   - NotFound: the context has no such buffer now; the plugin's configuration is available only in
//     its on_context_create and on_configure
//   - InvalidMemoryAccess: the pointer or the size cannot be written
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
	return uint32(v.copyToGuest(b.read(a.u32(1), a.u32(2)), a.u32(3), a.u32(4)))
}

// proxySetBufferBytes is proxy_set_buffer_bytes. For what start and length mean see buffer.write.
//
// Parameters: buffer type, start, length, data pointer, data size.
//
//   - BadArgument: the type is above 8; the range has no meaning; or the buffer cannot be changed,
//     like a configuration, or a body outside of its callbacks
//   - NotFound: the context has no such buffer now
//   - InvalidMemoryAccess: the data are out of bounds
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
	data, ok := v.readBytes(a.u32(3), a.u32(4))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(b.write(a.u32(1), a.u32(2), data))
}

// proxyGetBufferStatus is proxy_get_buffer_status, which returns the length of a buffer. The flags
// are always 0.
//
// Parameters: buffer type, where to write the length, where to write the flags.
//
//   - BadArgument: the type is above 8
//   - NotFound: the context has no such buffer now
//   - InvalidMemoryAccess: the length or the flags cannot be written
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

// proxyGetConfiguration is proxy_get_configuration of ABI 0.1.0. In a plugin's on_context_create
// and on_configure it returns the plugin's configuration, everywhere else that of the VM.
//
// Parameters: where to write the pointer, where to write the size.
//
//   - InvalidMemoryAccess: the pointer or the size cannot be written
//
// cpp-host: src/exports.cc, get_configuration; Envoy: context.cc, getConfiguration.
func proxyGetConfiguration(v *vm, a args) uint32 {
	config := v.world.config.VMConfig
	if c := v.context(); c.configReadable {
		config = c.plugin.Config
	}
	return uint32(v.copyToGuest(config, a.u32(0), a.u32(1)))
}
