package host

import (
	"encoding/binary"
	"strconv"
	"strings"
)

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
//   - NotFound: the context has no stream, as in on_tick
//   - BadArgument: declare_property made it read-only, and it is set already
//
// cpp-host: src/exports.cc; Envoy: context.cc, setProperty.
func proxySetProperty(v *vm, a args) uint32 {
	path, okPath := v.readString(a.u32(0), a.u32(1))
	value, okValue := v.readBytes(a.u32(2), a.u32(3))
	if !okPath || !okValue {
		return uint32(StatusInvalidMemoryAccess)
	}
	s := v.context().stream
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
// itself, then in the filter state.
//
// Envoy: source/extensions/common/wasm/context.cc, findValue.
func (v *vm) property(c *vmContext, path string) ([]byte, Status) {
	s := c.stream
	if s != nil {
		if value, ok := s.properties[path]; ok {
			return value, StatusOk
		}
	}
	if value, ok := v.world.config.Properties[path]; ok {
		return value, StatusOk
	}
	name, rest, more := strings.Cut(path, "\x00")
	var value []byte
	found := true
	switch {
	case name == "plugin_name" && !more:
		value = []byte(v.world.config.PluginName)
	case name == "plugin_root_id" && !more:
		value = []byte(v.world.config.RootID)
	case name == "plugin_vm_id" && !more:
		value = []byte(v.world.config.VMID)
	case s == nil:
		found = false
	case (name == "request" || name == "response" || name == "filter_state") && !more:
		return nil, StatusSerializationFailure
	case name == "request":
		value, found = s.requestProperty(rest)
	case name == "response":
		value, found = s.responseProperty(rest)
	case name == "filter_state":
		return s.filterStateProperty(rest)
	default:
		value, found = s.filterState[filterStatePrefix+name]
		found = found && !more
	}
	if !found {
		return nil, StatusNotFound
	}
	return value, StatusOk
}

// requestProperty returns a property "request" + rest, where rest has one or two elements. A
// property that comes from a header is available while the guest can read the request headers, and
// in on_log.
//
// Envoy: source/extensions/filters/common/expr/context.cc, RequestWrapper.
func (s *Stream) requestProperty(rest string) ([]byte, bool) {
	switch rest {
	case "time":
		return int64Property(s.opened.UnixNano()), true
	case "protocol":
		return []byte(s.protocol.String()), true
	}
	headers := s.readableMap(mapRequestHeaders)
	if headers == nil {
		return nil, false
	}
	header := func(name string) ([]byte, bool) {
		value, ok := headers.Get(name)
		return []byte(value), ok
	}
	if name, ok := strings.CutPrefix(rest, "headers\x00"); ok {
		return header(name)
	}
	switch rest {
	case "headers":
		return encodePairs(*headers), true
	case "path":
		return header(":path")
	case "method":
		return header(":method")
	case "host":
		return header(":authority")
	case "scheme":
		return header(":scheme")
	case "referer":
		return header("referer")
	case "useragent":
		return header("user-agent")
	case "id":
		return header("x-request-id")
	case "url_path", "query":
		path, ok := headers.Get(":path")
		before, after, _ := strings.Cut(path, "?")
		if rest == "query" {
			before, _, _ = strings.Cut(after, "#")
		}
		return []byte(before), ok
	}
	return nil, false
}

// responseProperty returns a property "response" + rest, where rest has one or two elements.
//
// Envoy: source/extensions/filters/common/expr/context.cc, ResponseWrapper.
func (s *Stream) responseProperty(rest string) ([]byte, bool) {
	switch rest {
	case "code":
		status, _ := s.response.headers.Get(":status")
		code, err := strconv.ParseInt(status, 10, 64)
		return int64Property(code), err == nil
	case "code_details":
		return []byte(s.details), s.details != ""
	}
	name, ok := strings.CutPrefix(rest, "headers\x00")
	headers := s.readableMap(mapResponseHeaders)
	if !ok || headers == nil {
		return nil, false
	}
	value, ok := headers.Get(name)
	return []byte(value), ok
}

func int64Property(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
