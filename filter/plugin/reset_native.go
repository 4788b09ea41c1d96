//go:build !wasip1

package plugin

// proxyCloseStream exists in Envoy only. Natively this package is compiled for its pure tests and by tools.
func proxyCloseStream(uint32) uint32 { return statusUnimplemented }

const statusUnimplemented = 12
