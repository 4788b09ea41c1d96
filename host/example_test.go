package host_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// A filter asks the cluster auth whose token it is, and tells the upstream. The test answers; in
// place of nil, Config.Clusters may have a handler that does.
func ExampleHTTPCall() {
	wasm, err := gobuild.Build(context.Background(), "./cmd/proxywasm/testdata/hits", "")
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

	stream := world.Worker(0).Open(host.Request("GET", "/", "authorization", "secret"))
	fmt.Println(stream.RequestHeaders(true))
	call := world.HTTPCalls()[0]
	path, _ := call.Headers.Get(":path")
	fmt.Println(call.Cluster, path, call.Timeout)

	world.Advance(400 * time.Millisecond) // a slow service
	call.Respond(host.Response(200), []byte("alice"), nil)
	user, _ := stream.ToUpstream().Headers.Get("x-user")
	fmt.Println(user)
	// Output:
	// StopAllIterationAndWatermark
	// auth /secret 1s
	// alice
}

// A filter watches a store over gRPC. The test is the store.
//
// The filter of this example runs scripts from its configuration: testdata/guest.
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
