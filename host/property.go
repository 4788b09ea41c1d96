package host

import "strings"

// filterStatePrefix stands before the path of every property that a guest sets, in the names of the
// filter state.
const filterStatePrefix = "wasm."

// PropertyPath joins the elements of a property's path with NUL, as the ABI does.
func PropertyPath(path ...string) string { return strings.Join(path, "\x00") }

func propertyFunctions() []hostFunc {
	return []hostFunc{
		{name: "proxy_get_property", params: "path:string value@bytes", run: proxyGetProperty},
		{name: "proxy_set_property", params: "path:string value:bytes", run: proxySetProperty},
	}
}

// proxyGetProperty is proxy_get_property. The value of a string is its bytes. A number is 64 bits,
// little-endian.
//
// Parameters: path pointer, path size, where to write the value's pointer, where to write its size.
//
//   - InvalidMemoryAccess: the path is out of bounds, or a result cannot be written
//   - NotFound: the context has no such property
//   - SerializationFailure: the path is empty, or names a group of properties, like "request"
//
// cpp-host: src/exports.cc; Envoy: context.cc, getProperty.
func proxyGetProperty(v *vm, a args) uint32 {
	path, ok := v.readString(a.u32(0), a.u32(1))
	switch {
	case !ok:
		return uint32(StatusInvalidMemoryAccess)
	case path == "":
		return uint32(StatusSerializationFailure)
	}
	value, status := v.property(v.context(), path)
	if status != StatusOk {
		return uint32(status)
	}
	return uint32(v.copyToGuest(value, a.u32(2), a.u32(3)))
}

// proxySetProperty is proxy_set_property, which sets filter state under the name "wasm." + path. A
// path of several elements keeps its NULs in this name. Such a property cannot be read back,
// because proxy_get_property looks up one element at a time.
//
// Parameters: path pointer, path size, value pointer, value size.
//
//   - InvalidMemoryAccess: the path or the value is out of bounds
//   - NotFound: the context is a plugin's, as in on_tick
//   - BadArgument: declare_property made it read-only, and it is set already
//
// cpp-host: src/exports.cc; Envoy: context.cc, setProperty.
func proxySetProperty(v *vm, a args) uint32 {
	path, okPath := v.readString(a.u32(0), a.u32(1))
	value, okValue := v.readBytes(a.u32(2), a.u32(3))
	if !okPath || !okValue {
		return uint32(StatusInvalidMemoryAccess)
	}
	s := v.context().session
	if s == nil {
		return uint32(StatusNotFound)
	}
	_, isSet := s.filterState[filterStatePrefix+path]
	if isSet && s.context.root().prototypes[path].readOnly {
		return uint32(StatusBadArgument)
	}
	s.filterState[filterStatePrefix+path] = value
	return uint32(StatusOk)
}

// property finds a property: first among those of the test, then among those that the host knows
// itself, then in the filter state. A NUL at the end of the path changes nothing: the C++ SDK
// writes one.
//
// Envoy: source/extensions/common/wasm/context.cc, getProperty and findValue.
func (v *vm) property(c *vmContext, path string) ([]byte, Status) {
	path = strings.TrimSuffix(path, "\x00")
	if c.session != nil {
		if value, ok := c.session.properties[path]; ok {
			return value, StatusOk
		}
	}
	if value, ok := v.world.config.Properties[path]; ok {
		return value, StatusOk
	}
	name, rest, more := strings.Cut(path, "\x00")
	switch {
	case name == "filter_state" && c.session != nil && more:
		return c.session.filterStateProperty(rest)
	case attributes[path] != nil:
		if value, ok := attributes[path](v, c); ok {
			return value, StatusOk
		}
		return nil, StatusNotFound
	case isGroup(c, path):
		return nil, StatusSerializationFailure // no message, and a map that does not tell its keys
	case c.session == nil:
		return nil, StatusNotFound
	case name == "request" || name == "response":
		if value, ok := c.headerProperty(path); ok {
			return value, StatusOk
		}
		return nil, StatusNotFound
	}
	if value, ok := c.session.filterState[filterStatePrefix+name]; ok && !more {
		return value, StatusOk
	}
	return nil, StatusNotFound
}
