package host

import (
	"net/netip"
	"strconv"
	"strings"
)

// filterStateObject is a kind of object in Envoy's filter state that can be made from a string.
type filterStateObject struct {
	valid func(value string) bool

	// property is what proxy_get_property returns for the object, at "filter_state" and its path.
	// Nil: the value. An object of fields has more properties below.
	property func(value string) ([]byte, Status)
	fields   map[string]func(value string) []byte
}

// filterStateObjects are these objects by path.
//
// Envoy: docs/root/configuration/advanced/well_known_filter_state.rst; each factory is in the file
// that uses the object. Measured on Envoy 1.40.
var filterStateObjects = map[string]filterStateObject{
	"envoy.filters.listener.original_dst.local_ip":        addressObject,
	"envoy.filters.listener.original_dst.remote_ip":       addressObject,
	"envoy.hashable_string":                               {valid: isAnything},
	"envoy.network.application_protocols":                 {valid: isAnything, property: isHidden},
	"envoy.network.ip":                                    {valid: isIP, property: withPortZero},
	"envoy.network.network_namespace":                     {valid: isAnything},
	"envoy.network.transport_socket.original_dst_address": addressObject,
	"envoy.network.upstream_server_name":                  {valid: isAnything},
	"envoy.network.upstream_subject_alt_names":            {valid: isAnything},
	"envoy.ratelimit.hits_addend":                         {valid: isNumber},
	"envoy.string":                                        {valid: isAnything},
	"envoy.tcp_proxy.cluster":                             {valid: isAnything},
	"envoy.tcp_proxy.disable_tunneling":                   {valid: isAnything, property: trueOrFalse},
	"envoy.tcp_proxy.per_connection_idle_timeout_ms":      {valid: isNumber},
	"envoy.upstream.dynamic_host":                         {valid: isAnything},
	"envoy.upstream.dynamic_port":                         {valid: isNumber},
}

var addressObject = filterStateObject{
	valid:    isAddress,
	property: func(string) ([]byte, Status) { return encodePairs(nil), StatusOk },
	fields: map[string]func(string) []byte{
		"ip": func(value string) []byte {
			return []byte(netip.MustParseAddrPort(value).Addr().String())
		},
		"port": func(value string) []byte { return int64Property(int64(netip.MustParseAddrPort(value).Port())) },
	},
}

func isAnything(string) bool { return true }

func isAddress(value string) bool {
	_, err := netip.ParseAddrPort(value)
	return err == nil
}

func isIP(value string) bool {
	_, err := netip.ParseAddr(value)
	return err == nil
}

func isNumber(value string) bool {
	_, err := strconv.ParseUint(value, 10, 32)
	return err == nil
}

func isHidden(string) ([]byte, Status) { return nil, StatusNotFound }

func withPortZero(value string) ([]byte, Status) {
	return []byte(netip.AddrPortFrom(netip.MustParseAddr(value), 0).String()), StatusOk
}

func trueOrFalse(value string) ([]byte, Status) {
	return strconv.AppendBool(nil, value == "true"), StatusOk
}

// filterStateProperty returns the property "filter_state" + rest.
//
// Envoy: source/extensions/filters/common/expr/context.cc, FilterStateWrapper.
func (s *session) filterStateProperty(rest string) ([]byte, Status) {
	name, field, hasField := strings.Cut(rest, "\x00")
	value, ok := s.filterState[name]
	if !ok {
		return nil, StatusNotFound
	}
	object := filterStateObjects[name]
	switch {
	case hasField && object.fields[field] != nil:
		return object.fields[field](string(value)), StatusOk
	case hasField:
		return nil, StatusNotFound
	case object.property != nil:
		return object.property(string(value))
	}
	return value, StatusOk
}
