package host

func headerFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_header_map_value", params: "map:headers name:string value@bytes", run: proxyGetHeaderMapValue},
		{name: "proxy_add_header_map_value", params: "map:headers name:string value:bytes", run: proxyAddHeaderMapValue},
		{name: "proxy_replace_header_map_value", params: "map:headers name:string value:bytes", run: proxyReplaceHeaderMapValue},
		{name: "proxy_remove_header_map_value", params: "map:headers name:string", run: proxyRemoveHeaderMapValue},
		{name: "proxy_get_header_map_pairs", params: "map:headers headers@map", run: proxyGetHeaderMapPairs},
		{name: "proxy_set_header_map_pairs", params: "map:headers headers:map", run: proxySetHeaderMapPairs},
		{name: "proxy_get_header_map_size", params: "map:headers size@u32", run: proxyGetHeaderMapSize},
	}
}

// The ABI's header map types.
const (
	mapRequestHeaders   = 0
	mapRequestTrailers  = 1
	mapResponseHeaders  = 2
	mapResponseTrailers = 3
	mapGRPCInitial      = 4
	mapGRPCTrailing     = 5
	mapCalloutHeaders   = 6
	mapCalloutTrailers  = 7
	maxMapType          = 7
)

// mutableMap returns a map that the guest may change now, or nil. The guest may change a map from
// the callback that shows it until the filter returns Continue. In the last body callback it may
// also add trailers to a message that has none.
//
// Envoy: source/extensions/common/wasm/context.cc, getMap.
func (s *Stream) mutableMap(kind uint32) *Headers {
	switch kind {
	case mapRequestHeaders:
		return s.request.visibleHeaders
	case mapRequestTrailers:
		return s.mutableTrailers(&s.request)
	case mapResponseHeaders:
		return s.response.visibleHeaders
	case mapResponseTrailers:
		return s.mutableTrailers(&s.response)
	}
	return nil
}

func (s *Stream) mutableTrailers(f *flow) *Headers {
	if f.visibleTrailers == nil && f.visibleBody != nil && s.endOfStream {
		f.hasTrailers = true
		f.visibleTrailers = &f.trailers
	}
	return f.visibleTrailers
}

// readableMap returns a map that the guest may read now, or nil. In on_log these are the maps that
// Envoy gives to access logs, which do not include the request trailers.
//
// Envoy: source/extensions/common/wasm/context.cc, getConstMap.
func (s *Stream) readableMap(kind uint32) *Headers {
	f := &s.request
	if kind == mapResponseHeaders || kind == mapResponseTrailers {
		f = &s.response
	}
	switch {
	case s.logging > 0 && (kind == mapRequestHeaders || kind == mapResponseHeaders && f.started):
		return &f.headers
	case s.logging > 0 && kind == mapResponseTrailers && f.hasTrailers:
		return &f.trailers
	case s.logging > 0:
		return nil
	case kind == mapRequestHeaders || kind == mapResponseHeaders:
		return f.visibleHeaders
	default:
		return f.visibleTrailers
	}
}

func (c *vmContext) mutableMap(kind uint32) *Headers {
	if c.stream == nil {
		return nil
	}
	return c.stream.mutableMap(kind)
}

// readableMap returns a map that the guest may read now, or nil. The maps of callouts belong to the
// plugin: all its streams can read them, too, and none can change them.
//
// Envoy: source/extensions/common/wasm/context.cc, getConstMap.
func (c *vmContext) readableMap(kind uint32) *Headers {
	switch root, response := c.root(), c.root().httpResponse; {
	case kind == mapGRPCInitial:
		return root.grpc.initial
	case kind == mapGRPCTrailing:
		return root.grpc.trailing
	case kind == mapCalloutHeaders && response != nil:
		return &response.Headers
	case kind == mapCalloutTrailers && response != nil && response.Trailers != nil:
		return &response.Trailers
	case kind > mapResponseTrailers || c.stream == nil:
		return nil
	}
	return c.stream.readableMap(kind)
}

