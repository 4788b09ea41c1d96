package module

import (
	"slices"
	"strings"
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
		"proxy_abi_version_0_2_0",
		"proxy_on_configure",
		"proxy_on_context_create",
		"proxy_on_delete",
		"proxy_on_log",
		"proxy_on_memory_allocate",
		"proxy_on_queue_ready",
		"proxy_on_request_headers",
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

// twoExports exports a memory as "m" and a function as "f".
const twoExports = "\x00asm\x01\x00\x00\x00" +
	"\x01\x04\x01\x60\x00\x00" + // one type: no parameters, no result
	"\x03\x02\x01\x00" + // one function
	"\x05\x03\x01\x00\x01" + // one memory
	"\x07\x09\x02\x01m\x02\x00\x01f\x00\x00" + // two exports
	"\x0a\x04\x01\x02\x00\x0b" // one empty body

func TestTrimExports(t *testing.T) {
	if got := exports(t, []byte(twoExports)); !slices.Equal(got, []string{"f"}) {
		t.Fatalf("the test's own module exports %q", got)
	}
	trimmed, err := TrimExports([]byte(twoExports), []string{"f"})
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(twoExports, "\x07\x09\x02\x01m\x02\x00\x01f\x00\x00", "\x07\x05\x01\x01m\x02\x00", 1)
	if string(trimmed) != want {
		t.Errorf("trimmed module\n got %q\nwant %q", trimmed, want)
	}
}

func TestTrimExportsErrors(t *testing.T) {
	for _, c := range []struct {
		name, wasm string
		names      []string
		want       string
	}{
		{"an outgrown list", twoExports, []string{"f", "g"}, `not exported, so not to be taken out: ["g"]`},
		{"no exports at all", twoExports[:8], []string{"f"}, `not exported, so not to be taken out: ["f"]`},
		{"not wasm", "\x7fELF", nil, "not a WebAssembly module"},
		{"cut short", twoExports[:len(twoExports)-3], nil, "module is cut short"},
		{"a section longer than the file", twoExports[:8] + "\x01\xff\xff\xff\xff\x7f", nil, "module is cut short"},
		{"exports that lie about their number", twoExports[:8] + "\x07\x01\x09", nil, "module is cut short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := TrimExports([]byte(c.wasm), c.names)
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}
