package host_test

import (
	"slices"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// A test can supply a foreign function, also in place of one of Envoy's.
func TestForeignFunctionOfTheTest(t *testing.T) {
	t.Parallel()
	var got []string
	w := newWorld(t, host.Config{ForeignFunctions: map[string]host.ForeignFunction{
		"geo": func(arguments []byte) ([]byte, host.Status) {
			got = append(got, string(arguments))
			return []byte("Bern"), host.StatusOk
		},
		"compress": func([]byte) ([]byte, host.Status) { return nil, host.StatusInternalFailure },
	}})
	open(w.Worker(0), "request-headers", "foreign geo 10.0.0.1; foreign geo _; foreign compress x; foreign nope x")
	wantLog(t, w.Logs(), `foreign geo 10.0.0.1 -> Ok "Bern"`, `foreign geo _ -> Ok "Bern"`, "foreign compress x -> InternalFailure", "foreign nope x -> NotFound")
	if !slices.Equal(got, []string{"10.0.0.1", ""}) {
		t.Errorf("got the arguments %q", got)
	}
}

func TestForeignFunctionsOfEnvoy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	s := open(w.Worker(0), "request-headers", `compressed hello; foreign uncompress nonsense; foreign clear_route_cache _;`+
		`foreign set_envoy_filter_state \x0a\x17envoy.tcp\x5fproxy.cluster\x12\x05other; foreign set_envoy_filter_state \x0a\x04nope;`+
		`raw foreign 0 0 4294967295 1 0 0; raw foreign 4294967295 1 0 0 0 0`)
	wantLog(t, w.Logs(), `compressed hello -> Ok "hello"`, "foreign uncompress nonsense -> SerializationFailure",
		`foreign set_envoy_filter_state \x0a\x17envoy.tcp\x5fproxy.cluster\x12\x05other -> Ok ""`, `foreign set_envoy_filter_state \x0a\x04nope -> NotFound`,
		"raw foreign 0 0 4294967295 1 0 0 -> InvalidMemoryAccess", "raw foreign 4294967295 1 0 0 0 0 -> InvalidMemoryAccess")
	if s.RouteClears() != 1 || s.FilterState()["envoy.tcp_proxy.cluster"] != "other" {
		t.Errorf("got %d clears of the route and the filter state %v", s.RouteClears(), s.FilterState())
	}
}

// The host has no CEL. A guest that calls for it gets Unimplemented, and the log says which
// function is missing. The test can supply it.
func TestForeignFunctionsOfCEL(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"expr_create", "expr_evaluate", "expr_delete"} {
		w := newWorld(t, host.Config{})
		open(w.Worker(0), "request-headers", "foreign "+name+" x")
		wantLog(t, w.Logs(), `foreign function "`+name+`": the test host has no CEL; supply it with host.Config.ForeignFunctions`, "foreign "+name+" x -> Unimplemented")

		w = newWorld(t, host.Config{ForeignFunctions: map[string]host.ForeignFunction{
			name: func([]byte) ([]byte, host.Status) { return []byte("1"), host.StatusOk },
		}})
		open(w.Worker(0), "request-headers", "foreign "+name+" x")
		wantLog(t, w.Logs(), "foreign "+name+` x -> Ok "1"`)
	}
}
