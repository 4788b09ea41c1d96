package host

func headerFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_header_map_value", signature: "iiiii->i", run: proxyGetHeaderMapValue, subject: subjectKeyAt1},
		{name: "proxy_add_header_map_value", signature: "iiiii->i", run: proxyAddHeaderMapValue, subject: subjectKeyAt1},
		{name: "proxy_replace_header_map_value", signature: "iiiii->i", run: proxyReplaceHeaderMapValue, subject: subjectKeyAt1},
		{name: "proxy_remove_header_map_value", signature: "iii->i", run: proxyRemoveHeaderMapValue, subject: subjectKeyAt1},
		{name: "proxy_get_header_map_pairs", signature: "iii->i", run: proxyGetHeaderMapPairs},
		{name: "proxy_set_header_map_pairs", signature: "iii->i", run: proxySetHeaderMapPairs},
		{name: "proxy_get_header_map_size", signature: "ii->i", run: proxyGetHeaderMapSize},
	}
}

// The ABI's header map types.
const (
	mapRequestHeaders   = 0
	mapRequestTrailers  = 1
	mapResponseHeaders  = 2
	mapResponseTrailers = 3
	maxMapType          = 7 // 4 to 7: gRPC metadata and HTTP callouts, which never arrive here
)

// mutableMap returns a map that the guest may change now, or nil. A map is open
// from its callback on until the filter answered Continue; trailers also come into
// being when they are asked for in the last body callback.
//
// Envoy: source/extensions/common/wasm/context.cc, getMap.
func (s *Stream) mutableMap(kind uint32) *Headers {
	switch kind {
	case mapRequestHeaders:
		return s.request.openHeaders
	case mapRequestTrailers:
		return s.mutableTrailers(&s.request)
	case mapResponseHeaders:
		return s.response.openHeaders
	case mapResponseTrailers:
		return s.mutableTrailers(&s.response)
	}
	return nil
}

func (s *Stream) mutableTrailers(f *flow) *Headers {
	if f.openTrailers == nil && f.openBody != nil && s.endOfStream {
		f.hasTrailers = true
		f.openTrailers = &f.trailers
	}
	return f.openTrailers
}

// readableMap returns a map that the guest may read now, or nil. In on_log it is
// what the access log has: no request trailers.
//
// Envoy: source/extensions/common/wasm/context.cc, getConstMap.
func (s *Stream) readableMap(kind uint32) *Headers {
	f := &s.request
	if kind == mapResponseHeaders || kind == mapResponseTrailers {
		f = &s.response
	}
	switch {
	case kind > mapResponseTrailers:
		return nil
	case s.logging > 0 && (kind == mapRequestHeaders || kind == mapResponseHeaders && f.started):
		return &f.headers
	case s.logging > 0 && kind == mapResponseTrailers && f.hasTrailers:
		return &f.trailers
	case s.logging > 0:
		return nil
	case kind == mapRequestHeaders || kind == mapResponseHeaders:
		return f.openHeaders
	default:
		return f.openTrailers
	}
}

func (c *vmContext) mutableMap(kind uint32) *Headers {
	if c.stream == nil {
		return nil
	}
	return c.stream.mutableMap(kind)
}

func (c *vmContext) readableMap(kind uint32) *Headers {
	if c.stream == nil {
		return nil
	}
	return c.stream.readableMap(kind)
}

