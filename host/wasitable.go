package host

import "slices"

// wasiFunctions is the table of WASI functions that Envoy offers, the same for
// both module names. Few do anything: there are no files, no arguments, no
// environment and no sockets. The answers of the others are what follows.
//
// The types are cpp-host's, which for path_link and path_symlink are not those of
// WASI: a guest that imports these does not link on Envoy either.
//
// cpp-host: src/exports.cc and include/proxy-wasm/exports.h, FOR_ALL_WASI_FUNCTIONS.
func wasiFunctions() []hostFunc {
	functions := []hostFunc{
		{name: "fd_write", signature: "iiii->i", run: fdWrite, whileAllocating: true},
		{name: "fd_read", signature: "iiii->i", run: answer(errnoNosys)},
		{name: "fd_seek", signature: "iIii->i", run: noted("wasi_unstable fd_seek")},
		{name: "fd_close", signature: "i->i", run: noted("wasi_unstable fd_close")},
		{name: "fd_fdstat_get", signature: "ii->i", run: fdstatGet},
		{name: "fd_fdstat_set_flags", signature: "ii->i", run: answer(errnoNosys)},
		{name: "fd_fdstat_set_rights", signature: "iII->i", run: outputOnly},
		{name: "environ_get", signature: "ii->i", run: answer(errnoSuccess)},
		{name: "environ_sizes_get", signature: "ii->i", run: zeroes(0, 1)},
		{name: "args_get", signature: "ii->i", run: answer(errnoSuccess)},
		{name: "args_sizes_get", signature: "ii->i", run: zeroes(0, 1)},
		{name: "clock_time_get", signature: "iIi->i", run: clockTimeGet, whileAllocating: true},
		{name: "clock_res_get", signature: "ii->i", run: clockResGet},
		{name: "fd_advise", signature: "iIIi->i", run: answer(errnoSuccess)},
		{name: "fd_allocate", signature: "iII->i", run: outputOnly},
		{name: "fd_datasync", signature: "i->i", run: outputOnly},
		{name: "fd_filestat_set_size", signature: "iI->i", run: outputOnly},
		{name: "fd_filestat_set_times", signature: "iIIi->i", run: outputOnly},
		{name: "fd_pread", signature: "iiiIi->i", run: answer(errnoNosys)},
		{name: "fd_pwrite", signature: "iiiIi->i", run: fdWrite},
		{name: "fd_readdir", signature: "iiiIi->i", run: then(zeroes(4), errnoNotdir)},
		{name: "fd_renumber", signature: "ii->i", run: fdRenumber},
		{name: "fd_sync", signature: "i->i", run: outputOnly},
		{name: "fd_tell", signature: "ii->i", run: fdTell},
		{name: "path_create_directory", signature: "iii->i", run: answer(errnoNotsup)},
		{name: "path_filestat_set_times", signature: "iiiiIIi->i", run: answer(errnoNotsup)},
		{name: "path_link", signature: "iiiiii->i", run: answer(errnoNotsup)},
		{name: "path_readlink", signature: "iiiiii->i", run: then(zeroes(5), errnoNotsup)},
		{name: "path_remove_directory", signature: "iii->i", run: answer(errnoNotsup)},
		{name: "path_rename", signature: "iiiiii->i", run: answer(errnoNotsup)},
		{name: "path_symlink", signature: "iiii->i", run: answer(errnoNotsup)},
		{name: "path_unlink_file", signature: "iii->i", run: answer(errnoNotsup)},
		{name: "sock_accept", signature: "iii->i", run: then(zeroes64(2), errnoNotsup)},
		{name: "sock_recv", signature: "iiiiii->i", run: sockRecv},
		{name: "sock_send", signature: "iiiii->i", run: then(zeroes(4), errnoNotsup)},
		{name: "sock_shutdown", signature: "ii->i", run: answer(errnoNotsup)},
		{name: "random_get", signature: "ii->i", run: randomGet},
		{name: "sched_yield", signature: "->i", run: answer(errnoSuccess)},
		{name: "poll_oneoff", signature: "iiii->i", run: pollOneoff, whileAllocating: true},
		{name: "proc_exit", signature: "i->", run: procExit},
		{name: "path_open", signature: "iiiiiIIii->i", run: answer(errnoNoent)},
		{name: "fd_prestat_get", signature: "ii->i", run: answer(errnoBadf)},
		{name: "fd_prestat_dir_name", signature: "iii->i", run: answer(errnoNosys)},
		{name: "path_filestat_get", signature: "iiiii->i", run: answer(errnoNotsup)},
		{name: "fd_filestat_get", signature: "ii->i", run: answer(errnoBadf)},
	}
	for i, f := range functions {
		functions[i].whileStarting = !slices.Contains(notWhileStarting, f.name)
	}
	return functions
}

// notWhileStarting are the WASI functions that trap a guest in _initialize.
//
// cpp-host: src/wasm.cc, startVm, which lists all others.
var notWhileStarting = []string{"fd_read", "fd_seek", "fd_close", "sched_yield", "proc_exit", "path_open"}

// runtimeFunctions are what compilers expect in "env".
func runtimeFunctions() []hostFunc {
	return []hostFunc{
		{name: "pthread_equal", signature: "ii->i", run: func(_ *vm, a args) uint32 { return uint32(flag(a.u32(0) == a.u32(1))) }},
		{name: "emscripten_notify_memory_growth", signature: "i->", run: answer(0), whileStarting: true},
	}
}

type run = func(v *vm, a args) uint32

// answer is a function that does nothing.
func answer(errno uint32) run { return func(*vm, args) uint32 { return errno } }

// noted is a function that only leaves a trace in the log.
func noted(message string) run {
	return func(v *vm, _ args) uint32 {
		v.world.log(v.thread, LogTrace, message)
		return errnoSuccess
	}
}

// zeroes writes 0 to where the given parameters point.
func zeroes(parameters ...int) run {
	return func(v *vm, a args) uint32 {
		for _, i := range parameters {
			if errno := v.put(a.u32(i), 0); errno != errnoSuccess {
				return errno
			}
		}
		return errnoSuccess
	}
}

func zeroes64(parameter int) run {
	return func(v *vm, a args) uint32 { return v.put64(a.u32(parameter), 0) }
}

// then answers errno after a function succeeded.
func then(first run, errno uint32) run {
	return func(v *vm, a args) uint32 {
		if got := first(v, a); got != errnoSuccess {
			return got
		}
		return errno
	}
}

// outputOnly succeeds for stdout and stderr, without effect.
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
	return v.put64(a.u32(1), 0)
}

func sockRecv(v *vm, a args) uint32 {
	if errno := v.put(a.u32(4), 0); errno != errnoSuccess {
		return errno
	}
	if !v.memory.WriteUint16Le(a.u32(5), 0) {
		return errnoFault
	}
	return errnoNotsup
}
