//go:build proxytest || abi010

package main

func proxyGetLogLevel(uint32) uint32 { return 255 } // there is no such hostcall
