// Package module builds the filter into the WebAssembly module that Envoy loads.
//
// It is `go build` for wasip1 with one step after the link. The SDK exports every callback of proxy-wasm, whether the
// filter has anything to do there or not, and Envoy calls into the VM for each one it finds: for every request body
// chunk, every trailer, every response body chunk. What is not exported is not called, so the exports that the filter
// does not need are taken out.
package module

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Package is the import path of the filter's main package.
const Package = "github.com/streamlatch/streamlatch/filter"

// unused lists the callbacks that the filter leaves to the SDK's empty defaults. proxy_on_done is among them: the SDK
// tells a filter of a stream's end in proxy_on_log, and a plugin context that ends is swept by the others.
var unused = []string{
	"proxy_on_request_body",
	"proxy_on_request_trailers",
	"proxy_on_response_body",
	"proxy_on_response_trailers",
	"proxy_on_http_call_response",
	"proxy_on_done",
	"proxy_on_new_connection",
	"proxy_on_downstream_data",
	"proxy_on_downstream_connection_close",
	"proxy_on_upstream_data",
	"proxy_on_upstream_connection_close",
}

// Build compiles the filter, stamped with version, without its unused callbacks. It runs the go command in the
// current directory, which must be inside the module.
func Build(ctx context.Context, version string) ([]byte, error) {
	wasm, err := Compile(ctx, Package, "-X=main.version="+version)
	if err != nil {
		return nil, err
	}
	return TrimExports(wasm, unused)
}

// Compile builds a main package for Envoy as the SDK's users do, with extra flags for the linker.
func Compile(ctx context.Context, pkg string, ldflags string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "streamlatch-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "out.wasm")
	cmd := exec.CommandContext(ctx, "go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w "+ldflags, "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s for wasip1: %w\n%s", pkg, err, output)
	}
	return os.ReadFile(out)
}

// TrimExports returns wasm without the named exports. A name that is not exported is an error: a list that the SDK
// has outgrown should be looked at. The functions themselves stay where they are.
func TrimExports(wasm []byte, names []string) ([]byte, error) {
	const exportSection = 7
	var header = []byte("\x00asm\x01\x00\x00\x00")
	if !bytes.HasPrefix(wasm, header) {
		return nil, errors.New("not a WebAssembly module")
	}
	out := slices.Clone(header)
	missing := slices.Clone(names)
	r := reader{rest: wasm[len(header):]}
	for len(r.rest) > 0 && r.err == nil {
		id := r.byte()
		body := r.bytes(r.uint())
		if id == exportSection {
			if body, missing = trimSection(body, missing); body == nil {
				r.fail()
			}
		}
		out = append(out, id)
		out = appendUint(out, uint32(len(body)))
		out = append(out, body...)
	}
	if r.err != nil {
		return nil, r.err
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("not exported, so not to be taken out: %q", missing)
	}
	return out, nil
}

// trimSection returns the content of an export section without the named exports, and the names that it did not
// find. The content is a count, and for each export its name, its kind and its index; nil is returned for anything
// else.
func trimSection(section []byte, names []string) (trimmed []byte, missing []string) {
	r := reader{rest: section}
	var kept []byte
	var count uint32
	missing = slices.Clone(names)
	for range r.uint() {
		if r.err != nil {
			break
		}
		start := r.rest
		name := string(r.bytes(r.uint()))
		r.byte()
		r.uint()
		if i := slices.Index(missing, name); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		kept = append(kept, start[:len(start)-len(r.rest)]...)
		count++
	}
	if r.err != nil {
		return nil, missing
	}
	return append(appendUint(nil, count), kept...), missing
}
