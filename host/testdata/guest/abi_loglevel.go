//go:build !proxytest && !abi010

package main

//go:wasmimport env proxy_get_log_level
func proxyGetLogLevel(at uint32) uint32
