package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// maxMemoryPages limits the guest's memory, in pages of 64 KiB: 1 GiB. [WithMemoryLimit] lowers it.
//
// cpp-host: include/proxy-wasm/limits.h.
const maxMemoryPages = 16384

// Module is a compiled guest. It is immutable: any number of worlds may use it at the same time, in
// any number of goroutines.
type Module struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	cache    wazero.CompilationCache
	version  abiVersion

	callLimit time.Duration // of one callback, in real time; 0: none
}

// A CompileOption changes how [Compile] works.
type CompileOption func(*compileOptions)

type compileOptions struct {
	cacheDir    string
	interpreted bool
	memoryPages uint32
	callLimit   time.Duration
}

// WithCacheDir keeps the compiled machine code in a directory, which is created if it does not
// exist. A guest written in Go takes about a second to compile, and milliseconds to load from the
// cache. Several processes may share the directory.
func WithCacheDir(dir string) CompileOption {
	return func(o *compileOptions) { o.cacheDir = dir }
}

// WithInterpreter interprets the guest instead of compiling it. The guest is ready several times
// sooner, and runs about seven times slower.
func WithInterpreter() CompileOption {
	return func(o *compileOptions) { o.interpreted = true }
}

// WithMemoryLimit lets the memory of a VM grow to this many bytes, in pages of 64 KiB, and not to
// the 1 GiB of Envoy. What a guest does that gets no more memory is up to its language: Go's
// runtime traps.
func WithMemoryLimit(bytes int) CompileOption {
	return func(o *compileOptions) { o.memoryPages = uint32(min(bytes>>16, maxMemoryPages)) }
}

// WithCallLimit ends a callback that has not returned after this much real time, as a trap ends it:
// the VM fails, and the log says which callback it was. Envoy has no such limit: there the worker
// hangs. It is for tests of guests that may loop. A guest is some percent slower with it.
func WithCallLimit(d time.Duration) CompileOption {
	return func(o *compileOptions) { o.callLimit = d }
}

// Compile compiles a guest from the bytes of a .wasm file. It refuses a guest that Envoy could not
// load. One error names all missing imports and exports.
func Compile(ctx context.Context, wasm []byte, options ...CompileOption) (*Module, error) {
	o := compileOptions{memoryPages: maxMemoryPages}
	for _, option := range options {
		option(&o)
	}
	config := wazero.NewRuntimeConfig()
	if o.interpreted {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	config = config.WithMemoryLimitPages(o.memoryPages).WithCloseOnContextDone(o.callLimit > 0)
	m := &Module{callLimit: o.callLimit}
	if o.cacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(o.cacheDir)
		if err != nil {
			return nil, fmt.Errorf("compile guest: open cache directory %q: %w", o.cacheDir, err)
		}
		m.cache = cache
		config = config.WithCompilationCache(cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := m.load(ctx, wasm); err != nil {
		return nil, errors.Join(fmt.Errorf("compile guest: %w", err), m.Close(ctx))
	}
	return m, nil
}

func (m *Module) load(ctx context.Context, wasm []byte) error {
	compiled, err := m.runtime.CompileModule(ctx, wasm)
	if err != nil {
		return err
	}
	m.compiled = compiled
	version, err := checkExports(compiled, exportedFunctions(wasm))
	m.version = version
	table := hostTable(version)
	if err := errors.Join(err, checkImports(compiled, table)); err != nil {
		return err
	}
	return instantiateHost(ctx, m.runtime, table)
}

// Close frees the code. No world of this module may be used afterwards.
func (m *Module) Close(ctx context.Context) error {
	err := m.runtime.Close(ctx)
	if m.cache != nil {
		err = errors.Join(err, m.cache.Close(ctx))
	}
	return err
}

// abiVersion is the version of the proxy-wasm ABI that a guest was built for.
type abiVersion int

const (
	abi010 abiVersion = iota + 1
	abi020
	abi021
)

// abiVersions are the exports that tell a guest's version.
var abiVersions = map[string]abiVersion{
	"proxy_abi_version_0_1_0": abi010,
	"proxy_abi_version_0_2_0": abi020,
	"proxy_abi_version_0_2_1": abi021,
}

// checkExports finds the ABI version: of several, the one that stands first in order, the names of
// the exported functions. Its error names every export that is missing or that has a type which
// Envoy would refuse.
//
// cpp-host: src/bytecode_util.cc, getAbiVersion; src/wasm.cc, load and getFunctions.
func checkExports(compiled wazero.CompiledModule, order []string) (abiVersion, error) {
	functions := compiled.ExportedFunctions()
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return functions[name] != nil })
	}
	var faults []string
	version := abi021
	if first := slices.IndexFunc(order, func(name string) bool { return abiVersions[name] != 0 }); first >= 0 {
		version = abiVersions[order[first]]
	} else {
		faults = append(faults, "proxy_abi_version_0_1_0, proxy_abi_version_0_2_0 or proxy_abi_version_0_2_1"+unknownVersion(order))
	}
	if !has("malloc", "proxy_on_memory_allocate") {
		faults = append(faults, "malloc or proxy_on_memory_allocate")
	}
	if len(compiled.ExportedMemories()) == 0 {
		faults = append(faults, "a memory")
	}
	var err error
	if len(faults) > 0 {
		err = fmt.Errorf("guest lacks required exports: %s", strings.Join(faults, ", "))
	}
	return version, errors.Join(err, checkCallbackTypes(functions, version))
}

