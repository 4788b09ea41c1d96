package plugin

import (
	"errors"
	"fmt"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/streamlatch/streamlatch/filter/hostcall"
	"github.com/streamlatch/streamlatch/filter/registry"
	"github.com/streamlatch/streamlatch/filter/session"
)

// Envoy has more levels than the filter. A worker builds debug lines if Envoy would write them, or
// does not say what it writes.
func TestLogLevel(t *testing.T) {
	for _, c := range []struct {
		level hostcall.LogLevel
		err   error
		want  session.Level
	}{
		{hostcall.Trace, nil, session.Debug},
		{hostcall.Debug, nil, session.Debug},
		{hostcall.Info, nil, session.Info},
		{hostcall.Warn, nil, session.Warn},
		{hostcall.Error, nil, session.Error},
		{hostcall.Critical, nil, session.Error},
		{hostcall.Off, nil, session.Error},
		{hostcall.Off, hostcall.Unimplemented, session.Debug},
	} {
		if got := levelOf(c.level, c.err); got != c.want {
			t.Errorf("level %d, error %v: %d, want %d", c.level, c.err, got, c.want)
		}
	}
}

// The registry knows three of the SDK's errors by names of its own. Others pass as they are.
func TestErrorsAreNamed(t *testing.T) {
	other := errors.New("broken")
	for _, c := range []struct{ err, want error }{
		{nil, nil},
		{types.ErrorStatusNotFound, registry.ErrNotFound},
		{types.ErrorStatusCasMismatch, registry.ErrCasMismatch},
		{types.ErrorStatusEmpty, registry.ErrEmpty},
		{fmt.Errorf("get: %w", types.ErrorStatusNotFound), registry.ErrNotFound},
		{other, other},
	} {
		if got := named(c.err); got != c.want {
			t.Errorf("%v is %v, want %v", c.err, got, c.want)
		}
	}
}
