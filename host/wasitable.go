package host

import "slices"

// wasiFunctions returns the WASI functions that Envoy offers, the same ones under both module
// names. Most of them do nothing, because a filter has no files, arguments, environment or sockets.
//
// The types are those of cpp-host. For path_link and path_symlink they differ from WASI, so a guest
// that imports one of these two does not link on Envoy either.
//
// cpp-host: src/exports.cc; include/proxy-wasm/exports.h, FOR_ALL_WASI_FUNCTIONS.
func wasiFunctions() []hostFunc {
	functions := []hostFunc{
		{name: "fd_write", signature: "iiii->i", run: fdWrite, whileAllocating: true},
		{name: "fd_read", signature: "iiii->i", run: returns(errnoNosys)},
		{name: "fd_seek", signature: "iIii->i", run: logs("wasi_unstable fd_seek")},
		{name: "fd_close", signature: "i->i", run: logs("wasi_unstable fd_close")},
		{name: "fd_fdstat_get", signature: "ii->i", run: fdstatGet},
		{name: "fd_fdstat_set_flags", signature: "ii->i", run: returns(errnoNosys)},
		{name: "fd_fdstat_set_rights", signature: "iII->i", run: outputOnly},
		{name: "environ_get", signature: "ii->i", run: returns(errnoSuccess)},
		{name: "environ_sizes_get", signature: "ii->i", run: writesZero(0, 1)},
		{name: "args_get", signature: "ii->i", run: returns(errnoSuccess)},
		{name: "args_sizes_get", signature: "ii->i", run: writesZero(0, 1)},
		{name: "clock_time_get", signature: "iIi->i", run: clockTimeGet, whileAllocating: true},
		{name: "clock_res_get", signature: "ii->i", run: clockResGet},
		{name: "fd_advise", signature: "iIIi->i", run: returns(errnoSuccess)},
		{name: "fd_allocate", signature: "iII->i", run: outputOnly},
		{name: "fd_datasync", signature: "i->i", run: outputOnly},
		{name: "fd_filestat_set_size", signature: "iI->i", run: outputOnly},
		{name: "fd_filestat_set_times", signature: "iIIi->i", run: outputOnly},
		{name: "fd_pread", signature: "iiiIi->i", run: returns(errnoNosys)},
		{name: "fd_pwrite", signature: "iiiIi->i", run: fdWrite},
		{name: "fd_readdir", signature: "iiiIi->i", run: thenReturns(writesZero(4), errnoNotdir)},
		{name: "fd_renumber", signature: "ii->i", run: fdRenumber},
		{name: "fd_sync", signature: "i->i", run: outputOnly},
		{name: "fd_tell", signature: "ii->i", run: fdTell},
		{name: "path_create_directory", signature: "iii->i", run: returns(errnoNotsup)},
		{name: "path_filestat_set_times", signature: "iiiiIIi->i", run: returns(errnoNotsup)},
		{name: "path_link", signature: "iiiiii->i", run: returns(errnoNotsup)},
		{name: "path_readlink", signature: "iiiiii->i", run: thenReturns(writesZero(5), errnoNotsup)},
		{name: "path_remove_directory", signature: "iii->i", run: returns(errnoNotsup)},
		{name: "path_rename", signature: "iiiiii->i", run: returns(errnoNotsup)},
		{name: "path_symlink", signature: "iiii->i", run: returns(errnoNotsup)},
		{name: "path_unlink_file", signature: "iii->i", run: returns(errnoNotsup)},
		{name: "sock_accept", signature: "iii->i", run: thenReturns(writesZero64(2), errnoNotsup)},
		{name: "sock_recv", signature: "iiiiii->i", run: sockRecv},
		{name: "sock_send", signature: "iiiii->i", run: thenReturns(writesZero(4), errnoNotsup)},
		{name: "sock_shutdown", signature: "ii->i", run: returns(errnoNotsup)},
		{name: "random_get", signature: "ii->i", run: randomGet},
		{name: "sched_yield", signature: "->i", run: returns(errnoSuccess)},
		{name: "poll_oneoff", signature: "iiii->i", run: pollOneoff, whileAllocating: true},
		{name: "proc_exit", signature: "i->", run: procExit},
		{name: "path_open", signature: "iiiiiIIii->i", run: returns(errnoNoent)},
		{name: "fd_prestat_get", signature: "ii->i", run: returns(errnoBadf)},
		{name: "fd_prestat_dir_name", signature: "iii->i", run: returns(errnoNosys)},
		{name: "path_filestat_get", signature: "iiiii->i", run: returns(errnoNotsup)},
		{name: "fd_filestat_get", signature: "ii->i", run: returns(errnoBadf)},
	}
	for i, f := range functions {
		functions[i].whileStarting = !slices.Contains(notWhileStarting, f.name)
	}
	return functions
}

// notWhileStarting are the WASI functions that trap if a start function of the guest calls them.
// (cpp-host lists those that do not trap.)
//
// cpp-host: src/wasm.cc, startVm.
var notWhileStarting = []string{"fd_read", "fd_seek", "fd_close", "sched_yield", "proc_exit", "path_open"}

// runtimeFunctions are the functions that compilers expect in module "env".
func runtimeFunctions() []hostFunc {
	return []hostFunc{
		{name: "pthread_equal", signature: "ii->i", run: func(_ *vm, a args) uint32 { return uint32(boolUint64(a.u32(0) == a.u32(1))) }},
		{name: "emscripten_notify_memory_growth", signature: "i->", run: returns(0), whileStarting: true},
	}
}

// run is the type of hostFunc.run.
type run = func(v *vm, a args) uint32

// returns makes a function that returns errno and has no effect.
func returns(errno uint32) run { return func(*vm, args) uint32 { return errno } }

// logs makes a function that writes a trace line and has no other effect.
func logs(message string) run {
	return func(v *vm, _ args) uint32 {
		v.world.log(v.thread, LogTrace, message)
		return errnoSuccess
	}
}

// writesZero makes a function that writes a 32-bit 0 to where the given parameters point.
func writesZero(parameters ...int) run {
	return func(v *vm, a args) uint32 {
		for _, i := range parameters {
			if errno := v.writeResult(a.u32(i), 0); errno != errnoSuccess {
				return errno
			}
		}
		return errnoSuccess
	}
}

// writesZero64 makes a function that writes a 64-bit 0 to where the given parameter points.
func writesZero64(parameter int) run {
	return func(v *vm, a args) uint32 { return v.writeResult64(a.u32(parameter), 0) }
}

// thenReturns makes a function that calls first, and returns errno if that succeeds.
func thenReturns(first run, errno uint32) run {
	return func(v *vm, a args) uint32 {
		if got := first(v, a); got != errnoSuccess {
			return got
		}
		return errno
	}
}

// outputOnly succeeds for stdout and stderr, and has no effect.
func outputOnly(_ *vm, a args) uint32 {
	if !isOutput(a.u32(0)) {
		return errnoBadf
	}
	return errnoSuccess
}

func fdRenumber(_ *vm, a args) uint32 {
	if !isOutput(a.u32(0)) || !isOutput(a.u32(1)) {
		return errnoBadf
	}
	return errnoNotsup
}

func fdTell(v *vm, a args) uint32 {
	if !isOutput(a.u32(0)) {
		return errnoBadf
	}
	return v.writeResult64(a.u32(1), 0)
}

func sockRecv(v *vm, a args) uint32 {
	if errno := v.writeResult(a.u32(4), 0); errno != errnoSuccess {
		return errno
	}
	if !v.memory.WriteUint16Le(a.u32(5), 0) {
		return errnoFault
	}
	return errnoNotsup
}
