package host

import (
	"strings"
	"time"
)

// The WASI error numbers that Envoy uses.
const (
	errnoSuccess uint32 = 0
	errnoBadf    uint32 = 8
	errnoNotdir  uint32 = 20
	errnoFault   uint32 = 21
	errnoInval   uint32 = 28
	errnoNoent   uint32 = 44
	errnoNosys   uint32 = 52
	errnoNotsup  uint32 = 58
)

// maxRandomBytes limits one random_get.
//
// cpp-host: include/proxy-wasm/limits.h.
const maxRandomBytes = 64 * 1024

// monotonicStart is the first reading of a monotonic clock. It is not 0, which Go's runtime would
// reject as a broken clock.
const monotonicStart = time.Second

func isOutput(fd uint32) bool { return fd == 1 || fd == 2 }

// fdWrite is fd_write, and also fd_pwrite, whose offset is ignored. Each call makes one log line,
// at level info for stdout and error for stderr, without its last newline. An empty text is not
// logged.
//
// Parameters: fd, iovs, iovs length, [offset,] where to write the number of bytes.
//
//   - EBADF: the fd is neither stdout nor stderr
//   - EFAULT: an iovec or a buffer is out of bounds, and then nothing is logged; or the number of
//     bytes cannot be written
//
// cpp-host: src/exports.cc, writevImpl.
func fdWrite(v *vm, a args) uint32 {
	if !isOutput(a.u32(0)) {
		return errnoBadf
	}
	text, ok := v.readVectors(a.u32(1), a.u32(2))
	if !ok {
		return errnoFault
	}
	if text != "" {
		level := LogInfo
		if a.u32(0) == 2 {
			level = LogError
		}
		v.world.log(v.thread, level, strings.TrimSuffix(text, "\n"))
		if level == LogError {
			v.panicking.add(text, v.world)
		}
	}
	return v.writeResult(a.u32(len(a)-1), uint32(len(text)))
}

// clockTimeGet is clock_time_get, which returns the virtual clock. The monotonic clock gains a
// nanosecond with each reading, because a guest may wait for it to move.
//
// Parameters: clock (0 real time, 1 monotonic), precision, where to write the time.
//
//   - ENOTSUP: the clock is neither 0 nor 1
//   - EFAULT: the time cannot be written
//
// cpp-host: src/exports.cc, wasi_unstable_clock_time_get.
func clockTimeGet(v *vm, a args) uint32 {
	var t int64
	switch a.u32(0) {
	case 0:
		t = v.world.realTime().UnixNano()
	case 1:
		v.clockReading++
		t = int64(monotonicStart+v.world.now.Sub(v.world.start)) + v.clockReading
	default:
		return errnoNotsup
	}
	return v.writeResult64(a.u32(2), uint64(t))
}

func clockResGet(v *vm, a args) uint32 {
	if a.u32(0) > 1 {
		return errnoNotsup
	}
	return v.writeResult64(a.u32(1), 1)
}

// randomGet is random_get. The seed of the world and the number of the VM determine the bytes.
//
// Parameters: buffer, length.
//
//   - EINVAL: the length is above 64 KiB
//   - EFAULT: the buffer is out of bounds
//
// cpp-host: src/exports.cc, wasi_unstable_random_get.
func randomGet(v *vm, a args) uint32 {
	if a.u32(1) > maxRandomBytes {
		return errnoInval
	}
	if a.u32(1) == 0 {
		return errnoSuccess
	}
	buffer, ok := v.view(a.u32(0), a.u32(1))
	if !ok {
		return errnoFault
	}
	v.random.Read(buffer) // never fails
	return errnoSuccess
}

// pollOneoff is poll_oneoff, which returns at once and reports no event. Go's runtime sleeps with
// it, and needs success.
//
// cpp-host: src/exports.cc, wasi_unstable_poll_oneoff.
func pollOneoff(v *vm, a args) uint32 { return v.writeResult(a.u32(3), 0) }

// procExit is proc_exit. Envoy logs it and returns to the guest, which usually traps then.
//
// cpp-host: src/exports.cc, wasi_unstable_proc_exit.
func procExit(v *vm, _ args) uint32 {
	v.panicking.join(v.world)
	v.world.log(v.thread, LogTrace, "wasi_unstable proc_exit")
	return 0
}

// fdstatGet is fd_fdstat_get, which describes stdout and stderr as write-only streams. It succeeds
// even if the result cannot be written.
//
// cpp-host: src/exports.cc, wasi_unstable_fd_fdstat_get.
func fdstatGet(v *vm, a args) uint32 {
	if !isOutput(a.u32(0)) {
		return errnoBadf
	}
	stat := [24]byte{8: 64} // fs_rights_base: fd_write
	v.memory.Write(a.u32(1), stat[:])
	return errnoSuccess
}

// writeResult writes a 32-bit result of a WASI call and returns its errno.
func (v *vm) writeResult(pointer, x uint32) uint32 {
	if !v.putUint32(pointer, x) {
		return errnoFault
	}
	return errnoSuccess
}

// writeResult64 writes a 64-bit result of a WASI call and returns its errno.
func (v *vm) writeResult64(pointer uint32, x uint64) uint32 {
	if !v.putUint64(pointer, x) {
		return errnoFault
	}
	return errnoSuccess
}
