package host_test

import (
	"context"
	"fmt"
	"log"

	"github.com/streamlatch/streamlatch/host"
	"github.com/streamlatch/streamlatch/host/gobuild"
)

// The filter testdata/hits counts requests in shared data. To get the number and to set it is not
// enough: two workers that do so at the same time lose a hit. A test with one VM never sees that.
// In this one, worker 1 gets its request when worker 0 is about to set.
func Example() {
	ctx := context.Background()
	wasm, err := gobuild.Build(ctx, "./testdata/hits", "")
	if err != nil {
		log.Fatal(err)
	}
	module, err := host.Compile(ctx, wasm, host.WithInterpreter())
	if err != nil {
		log.Fatal(err)
	}
	defer module.Close(ctx)
	for _, way := range []string{"get then set", "compare and swap"} {
		fmt.Printf("%s: hits is %s after 2 requests\n", way, hitsOfTwo(module, way))
	}
	// Output:
	// get then set: hits is 1 after 2 requests
	// compare and swap: hits is 2 after 2 requests
}

// hitsOfTwo has two workers count at the same time, and returns what they have counted.
func hitsOfTwo(module *host.Module, way string) string {
	world, err := host.NewWorld(module, host.Config{Workers: 2, PluginConfig: []byte(way)})
	if err != nil {
		log.Fatal(err)
	}
	defer world.Close()
	request := host.Request("GET", "/")
	world.Intercept(func(c *host.Call) {
		if c.Worker == 0 && c.Name == "proxy_set_shared_data" {
			world.Intercept(nil) // once
			world.Worker(1).Open(request).RequestHeaders(true)
		}
	})
	world.Worker(0).Open(request).RequestHeaders(true)
	return string(world.SharedData()["hits"].Bytes)
}
