package host

import "testing"

func TestActions(t *testing.T) {
	tests := []struct {
		result  uint32
		stopped bool // by a local reply
		headers Action
		body    Action
		trailer Action
	}{
		{0, false, Continue, Continue, Continue},
		{1, false, StopAllIterationAndWatermark, StopIterationAndBuffer, StopIteration},
		{2, false, Continue, StopIterationAndWatermark, StopIteration},
		{3, false, StopAllIterationAndBuffer, StopIterationNoBuffer, StopIteration},
		{4, false, StopAllIterationAndWatermark, StopIterationNoBuffer, StopIteration},
		{0, true, StopAllIterationAndWatermark, StopIterationNoBuffer, StopIteration},
		{1, true, StopAllIterationAndWatermark, StopIterationNoBuffer, StopIteration},
	}
	for _, tt := range tests {
		h, b, tr := headersAction(tt.result, tt.stopped), bodyAction(tt.result, tt.stopped), trailersAction(tt.result, tt.stopped)
		if h != tt.headers || b != tt.body || tr != tt.trailer {
			t.Errorf("result %d, stopped %v: got %v, %v, %v, want %v, %v, %v", tt.result, tt.stopped, h, b, tr, tt.headers, tt.body, tt.trailer)
		}
	}
}

func TestStrings(t *testing.T) {
	for got, want := range map[string]string{
		StatusOk.String():            "Ok",
		StatusCasMismatch.String():   "CasMismatch",
		StatusUnimplemented.String(): "Unimplemented",
		Status(13).String():          "Status(13)",
		None.String():                "None",
		Action(99).String():          "Action(99)",
		LogCritical.String():         "critical",
		LogLevel(6).String():         "LogLevel(6)",
		Ending(0).String():           "open",
		Disconnected.String():        "disconnected",
		FailReload.String():          "fail reload",
	} {
		if got != want {
			t.Errorf("String: got %q, want %q", got, want)
		}
	}
}
