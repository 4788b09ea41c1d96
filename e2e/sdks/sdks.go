// Package sdks runs the recipes of envoy/README.md for MCP and LLM clients: with the official SDKs,
// in their default settings, on both sides of a real Envoy. It needs Node.js and Python, and
// downloads the SDKs; therefore its tests have a build tag: make sdks.
package sdks
