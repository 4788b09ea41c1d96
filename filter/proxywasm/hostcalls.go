package proxywasm

import (
	"encoding/binary"
	"math"
	"strings"
	"unsafe"
)

// The numbers of maps and buffers in the ABI.
const (
	requestHeaderMap  = 0
	responseHeaderMap = 2

	responseBodyBuffer        = 1
	pluginConfigurationBuffer = 7
)

// Configuration returns the plugin's configuration. In Start only.
func Configuration() ([]byte, error) {
	return buffer(pluginConfigurationBuffer, 0, math.MaxInt32)
}

// RequestHeader returns the first value of a header of the request. In RequestHeaders only.
func RequestHeader(name string) (value string, ok bool) { return header(requestHeaderMap, name) }

// ResponseHeader returns the first value of a header of the response. In ResponseHeaders only.
func ResponseHeader(name string) (value string, ok bool) { return header(responseHeaderMap, name) }

// ResponseBody returns size bytes from offset on of the part of the body that is passing. In ResponseBody only.
func ResponseBody(offset, size int) ([]byte, error) {
	return buffer(responseBodyBuffer, int32(offset), int32(size))
}

// AppendResponseBody puts data after the part of the body that is passing. In ResponseBody only.
func AppendResponseBody(data []byte) error {
	return proxySetBufferBytes(responseBodyBuffer, math.MaxInt32, 0, unsafe.SliceData(data), int32(len(data))).err()
}

// DropResponseBody takes the part of the body that is passing away. In ResponseBody only.
func DropResponseBody() error {
	return proxySetBufferBytes(responseBodyBuffer, 0, math.MaxInt32, nil, 0).err()
}

// SendResponse answers the request instead of the backend, or replaces the backend's answer. In RequestHeaders and
// ResponseHeaders only, which then return Pause.
func SendResponse(status uint32, headers [][2]string, body []byte) error {
	const noGRPC = -1
	pairs := appendPairs(nil, headers)
	return proxySendLocalResponse(status, nil, 0, unsafe.SliceData(body), int32(len(body)),
		unsafe.SliceData(pairs), int32(len(pairs)), noGRPC).err()
}

// appendPairs appends the ABI's form of a map: how many, the sizes of all names and values, and these, each with a NUL.
func appendPairs(dst []byte, pairs [][2]string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(pairs)))
	for _, p := range pairs {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p[0])))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(p[1])))
	}
	for _, p := range pairs {
		dst = append(append(dst, p[0]...), 0)
		dst = append(append(dst, p[1]...), 0)
	}
	return dst
}

// Property returns an attribute of the effective context's stream.
func Property(path ...string) (value string, ok bool) {
	joined := strings.Join(path, "\x00")
	var data *byte
	var size int32
	status := proxyGetProperty(unsafe.StringData(joined), int32(len(joined)), unsafe.Pointer(&data), &size)
	return unsafe.String(data, size), status == 0
}

// SetProperty sets filter state of the effective context's stream, which access logs print as
// %FILTER_STATE(wasm.<name>:PLAIN)%.
func SetProperty(name, value string) error {
	return proxySetProperty(unsafe.StringData(name), int32(len(name)), unsafe.StringData(value), int32(len(value))).err()
}

// SetEffectiveContext makes what follows, up to the callback's end, be about another context: of a stream, or of the
// plugin itself. It fails if there is none any more.
func SetEffectiveContext(contextID uint32) error { return proxySetEffectiveContext(contextID).err() }

// ResetStream resets the effective context's stream, once the callback that is running has returned.
func ResetStream() error {
	const response = 1 // the request, 0, would do the same
	return proxyCloseStream(response).err()
}

// ResumeRequest lets the effective context's request go on, which RequestHeaders has paused.
func ResumeRequest() error {
	const request = 0
	return proxyContinueStream(request).err()
}

// SetTickPeriod starts the timer of the plugin whose callback, or whose stream's callback, is running.
func SetTickPeriod(ms uint32) error { return proxySetTickPeriodMilliseconds(ms).err() }

// GetSharedData returns a value and the number of its last write, or [NotFound].
func GetSharedData(key string) (value []byte, cas uint32, err error) {
	var data *byte
	var size int32
	status := proxyGetSharedData(unsafe.StringData(key), int32(len(key)), unsafe.Pointer(&data), &size, &cas)
	return unsafe.Slice(data, size), cas, status.err()
}

// SetSharedData writes a value if cas is the number of the last write, or the key absent; else it is [CasMismatch]. With
// cas 0 it overwrites.
func SetSharedData(key string, value []byte, cas uint32) error {
	return proxySetSharedData(unsafe.StringData(key), int32(len(key)), unsafe.SliceData(value), int32(len(value)), cas).err()
}

// RegisterSharedQueue returns the token of the named queue and moves its wake-ups to the plugin.
func RegisterSharedQueue(name string) (queue uint32, err error) {
	status := proxyRegisterSharedQueue(unsafe.StringData(name), int32(len(name)), &queue)
	return queue, status.err()
}

// EnqueueSharedQueue adds a message and wakes the queue's plugin.
func EnqueueSharedQueue(queue uint32, message []byte) error {
	return proxyEnqueueSharedQueue(queue, unsafe.SliceData(message), int32(len(message))).err()
}

// DequeueSharedQueue takes the oldest message out, or returns [Empty].
func DequeueSharedQueue(queue uint32) ([]byte, error) {
	var data *byte
	var size int32
	status := proxyDequeueSharedQueue(queue, unsafe.Pointer(&data), &size)
	return unsafe.Slice(data, size), status.err()
}

func buffer(kind uint32, offset, size int32) ([]byte, error) {
	var data *byte
	var n int32
	status := proxyGetBufferBytes(kind, offset, size, unsafe.Pointer(&data), &n)
	return unsafe.Slice(data, n), status.err()
}

func header(kind uint32, name string) (value string, ok bool) {
	var data *byte
	var size int32
	status := proxyGetHeaderMapValue(kind, unsafe.StringData(name), int32(len(name)), unsafe.Pointer(&data), &size)
	return unsafe.String(data, size), status == 0
}

// Log levels of the host, from the ABI.
const (
	logDebug = 1
	logInfo  = 2
	logWarn  = 3
	logError = 4
)

func LogDebug(message string) { log(logDebug, message) }
func LogInfo(message string)  { log(logInfo, message) }
func LogWarn(message string)  { log(logWarn, message) }
func LogError(message string) { log(logError, message) }

func log(level uint32, message string) {
	proxyLog(level, unsafe.StringData(message), int32(len(message)))
}

// NowMs is the time in Unix milliseconds.
func NowMs() int64 {
	const realtime, precisionNs = 0, 1_000_000
	var ns int64
	clockTimeGet(realtime, precisionNs, &ns)
	return ns / 1_000_000
}
