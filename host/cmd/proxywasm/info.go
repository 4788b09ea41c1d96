package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"

	"github.com/streamlatch/streamlatch/host"
)

// info prints what a module is.
func info(ctx context.Context, file string, out io.Writer) error {
	wasm, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer runtime.Close(ctx)
	compiled, err := runtime.CompileModule(ctx, wasm)
	if err != nil {
		return fmt.Errorf("%s is not a WebAssembly module: %w", file, err)
	}
	var version string
	var callbacks, start, others []string
	for name := range compiled.ExportedFunctions() {
		switch v, isVersion := strings.CutPrefix(name, "proxy_abi_version_"); {
		case isVersion && (version == "" || v < version):
			version = v
		case isVersion:
		case strings.HasPrefix(name, "proxy_"):
			callbacks = append(callbacks, strings.TrimPrefix(name, "proxy_"))
		case slices.Contains([]string{"_initialize", "_start", "main", "__main_void", "malloc"}, name):
			start = append(start, name)
		default:
			others = append(others, name)
		}
	}
	imports := map[string][]string{}
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		imports[module] = append(imports[module], strings.TrimPrefix(name, "proxy_"))
	}
	if version == "" {
		version = "none: this is no proxy-wasm filter"
	}
	fmt.Fprintf(out, "%s: %d bytes\nABI version: %s\n", file, len(wasm), strings.ReplaceAll(version, "_", "."))
	list(out, "callbacks", callbacks)
	list(out, "start and memory", start)
	list(out, "other exports", others)
	for _, module := range slices.Sorted(maps.Keys(imports)) {
		list(out, "imports from "+module, imports[module])
	}
	if slices.Contains(imports["wasi_snapshot_preview1"], "poll_oneoff") {
		fmt.Fprintln(out, "needs: Envoy 1.33 or newer, as it imports poll_oneoff, as what the standard Go compiler makes does")
	}
	module, err := host.Compile(ctx, wasm, host.WithInterpreter())
	if err != nil {
		return fmt.Errorf("the host cannot run it, nor can Envoy: %w", err)
	}
	fmt.Fprintln(out, "the host can run it")
	return module.Close(ctx)
}

// most is how many names a line has. A linker may export every function of C++'s library.
const most = 50

func list(out io.Writer, what string, names []string) {
	if len(names) == 0 {
		return
	}
	slices.Sort(names)
	names = slices.Compact(names)
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	fmt.Fprintf(out, "%s: %s%s\n", what, strings.Join(names, ", "), more)
}
