package host

import "fmt"

// Status is what a hostcall returns to the guest. The numbers are those of the ABI.
//
// proxy-wasm-cpp-sdk: proxy_wasm_common.h.
type Status uint32

// The statuses of the ABI.
const (
	StatusOk                   Status = 0
	StatusNotFound             Status = 1
	StatusBadArgument          Status = 2
	StatusSerializationFailure Status = 3
	StatusParseFailure         Status = 4
	StatusBadExpression        Status = 5
	StatusInvalidMemoryAccess  Status = 6
	StatusEmpty                Status = 7
	StatusCasMismatch          Status = 8
	StatusResultMismatch       Status = 9
	StatusInternalFailure      Status = 10
	StatusBrokenConnection     Status = 11
	StatusUnimplemented        Status = 12
)

var statusNames = [...]string{
	"Ok", "NotFound", "BadArgument", "SerializationFailure", "ParseFailure", "BadExpression", "InvalidMemoryAccess",
	"Empty", "CasMismatch", "ResultMismatch", "InternalFailure", "BrokenConnection", "Unimplemented",
}

func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint32(s))
}

// Action is what Envoy's filter chain does after a callback. It is Envoy's filter status, not the
// number that the guest returned: the same number means something else for headers, body and
// trailers, and after a local reply it is ignored.
type Action int

// The actions. None is the zero value: the stream was over, and the guest was not called.
const (
	None Action = iota
	Continue
	StopIteration
	StopIterationAndBuffer
	StopIterationAndWatermark
	StopIterationNoBuffer
	StopAllIterationAndBuffer
	StopAllIterationAndWatermark
)

var actionNames = [...]string{
	"None", "Continue", "StopIteration", "StopIterationAndBuffer", "StopIterationAndWatermark",
	"StopIterationNoBuffer", "StopAllIterationAndBuffer", "StopAllIterationAndWatermark",
}

func (a Action) String() string {
	if a >= 0 && int(a) < len(actionNames) {
		return actionNames[a]
	}
	return fmt.Sprintf("Action(%d)", int(a))
}

// headersAction converts the result of on_request_headers or on_response_headers. A local reply
// stops the filter chain, whatever the guest returned. Pause (1) means stop everything, unless
// Config.AllowStopIteration is set: see Stream.headersAction.
//
// cpp-host: src/context.cc, convertVmCallResultToFilterHeadersStatus.
func headersAction(result uint32, stopped bool) Action {
	switch {
	case stopped:
		return StopAllIterationAndWatermark
	case result == 0, result == 2: // 2 is ContinueAndEndStream, which Envoy does not know
		return Continue
	case result == 3:
		return StopAllIterationAndBuffer
	default: // 1, 4, and every unknown number
		return StopAllIterationAndWatermark
	}
}

// bodyAction converts the result of on_request_body or on_response_body.
//
// cpp-host: src/context.cc, convertVmCallResultToFilterDataStatus.
func bodyAction(result uint32, stopped bool) Action {
	switch {
	case stopped:
		return StopIterationNoBuffer
	case result == 0:
		return Continue
	case result == 1:
		return StopIterationAndBuffer
	case result == 2:
		return StopIterationAndWatermark
	default:
		return StopIterationNoBuffer
	}
}

// trailersAction converts the result of on_request_trailers or on_response_trailers.
//
// cpp-host: src/context.cc, convertVmCallResultToFilterTrailersStatus.
func trailersAction(result uint32, stopped bool) Action {
	if result == 0 && !stopped {
		return Continue
	}
	return StopIteration
}

// metadataAction converts the result of on_request_metadata or on_response_metadata: metadata
// always go on. The VM's failure does not stop them either.
//
// cpp-host: src/context.cc, convertVmCallResultToFilterMetadataStatus.
func metadataAction(uint32, bool) Action { return Continue }
