package module

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
)

// exports returns the names that a module exports, read by somebody else's parser.
func exports(t *testing.T, wasm []byte) []string {
	t.Helper()
	runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer runtime.Close(t.Context())
	compiled, err := runtime.CompileModule(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range compiled.ExportedFunctions() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// The callbacks that Envoy finds are the ones that the filter answers, and no other: each one more costs every
// request a call.
func TestBuildExportsWhatTheFilterUses(t *testing.T) {
	wasm, err := Build(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"_initialize",
		"proxy_abi_version_0_2_1",
		"proxy_on_configure",
		"proxy_on_context_create",
		"proxy_on_delete",
		"proxy_on_memory_allocate",
		"proxy_on_queue_ready",
		"proxy_on_request_headers",
		"proxy_on_response_body",
		"proxy_on_response_headers",
		"proxy_on_tick",
		"proxy_on_vm_start",
	}
	if got := exports(t, wasm); !slices.Equal(got, want) {
		t.Errorf("exports\n got %q\nwant %q", got, want)
	}

	again, err := Build(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(wasm, again) {
		t.Error("two builds of one source differ")
	}
}

// Whoever builds a version gets the same bytes, wherever the repository is and whatever was built there before.
func TestBuildElsewhere(t *testing.T) {
	here, err := Build(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	root, elsewhere := filepath.Join("..", ".."), t.TempDir()
	if err := os.CopyFS(filepath.Join(elsewhere, "filter"), os.DirFS(filepath.Join(root, "filter"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(elsewhere)
	t.Setenv("GOCACHE", filepath.Join(elsewhere, "cache"))
	there, err := Build(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(here, there) {
		t.Error("the builds of two copies differ")
	}
}

// What every worker of every Envoy has to load, and hold, must stay small.
func TestSize(t *testing.T) {
	const limit = 3_500_000
	wasm, err := Build(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if len(wasm) >= limit {
		t.Errorf("the module has %d bytes, want fewer than %d", len(wasm), limit)
	}
}

func TestNotWasm(t *testing.T) {
	for wasm, want := range map[string]string{
		"\x7fELF":                     "not a WebAssembly module",
		"\x00asm\x01\x00\x00\x00\x01": "module is cut short",
		"\x00asm\x01\x00\x00\x00\x01\xff\xff\xff": "module is cut short",
	} {
		if _, err := ShrinkFindFunc([]byte(wasm)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", wasm, err, want)
		}
	}
}