// proxyGetHeaderMapValue is proxy_get_header_map_value, which returns the first value of a header.
//
// Parameters: map type, name pointer, name size, where to write the value's pointer, where to write
// its size.
//
//   - BadArgument: the type is above 7, which is checked first; or the map is not available now (in
//     on_log this is NotFound)
//   - InvalidMemoryAccess: the name is out of bounds, or a result cannot be written
//   - NotFound: there is no such header; in ABI 0.1.0 this is Ok, with an empty value
//
// cpp-host: src/exports.cc; Envoy: context.cc, getHeaderMapValue.
func proxyGetHeaderMapValue(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	key, ok := v.readString(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	c := v.context()
	m := c.readableMap(a.u32(0))
	if m == nil {
		if c.stream == nil || c.stream.logging == 0 {
			return uint32(StatusBadArgument)
		}
		m = &Headers{}
	}
	value, ok := m.Get(key)
	if !ok && v.world.module.version != abi010 {
		return uint32(StatusNotFound)
	}
	return uint32(v.copyToGuest([]byte(value), a.u32(3), a.u32(4)))
}

// proxyAddHeaderMapValue is proxy_add_header_map_value, which appends an entry.
//
// Parameters: map type, name pointer, name size, value pointer, value size.
//
//   - BadArgument: the type is above 7, which is checked first; or the map cannot be changed now
//   - InvalidMemoryAccess: the name or the value is out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, addHeaderMapValue.
func proxyAddHeaderMapValue(v *vm, a args) uint32 {
	return uint32(v.changeMap(a, func(m *Headers, key, value string) { m.add(key, value) }))
}

// proxyReplaceHeaderMapValue is proxy_replace_header_map_value, which leaves one entry of this
// name, and adds it if there was none. Parameters and statuses are those of
// proxy_add_header_map_value.
//
// cpp-host: src/exports.cc; Envoy: context.cc, replaceHeaderMapValue.
func proxyReplaceHeaderMapValue(v *vm, a args) uint32 {
	return uint32(v.changeMap(a, func(m *Headers, key, value string) { m.replace(key, value) }))
}

// mapChanged is called after every change of a map. Envoy then chooses the request's route anew.
//
// Envoy: context.cc, onHeadersModified. Measured on Envoy 1.40.
func (v *vm) mapChanged(kind uint32) {
	if kind == mapRequestHeaders {
		v.context().stream.routeClears++
	}
}

func (v *vm) changeMap(a args, change func(m *Headers, key, value string)) Status {
	if a.u32(0) > maxMapType {
		return StatusBadArgument
	}
	key, okKey := v.readString(a.u32(1), a.u32(2))
	value, okValue := v.readString(a.u32(3), a.u32(4))
	if !okKey || !okValue {
		return StatusInvalidMemoryAccess
	}
	m := v.context().mutableMap(a.u32(0))
	if m == nil {
		return StatusBadArgument
	}
	change(m, key, value)
	v.mapChanged(a.u32(0))
	return StatusOk
}

// proxyRemoveHeaderMapValue is proxy_remove_header_map_value, which removes all entries of a name.
// It is Ok if there are none.
//
// Parameters: map type, name pointer, name size.
//
//   - BadArgument: the type is above 7, which is checked first; or the map cannot be changed now
//   - InvalidMemoryAccess: the name is out of bounds
//
// cpp-host: src/exports.cc; Envoy: context.cc, removeHeaderMapValue.
func proxyRemoveHeaderMapValue(v *vm, a args) uint32 {
	if a.u32(0) > maxMapType {
		return uint32(StatusBadArgument)
	}
	key, ok := v.readString(a.u32(1), a.u32(2))
	if !ok {
		return uint32(StatusInvalidMemoryAccess)
	}
	m := v.context().mutableMap(a.u32(0))
	if m == nil {
		return uint32(StatusBadArgument)
	}
	m.remove(key)
	v.mapChanged(a.u32(0))
	return uint32(StatusOk)
}

// proxyGetHeaderMapPairs is proxy_get_header_map_pairs, which returns the whole map: see
// encodePairs. A map that is empty, or that is not available now, is Ok with pointer 0 and size 0.
//
// Parameters: map type, where to write the map's pointer, where to write its size.
//
//   - BadArgument: the type is above 7
//   - InvalidMemoryAccess: the pointer or the size cannot be written
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
	return uint32(v.copyToGuest(pairs, a.u32(1), a.u32(2)))
}

// proxySetHeaderMapPairs is proxy_set_header_map_pairs, which replaces the whole map. Input that is
// malformed or exceeds the limits of decodePairs empties the map, and the status is Ok.
//
// Parameters: map type, map pointer, map size.
//
//   - BadArgument: the type is above 7, which is checked first; or the map cannot be changed now
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
	v.mapChanged(a.u32(0))
	return uint32(StatusOk)
}

// proxyGetHeaderMapSize is proxy_get_header_map_size, which returns the number of bytes of all
// names and values, not the number of entries.
//
// Parameters: map type, where to write the size.
//
//   - BadArgument: the type is above 7; or the map cannot be changed now, although it is only read:
//     Envoy looks it up with getMap
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
