package hostcalls

import (
	"fmt"
	"testing"

	"github.com/streamlatch/streamlatch/host"
)

// The headers of local replies, as on_response_headers shows them: for requests of gRPC, and
// others.
func TestLocalReply(t *testing.T) {
	const grpc = "application/grpc"
	reply := func(contentType, script string) dialogue {
		d := dialogue{name: contentType + " " + script, scripts: []string{"request-headers", script, "response-headers", "pairs 2"}}
		if contentType != "" {
			d.headers = host.Headers{{Name: "content-type", Value: contentType}}
		}
		return d
	}
	dialogues := []dialogue{
		reply("", "grpcstatus 4294967295; reply 403 det no+thing"),
		reply("", "reply 403 det no content-type=text/html x=1 content-length=9"),
		reply("", "reply 403 det _ content-type=text/html x=1 content-length=9"),
		reply("", "grpcstatus 5; reply 403 det _"),
		reply(grpc, "grpcstatus 4294967295; reply 403 det no+thing content-type=text/html x=1 content-length=3"),
		reply(grpc, "grpcstatus 5; reply 200 det _ x=1"),
		reply(grpc+"+json", "grpcstatus 17; reply 429 det a%0A~é"),
		reply(grpc, "grpcstatus 5; reply 429 det _ grpc-status=3"),
		reply(grpc+"; charset=utf-8", "reply 500 det _"),
		reply(grpc+"-web", "reply 500 det _"),
	}
	for _, status := range []int{200, 400, 401, 403, 404, 409, 429, 500, 502, 503, 504} {
		dialogues = append(dialogues, reply(grpc, fmt.Sprintf("grpcstatus 4294967295; reply %d _ _", status)))
	}
	compare(t, append(dialogues,
		dialogue{name: "in place of a response", scripts: []string{"response-headers", "reply 403 det late"}},
	))
}
