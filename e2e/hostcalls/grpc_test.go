package hostcalls

import "testing"

const (
	grpcInitial  = "header 4 x-initial; header 5 x-initial; mapsize 4; add 4 a b"
	grpcReceive  = "body 5 0 100; bodystatus 5; status; header 4 x-initial"
	grpcTrailing = "header 5 grpc-status; header 5 grpc-message; header 5 x-trailing; header 4 x-initial; status; add 5 a b; mapsize 5"
)

// Everything that a guest can see of proxy_grpc_call.
func TestGRPCCall(t *testing.T) {
	call := func(name, call string) dialogue {
		return dialogue{name: name, scripts: []string{"request-headers", call,
			"plugin-grpc-initial", grpcInitial, "plugin-grpc-trailing", grpcTrailing,
			"plugin-grpc-receive", grpcReceive + "; setbody 5 0 0 pre; body 5 0 100; effective $id; body 5 0 3; continue 0; get k",
			"plugin-grpc-close", "status; body 5 0 9; pairs 4; pairs 5; grpccancel $; grpccancel $; effective $id; continue 0"}}
	}
	var dialogues []dialogue
	for _, method := range []string{"echo", "fail", "late", "nothing", "twice", "empty", "abort", "half", "unknown"} {
		dialogues = append(dialogues, call(method, "grpccall =rpc 0 hello svc "+method+" x-m=1; return 1"))
		dialogues = append(dialogues, call(method+", by a handler", "grpccall =unary 0 hello svc "+method+" x-m=1; return 1"))
	}
	for _, method := range []string{"unended", "compressed"} {
		dialogues = append(dialogues, call(method, "grpccall =unary 0 hello svc "+method+"; return 1"))
	}
	dialogues = append(dialogues,
		call("no answer in time", "grpccall =rpc 50 hello svc hang; return 1"),
		call("half an answer in time", "grpccall =rpc 50 hello svc halfhang; return 1"),
		call("an answer that is not of gRPC", "grpccall =rpc 0 hello svc sorry; return 1"),
		call("nobody listens", "grpccall =refused 0 hello svc echo; return 1"),
		call("no endpoints", "grpccall =empty 0 hello svc echo; return 1"),
		call("no such cluster", "grpccall =nope 0 hello svc echo; return 1"),
		call("the service is the name of a cluster", "grpccall refused 0 hello svc echo; return 1"),
		call("the service is the name of no cluster", "grpccall elsewhere 0 hello svc echo"),
		call("two calls fail at once", "grpccall =empty 0 hello svc echo; grpccall =nope 0 hello svc echo; return 1"),
		call("cancelled", "grpccall =rpc 0 hello svc hang; grpccancel $; grpccancel $; grpcclose $; grpccall =rpc 0 hello svc hang; grpcclose $"),
		call("tokens that are not there", "grpccancel 1; grpcclose 1; grpccancel 2; grpcclose 2; grpcsend 2 x 0; grpcsend 1 x 0; grpccancel 0; grpcclose 3; grpcsend 4 x 0"),
		call("nothing is shown outside of the callbacks", "pairs 4; pairs 5; header 4 x; header 5 x; body 5 0 9; bodystatus 5; setbody 5 0 0 x; status"),
		dialogue{name: "the answer is gone when what it has caused happens", scripts: []string{"request-headers", "grpccall =rpc 0 hello svc echo; return 1",
			"plugin-grpc-receive", "body 5 0 9; effective $id; close 0", "log", "body 5 0 9"}},
		dialogue{name: "so is the status", scripts: []string{"request-headers", "grpccall =rpc 0 hello svc fail; return 1",
			"plugin-grpc-close", "status; effective $id; close 0", "log", "status"}},
	)
	compare(t, dialogues)
}

// Everything that a guest can see of proxy_grpc_stream.
func TestGRPCStream(t *testing.T) {
	stream := func(name, call, atClose string) dialogue {
		return dialogue{name: name, scripts: []string{"request-headers", call, "plugin-grpc-initial", grpcInitial,
			"plugin-grpc-receive", "grpcsend $ more 0; " + grpcReceive, "plugin-grpc-trailing", grpcTrailing, "plugin-grpc-close", "status; " + atClose + "; effective $id; continue 0"}}
	}
	const forget = "grpcsend $ x 0; grpcclose $; grpcclose $; grpcsend $ x 0"
	var dialogues []dialogue
	for _, method := range []string{"fail", "late", "nothing", "twice", "empty", "abort", "half", "unknown", "sorry", "chat"} {
		dialogues = append(dialogues, stream(method, "grpcstream =rpc svc "+method+" x-m=1; grpcsend $ hello 0; return 1", forget))
	}
	compare(t, append(dialogues,
		stream("the guest closes first", "grpcstream =rpc svc chat; grpcsend $ a 0; grpcsend $ b 0; grpcclose $; grpcclose $; grpcsend $ late 0; return 1", forget),
		stream("with its last message", "grpcstream =rpc svc chat; grpcsend $ a 0; grpcsend $ b 1; return 1", "grpccancel $; grpccancel $"),
		stream("the guest never closes", "grpcstream =rpc svc twice; return 1", "say leaked"),
		stream("and uses the token later", "grpcsend 54 x 0; grpcsend 54 x 1; grpcclose 54; grpcclose 54", ""),
		stream("nobody listens", "grpcstream =refused svc chat; grpcsend $ x 0; return 1", forget),
		stream("no endpoints", "grpcstream =empty svc chat; return 1", forget),
		stream("no such cluster", "grpcstream =nope svc chat; return 1", forget),
		stream("the service is the name of no cluster", "grpcstream elsewhere svc chat", ""),
		dialogue{name: "cancelled in a callback", scripts: []string{"request-headers", "grpcstream =rpc svc twice; return 1",
			"plugin-grpc-receive", "body 5 0 9; grpccancel $; grpcsend $ x 0; effective $id; continue 0"}},
		dialogue{name: "cancelled when it ends", scripts: []string{"request-headers", "grpcstream =rpc svc twice; return 1",
			"plugin-grpc-receive", "body 5 0 9", "plugin-grpc-trailing", "grpccancel $; effective $id; continue 0"}},
		dialogue{name: "initial metadata can be read in what they have caused", scripts: []string{"request-headers", "grpcstream =rpc svc halfhang; return 1",
			"plugin-grpc-initial", "effective $id; close 0", "log", "header 4 x-initial; body 5 0 9", "plugin-grpc-receive", "grpccancel $"}},
	))
}
