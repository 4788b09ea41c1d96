package module

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// functions is a module that prints the names of all its functions, as the linker leaves it.
var functions = sync.OnceValues(func() ([]byte, error) {
	return Compile(context.Background(), Package+"/module/testdata/functions", "")
})

// The runtime finds every function that it found before, by every kind of program counter.
func TestShrinkFindFuncLosesNoFunction(t *testing.T) {
	wasm, err := functions()
	if err != nil {
		t.Fatal(err)
	}
	shrunk, err := ShrinkFindFunc(wasm)
	if err != nil {
		t.Fatal(err)
	}
	want, got := printed(t, wasm), printed(t, shrunk)
	if lines := strings.Count(want, "\n"); lines < 1000 || !strings.Contains(want, "main.functions main.functions\n") {
		t.Fatalf("the test's own module names %d functions, ending in\n%s", lines, want[max(0, len(want)-200):])
	}
	if got != want {
		t.Errorf("the functions are not the same, of %d and %d bytes", len(got), len(want))
	}
	if saved := len(wasm) - len(shrunk); saved < len(wasm)/20 {
		t.Errorf("%d bytes of %d saved, want a twentieth at least", saved, len(wasm))
	}
}

// printed is what functions prints in a module.
func printed(t *testing.T, wasm []byte) string {
	t.Helper()
	runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer runtime.Close(t.Context())
	wasi_snapshot_preview1.MustInstantiate(t.Context(), runtime)
	var text bytes.Buffer
	config := wazero.NewModuleConfig().WithStderr(&text).WithStartFunctions("_initialize")
	m, err := runtime.InstantiateWithConfig(t.Context(), wasm, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.ExportedFunction("functions").Call(t.Context()); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// The bucket that is read stays, so that the runtime need not search.
func TestZeroRepeatsKeepsTheFirst(t *testing.T) {
	bucket := func(function byte) []byte { return append([]byte{function, 1, 0, 0}, make([]byte, bucketSize-4)...) }
	var table, want []byte
	for function := range byte(3) {
		table = append(table, bytes.Repeat(bucket(function), bucketsPerFunction)...)
		want = append(append(want, bucket(function)...), make([]byte, (bucketsPerFunction-1)*bucketSize)...)
	}
	if err := zeroRepeats(table); err != nil || !bytes.Equal(table, want) {
		t.Errorf("table\n got %x, %v\nwant %x", table, err, want)
	}
}

// What another linker might make of the table is not touched.
func TestShrinkFindFuncErrors(t *testing.T) {
	wasm, err := functions()
	if err != nil {
		t.Fatal(err)
	}
	shrunk, err := ShrinkFindFunc(wasm)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		wasm []byte
		want error
	}{
		{"shrunk already", shrunk, errFindFunc},
		{"another magic number", bytes.ReplaceAll(wasm, []byte("\xf1\xff\xff\xff\x00\x00\x01\x08"), []byte("\xf2\xff\xff\xff\x00\x00\x01\x08")), errFindFunc},
		{"no pclntab", []byte("\x00asm\x01\x00\x00\x00\x0b\x07\x01\x00\x41\x08\x0b\x01x"), errFindFunc},
		{"a passive segment", []byte("\x00asm\x01\x00\x00\x00\x0b\x04\x01\x01\x01x"), errTruncated},
		{"an address that is no constant", []byte("\x00asm\x01\x00\x00\x00\x0b\x07\x01\x00\x23\x00\x0b\x01x"), errData},
		{"an address out of bounds", []byte("\x00asm\x01\x00\x00\x00\x0b\x07\x01\x00\x41\x7f\x0b\x01x"), errData},
		{"cut short", []byte("\x00asm\x01\x00\x00\x00\x0b\x07\x01\x00\x41\x08\x0b\x02x"), errTruncated},
		{"more after the last segment", []byte("\x00asm\x01\x00\x00\x00\x0b\x08\x01\x00\x41\x08\x0b\x01x!"), errTruncated},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ShrinkFindFunc(c.wasm); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}
