package host_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// A trace has every callback and every hostcall, with names for the ABI's numbers.
func TestTrace(t *testing.T) {
	t.Parallel()
	var trace strings.Builder
	w := newWorld(t, host.Config{Trace: &trace}, "configure: tick 1000")
	trace.Reset()
	w.Intercept(func(c *host.Call) {
		switch {
		case c.Key == "lost":
			c.Answer(host.StatusCasMismatch)
		case c.Key == "told":
			c.Proceed()
			c.Answer(host.StatusInternalFailure)
		}
	})
	s := open(w.Worker(0), "request-headers", "get k; set k v 0; get k; set lost x 3; set told y 0; add 0 a b; pairs 1; setpairs 3 a=b; reply 403 det no x=1")
	s.End()
	var got []string
	for _, line := range strings.Split(trace.String(), "\n") {
		if !strings.Contains(line, "proxy_log") && !strings.Contains(line, "on-") {
			got = append(got, line)
		}
	}
	want := strings.Split(`worker 0: proxy_on_context_create(2, 1)
worker 0: proxy_on_context_create returns
worker 0: proxy_on_request_headers(2, 5, 1)
worker 0:   proxy_get_shared_data(key="k") = NotFound
worker 0:   proxy_set_shared_data(key="k", value="v", cas=0) = Ok
worker 0:   proxy_get_shared_data(key="k") = Ok, value="v", cas=1
worker 0:   proxy_set_shared_data(key="lost", value="x", cas=3) is not carried out; the guest is told CasMismatch
worker 0:   proxy_set_shared_data(key="told", value="y", cas=0) = Ok
worker 0:   the guest is told InternalFailure
worker 0:   proxy_add_header_map_value(map=request_headers, name="a", value="b") = Ok
worker 0:   proxy_get_header_map_pairs(map=request_trailers) = Ok, headers=[]
worker 0:   proxy_set_header_map_pairs(map=response_trailers, headers=[a: "b"]) = BadArgument
worker 0:   proxy_send_local_response(status=403, details="det", body="no", headers=[x: "1"], grpc_status=-1) = Ok
worker 0: proxy_on_request_headers = 0
worker 0: proxy_on_response_headers(2, 4, 0)
worker 0: proxy_on_response_headers = 0
worker 0: proxy_on_response_body(2, 2, 1)
worker 0: proxy_on_response_body = 0
worker 0: proxy_on_log(2)
worker 0: proxy_on_log returns
worker 0: proxy_on_done(2)
worker 0: proxy_on_done = 1
worker 0: proxy_on_delete(2)
worker 0: proxy_on_delete returns
`, "\n")
	if !slices.Equal(got, want) {
		t.Errorf("got the trace\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// An interceptor can look at a call's arguments, and after Proceed at its results.
func TestCallArguments(t *testing.T) {
	t.Parallel()
	w := newWorld(t, host.Config{})
	var calls []string
	w.Intercept(func(c *host.Call) {
		switch c.Name {
		case "proxy_set_shared_data":
			if c.Argument("value") != "v" || c.Argument("cas") != uint64(7) {
				t.Errorf("got the arguments %v", c.Arguments())
			}
			calls = append(calls, c.String())
		case "proxy_get_shared_data":
			if c.Results() != nil {
				t.Errorf("got the results %v before the call", c.Results())
			}
			c.Proceed()
			calls = append(calls, c.String())
		}
	})
	open(w.Worker(0), "request-headers", "set k v 7; get k; raw get 4294967295 9 0 0 0")
	want := []string{
		`proxy_set_shared_data(key="k", value="v", cas=7)`,
		`proxy_get_shared_data(key="k") = Ok, value="v", cas=1`,
		`proxy_get_shared_data(key=(out of bounds)) = InvalidMemoryAccess`,
	}
	if !slices.Equal(calls, want) {
		t.Errorf("got the calls\n%s\nwant\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
}
