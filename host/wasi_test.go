package host

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// memoryOnly is a module that has one page of memory and nothing else.
var memoryOnly = []byte("\x00asm\x01\x00\x00\x00\x05\x03\x01\x00\x01\x07\x0a\x01\x06memory\x02\x00")

// bareVM returns a VM that has memory but no guest.
func bareVM(t *testing.T) *vm {
	runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { runtime.Close(context.Background()) })
	instance, err := runtime.Instantiate(t.Context(), memoryOnly)
	if err != nil {
		t.Fatal(err)
	}
	w := &World{process: &process{start: defaultStart, now: defaultStart}}
	return &vm{world: w, memory: instance.Memory(), random: w.newRandom()}
}

// The errno of every WASI function: for stdout, for a descriptor that does not exist, and for a
// result that cannot be written.
func TestWASIErrors(t *testing.T) {
	const none = 999 // the function has no pointer to a result
	tests := map[string]struct{ stdout, other, fault uint32 }{
		"fd_write":                {errnoSuccess, errnoBadf, errnoFault},
		"fd_read":                 {errnoNosys, errnoNosys, none},
		"fd_seek":                 {errnoSuccess, errnoSuccess, none},
		"fd_close":                {errnoSuccess, errnoSuccess, none},
		"fd_fdstat_get":           {errnoSuccess, errnoBadf, errnoSuccess},
		"fd_fdstat_set_flags":     {errnoNosys, errnoNosys, none},
		"fd_fdstat_set_rights":    {errnoSuccess, errnoBadf, none},
		"environ_get":             {errnoSuccess, errnoSuccess, none},
		"environ_sizes_get":       {errnoSuccess, errnoSuccess, errnoFault},
		"args_get":                {errnoSuccess, errnoSuccess, none},
		"args_sizes_get":          {errnoSuccess, errnoSuccess, errnoFault},
		"clock_time_get":          {errnoSuccess, errnoNotsup, errnoFault},
		"clock_res_get":           {errnoSuccess, errnoNotsup, errnoFault},
		"fd_advise":               {errnoSuccess, errnoSuccess, none},
		"fd_allocate":             {errnoSuccess, errnoBadf, none},
		"fd_datasync":             {errnoSuccess, errnoBadf, none},
		"fd_filestat_set_size":    {errnoSuccess, errnoBadf, none},
		"fd_filestat_set_times":   {errnoSuccess, errnoBadf, none},
		"fd_pread":                {errnoNosys, errnoNosys, none},
		"fd_pwrite":               {errnoSuccess, errnoBadf, errnoFault},
		"fd_readdir":              {errnoNotdir, errnoNotdir, errnoFault},
		"fd_renumber":             {errnoBadf, errnoBadf, none}, // to descriptor 0
		"fd_sync":                 {errnoSuccess, errnoBadf, none},
		"fd_tell":                 {errnoSuccess, errnoBadf, errnoFault},
		"path_create_directory":   {errnoNotsup, errnoNotsup, none},
		"path_filestat_set_times": {errnoNotsup, errnoNotsup, none},
		"path_link":               {errnoNotsup, errnoNotsup, none},
		"path_readlink":           {errnoNotsup, errnoNotsup, errnoFault},
		"path_remove_directory":   {errnoNotsup, errnoNotsup, none},
		"path_rename":             {errnoNotsup, errnoNotsup, none},
		"path_symlink":            {errnoNotsup, errnoNotsup, none},
		"path_unlink_file":        {errnoNotsup, errnoNotsup, none},
		"sock_accept":             {errnoNotsup, errnoNotsup, errnoFault},
		"sock_recv":               {errnoNotsup, errnoNotsup, errnoFault},
		"sock_send":               {errnoNotsup, errnoNotsup, errnoFault},
		"sock_shutdown":           {errnoNotsup, errnoNotsup, none},
		"random_get":              {errnoSuccess, errnoSuccess, errnoFault},
		"sched_yield":             {errnoSuccess, errnoSuccess, none},
		"poll_oneoff":             {errnoSuccess, errnoSuccess, errnoFault},
		"proc_exit":               {0, 0, none},
		"path_open":               {errnoNoent, errnoNoent, none},
		"fd_prestat_get":          {errnoBadf, errnoBadf, none},
		"fd_prestat_dir_name":     {errnoNosys, errnoNosys, none},
		"path_filestat_get":       {errnoNotsup, errnoNotsup, none},
		"fd_filestat_get":         {errnoBadf, errnoBadf, none},
	}
	functions := wasiFunctions()
	if len(functions) != len(tests) || len(functions) != 45 {
		t.Errorf("got %d functions and %d expectations, want 45 of each", len(functions), len(tests))
	}
	v := bareVM(t)
	for _, f := range functions {
		want, ok := tests[f.name]
		if !ok {
			t.Errorf("%s: the test has no expectation for it", f.name)
			continue
		}
		// Parameters between the first and the last are 0: good pointers, and no length.
		call := func(first, last uint64) uint32 {
			a := make(args, strings.Index(f.signature, "->"))
			if len(a) > 0 {
				a[len(a)-1], a[0] = last, first
			}
			return f.run(v, a)
		}
		if got := call(1, 0); got != want.stdout {
			t.Errorf("%s for stdout: got errno %d, want %d", f.name, got, want.stdout)
		}
		if got := call(9, 0); got != want.other {
			t.Errorf("%s for 9: got errno %d, want %d", f.name, got, want.other)
		}
		const out = 0xfffffff0
		var got uint32
		switch f.name {
		case "environ_sizes_get", "args_sizes_get":
			got = call(out, 0)
		case "random_get":
			got = call(out, 1)
		default:
			got = call(1, out)
		}
		if want.fault != none && got != want.fault {
			t.Errorf("%s with a bad pointer: got errno %d, want %d", f.name, got, want.fault)
		}
	}
}

// The types are those of WASI, except the two that differ in cpp-host.
func TestWASITypes(t *testing.T) {
	runtime := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	t.Cleanup(func() { runtime.Close(context.Background()) })
	compiled, err := wasi_snapshot_preview1.NewBuilder(runtime).Compile(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var differ []string
	for _, f := range wasiFunctions() {
		standard := compiled.ExportedFunctions()[f.name]
		if standard == nil {
			t.Errorf("%s: want a function of WASI", f.name)
		} else if signature(standard) != f.signature {
			differ = append(differ, f.name)
		}
	}
	slices.Sort(differ)
	if want := []string{"path_link", "path_symlink"}; !slices.Equal(differ, want) {
		t.Errorf("got types that differ from WASI for %v, want %v", differ, want)
	}
}

func TestMonotonicClock(t *testing.T) {
	v := bareVM(t)
	read := func() uint64 {
		clockTimeGet(v, args{1, 0, 8})
		x, _ := v.memory.ReadUint64Le(8)
		return x
	}
	first, second := read(), read()
	if first == 0 || second <= first {
		t.Errorf("two readings: got %d and %d, want the second greater and neither 0", first, second)
	}
	v.world.SkipTime(5)
	if third := read(); third != second+5+1 {
		t.Errorf("after 5ns: got %d, want %d", third, second+6)
	}
}
