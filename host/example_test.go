package host_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/streamlatch/streamlatch/host"
)

// Two workers write the same key. The interceptor lets worker 1 write after worker 0 has read the
// key and before worker 0 writes it, so the compare-and-swap of worker 0 fails.
//
// The guest of this example runs scripts that the test puts into request headers. A real filter is
// built with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared.
func Example() {
	wasm, err := guestWasm()
	if err != nil {
		log.Fatal(err)
	}
	module, err := host.Compile(context.Background(), wasm, host.WithInterpreter())
	if err != nil {
		log.Fatal(err)
	}
	defer module.Close(context.Background())
	world, err := host.NewWorld(module, host.Config{Workers: 2, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	defer world.Close()

	write := func(worker int, value string) {
		stream := world.Worker(worker).Open(host.Request("GET", "/", "on-request-headers", "get k; set k "+value+" $"))
		stream.RequestHeaders(true)
		stream.ResponseHeaders(host.Response(204), true)
		fmt.Println("worker", worker, "ended:", stream.Ending())
	}
	world.SetSharedData("k", []byte("first"))
	world.Intercept(func(c *host.Call) {
		if c.Worker == 0 && c.Name == "proxy_set_shared_data" {
			write(1, "theirs")
		}
	})
	write(0, "mine")
	fmt.Println(world.Logs().Containing("set k"))
	fmt.Printf("k is %q\n", world.SharedData()["k"].Bytes)
	// Output:
	// worker 1 ended: completed
	// worker 0 ended: completed
	// [worker 1][info] set k theirs $ -> Ok
	// [worker 0][info] set k mine $ -> CasMismatch
	// k is "theirs"
}

// A filter asks another service whether it may let a request through. The test answers late, and
// the filter has set a time-out. In place of nil, Config.Clusters may have a handler that answers
// by itself.
func ExampleHTTPCall() {
	wasm, err := guestWasm()
	if err != nil {
		log.Fatal(err)
	}
	module, err := host.Compile(context.Background(), wasm, host.WithInterpreter())
	if err != nil {
		log.Fatal(err)
	}
	defer module.Close(context.Background())
	world, err := host.NewWorld(module, host.Config{Clusters: map[string]http.Handler{"auth": nil}})
	if err != nil {
		log.Fatal(err)
	}
	defer world.Close()

	stream := world.Worker(0).Open(host.Request("GET", "/",
		"on-request-headers", "httpcall auth 500 _ :path=/check :method=GET :authority=auth; return 1",
		"on-plugin-http-call-response", "header 6 :status; body 4 0 100; effective 2; reply 403 _ _"))
	fmt.Println(stream.RequestHeaders(true))
	call := world.HTTPCalls()[0]
	path, _ := call.Headers.Get(":path")
	fmt.Println(call.Cluster, path, call.Timeout)

	world.Advance(400 * time.Millisecond)
	call.RespondHeaders(host.Response(200), false) // the rest does not come
	world.Advance(200 * time.Millisecond)
	fmt.Println(world.Logs().Containing("header 6"))
	fmt.Println(call.Cancelled(), stream.LocalReply().Status)
	// Output:
	// StopAllIterationAndWatermark
	// auth /check 500ms
	// [worker 0][info] header 6 :status -> BadArgument
	// true 403
}

// A filter watches a store over gRPC. The test is the store.
func ExampleGRPCCall() {
	wasm, err := guestWasm()
	if err != nil {
		log.Fatal(err)
	}
	module, err := host.Compile(context.Background(), wasm, host.WithInterpreter())
	if err != nil {
		log.Fatal(err)
	}
	defer module.Close(context.Background())
	world, err := host.NewWorld(module, host.Config{
		Clusters: map[string]http.Handler{"store": nil},
		PluginConfig: []byte("stream: grpcstream =store store.Store Watch; grpcsend $ from-1 0\n" +
			"grpc-receive: body 5 0 100\n" +
			"grpc-close: status"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer world.Close()

	world.Worker(0).Open(host.Request("GET", "/")).RequestHeaders(true)
	watch := world.GRPCCalls()[0]
	fmt.Printf("%s.%s %q\n", watch.Service, watch.Method, watch.Received())
	watch.Send([]byte("a is 1"))
	watch.Reset(host.RemoteReset)
	fmt.Println(world.Logs().Containing("body"))
	fmt.Println(world.Logs().Containing("status"))
	// Output:
	// store.Store.Watch ["from-1"]
	// [worker 0][info] body 5 0 100 -> Ok "a is 1"
	// [worker 0][info] status -> Ok 13 "upstream_reset_after_response_started{remote_reset}"
}
