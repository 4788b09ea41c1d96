package identity

import "strings"

// ipAddress returns the IP address without the port, or "" if the address is of another kind, such
// as the path of a Unix socket.
//
// Envoy writes "10.0.0.1:443" and "[2001:db8::1%2]:443". It makes the text from the address's
// bytes, so one address always has the same text, however x-forwarded-for spelled it (Ipv4Instance
// and Ipv6Instance in source/common/network/address_impl.cc). So the text is kept as it is, and
// checked only as far as needed to tell IP addresses from the other kinds. To parse and format it,
// as net/netip does, would be slower and would change some texts, such as "::10.0.0.1".
func ipAddress(address string) string {
	port := strings.LastIndexByte(address, ':')
	if port < 0 {
		return ""
	}
	ip := address[:port]
	if isIPv4(ip) {
		return ip
	}
	ip, opened := strings.CutPrefix(ip, "[")
	ip, closed := strings.CutSuffix(ip, "]")
	if !opened || !closed {
		return ""
	}
	if mapped, ok := strings.CutPrefix(ip, "::ffff:"); ok && isIPv4(mapped) {
		return mapped
	}
	if !isIPv6(ip) {
		return ""
	}
	return ip
}

// isIPv4 tells an IPv4 address from the other texts that Envoy writes. It is not a validation.
func isIPv4(text string) bool {
	return strings.Count(text, ".") == 3 && len(strings.Trim(text, ".0123456789")) == 0
}

// isIPv6 tells an IPv6 address from the other texts that Envoy writes. It is not a validation.
func isIPv6(text string) bool {
	text, _, _ = strings.Cut(text, "%")
	return strings.Count(text, ":") >= 2 && len(strings.Trim(text, ":.0123456789abcdef")) == 0
}