// proxyGetHeaderMapValue is proxy_get_header_map_value: the first value of a name.
//
// Parameters: map type, key pointer, key size, where to write the value's pointer
// and its size.
//
//   - BadArgument: the type is above 7, checked first; or the map is not available
//     now. In on_log the latter is NotFound
//   - InvalidMemoryAccess: the key is out of bounds, or a result cannot be written
//   - NotFound: no such header
//
// cpp-host: src/exports.cc; Envoy: context.cc, getHeaderMapValue.
func proxyGetHeaderMapValue(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	key, ok := v.text(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	c := v.context()
	m := c.readableMap(a.u32(0))
	if m == nil {
		if c.stream != nil && c.stream.logging > 0 {
			return uint32(StatusNotFound)
		}
		return uint32(StatusBadArgument)
	}
	value, ok := m.Get(key)
	if !ok {
		return uint32(StatusNotFound)
	}
	return uint32(v.give([]byte(value), a.u32(3), a.u32(4)))
}

// proxyAddHeaderMapValue is proxy_add_header_map_value: one more entry.
//
// Parameters: map type, key pointer, key size, value pointer, value size.
//
//   - BadArgument: the type is above 7, checked first; or the map cannot be changed
//     now
//   - InvalidMemoryAccess: key or value is out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, addHeaderMapValue.
func proxyAddHeaderMapValue(v *vm, a args) uint32 {
	return uint32(v.changeMap(a, func(m *Headers, key, value string) { m.add(key, value) }))
}

// proxyReplaceHeaderMapValue is proxy_replace_header_map_value: all entries of the
// name become one, which is added if there was none. Parameters and statuses are
// those of proxy_add_header_map_value.
//
// cpp-host: src/exports.cc; Envoy: context.cc, replaceHeaderMapValue.
func proxyReplaceHeaderMapValue(v *vm, a args) uint32 {
	return uint32(v.changeMap(a, func(m *Headers, key, value string) { m.replace(key, value) }))
}

func (v *vm) changeMap(a args, change func(m *Headers, key, value string)) Status {
	if a.u32(0) > maxMapType {
		return StatusBadArgument
	}
	key, okKey := v.text(a.u32(1), a.u32(2))
	value, okValue := v.text(a.u32(3), a.u32(4))
	if !okKey || !okValue {
		return StatusInvalidMemoryAccess
	}
	m := v.context().mutableMap(a.u32(0))
	if m == nil {
		return StatusBadArgument
	}
	change(m, key, value)
	return StatusOk
}

// proxyRemoveHeaderMapValue is proxy_remove_header_map_value: it removes all
// entries of a name, and is Ok if there is none.
//
// Parameters: map type, key pointer, key size.
//
//   - BadArgument: the type is above 7, checked first; or the map cannot be changed
//     now
//   - InvalidMemoryAccess: the key is out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, removeHeaderMapValue.
func proxyRemoveHeaderMapValue(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	key, ok := v.text(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	m := v.context().mutableMap(a.u32(0))
	if m == nil {
		return uint32(StatusBadArgument)
	}
	m.remove(key)
	return uint32(StatusOk)
}

// proxyGetHeaderMapPairs is proxy_get_header_map_pairs: the whole map, serialised.
// A map that is empty, or not available now, is Ok with pointer 0 and size 0.
//
// Parameters: map type, where to write the map's pointer and its size.
//
//   - BadArgument: the type is above 7
//   - InvalidMemoryAccess: a result cannot be written
//
// cpp-host: src/exports.cc; Envoy: context.cc, getHeaderMapPairs.
func proxyGetHeaderMapPairs(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	var pairs []byte
	if m := v.context().readableMap(a.u32(0)); m != nil && len(*m) > 0 {
		pairs = encodePairs(*m)
	}
	return uint32(v.give(pairs, a.u32(1), a.u32(2)))
}

// proxySetHeaderMapPairs is proxy_set_header_map_pairs: it replaces the whole map.
// Bytes that are no map, or one beyond the limits, empty it, and that is Ok.
//
// Parameters: map type, map pointer, map size.
//
//   - BadArgument: the type is above 7, checked first; or the map cannot be changed
//     now
//   - InvalidMemoryAccess: the map is out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, setHeaderMapPairs.
func proxySetHeaderMapPairs(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	data, ok := v.view(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	m := v.context().mutableMap(a.u32(0))
	if m == nil {
		return uint32(StatusBadArgument)
	}
	*m = decodePairs(data).normalized()
	return uint32(StatusOk)
}

// proxyGetHeaderMapSize is proxy_get_header_map_size: the bytes of all names and
// values, not the number of entries.
//
// Parameters: map type, where to write the size.
//
//   - BadArgument: the type is above 7; or the map cannot be changed now (sic)
//   - InvalidMemoryAccess: the size cannot be written
//
// cpp-host: src/exports.cc; Envoy: context.cc, getHeaderMapSize.
func proxyGetHeaderMapSize(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	m := v.context().mutableMap(a.u32(0))
	if m == nil {
		return uint32(StatusBadArgument)
	}
	if !v.putUint32(a.u32(1), m.byteSize()) {
		return uint32(StatusInvalidMemoryAccess)
	}
	return uint32(StatusOk)
}