// unknownVersion names a version that the guest exports and that Envoy does not know.
func unknownVersion(exports []string) string {
	for _, name := range exports {
		if strings.HasPrefix(name, "proxy_abi_version_") {
			return " (the guest exports " + name + ")"
		}
	}
	return ""
}

// checkCallbackTypes checks the types of the functions that Envoy looks up. An export that it does
// not look up may have any type.
func checkCallbackTypes(functions map[string]api.FunctionDefinition, version abiVersion) error {
	var faults []string
	for _, c := range guestFunctions(version) {
		f := functions[c.name]
		if f == nil || functions[c.unless] != nil || c.onlyIf != "" && functions[c.onlyIf] == nil {
			continue
		}
		if got := signature(f); got != c.signature {
			faults = append(faults, fmt.Sprintf("%s has type %s, want %s", c.name, got, c.signature))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("guest exports functions of the wrong type: %s", strings.Join(faults, ", "))
}

func checkImports(compiled wazero.CompiledModule, table []hostFunc) error {
	var missing, mistyped []string
	for _, f := range compiled.ImportedFunctions() {
		module, name, _ := f.Import()
		i := slices.IndexFunc(table, func(h hostFunc) bool { return h.module == module && h.name == name })
		switch {
		case i < 0:
			missing = append(missing, module+"."+name)
		case signature(f) != table[i].signature:
			mistyped = append(mistyped, fmt.Sprintf("%s.%s has type %s, want %s", module, name, signature(f), table[i].signature))
		}
	}
	var errs []error
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("guest imports functions that this host lacks: %s", strings.Join(missing, ", ")))
	}
	if len(mistyped) > 0 {
		errs = append(errs, fmt.Errorf("guest imports functions with the wrong type: %s", strings.Join(mistyped, ", ")))
	}
	return errors.Join(errs...)
}

// signature returns a function type in the notation of this package: the parameters, an arrow, the
// results. "i" stands for i32 and "I" for i64.
func signature(f api.FunctionDefinition) string {
	return typeLetters(f.ParamTypes()) + "->" + typeLetters(f.ResultTypes())
}

func typeLetters(types []api.ValueType) string {
	var b strings.Builder
	for _, t := range types {
		switch t {
		case api.ValueTypeI32:
			b.WriteByte('i')
		case api.ValueTypeI64:
			b.WriteByte('I')
		default:
			b.WriteString("<" + api.ValueTypeName(t) + ">")
		}
	}
	return b.String()
}

func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, 0, len(letters))
	for _, l := range letters {
		if l == 'I' {
			types = append(types, api.ValueTypeI64)
		} else {
			types = append(types, api.ValueTypeI32)
		}
	}
	return types
}
