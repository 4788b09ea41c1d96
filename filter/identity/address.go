package identity

import "strings"

// ipAddress returns the IP address in one that Envoy has written, "" if it is
// of another kind, such as a Unix socket's path.
//
// Envoy writes "10.0.0.1:443" and "[2001:db8::1%2]:443", and one address in one
// way only, whatever spelling it has read in x-forwarded-for: the text is made
// anew from the bytes (Ipv4Instance and Ipv6Instance in
// source/common/network/address_impl.cc). So nothing is parsed here; net/netip
// would add 144 KiB to a filter of 3 MB.
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

// isIPv4 tells an IPv4 address from what else Envoy writes, and no more.
func isIPv4(text string) bool {
	return strings.Count(text, ".") == 3 && len(strings.Trim(text, ".0123456789")) == 0
}

// isIPv6 tells an IPv6 address from what else Envoy writes, and no more.
func isIPv6(text string) bool {
	text, _, _ = strings.Cut(text, "%")
	return strings.Count(text, ":") >= 2 && len(strings.Trim(text, ":.0123456789abcdef")) == 0
}
