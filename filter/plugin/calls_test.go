// The emulator of the SDK is built for a native host only.

//go:build !wasip1

package plugin

import (
	"errors"
	"testing"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/proxytest"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/hostcall"
)

// envoy_grpc is field 1 of a GrpcService, and cluster_name field 1 of that. A message without a
// target would crash Envoy, so there is one even without a name.
func TestGrpcService(t *testing.T) {
	for cluster, want := range map[string]string{
		"etcd": "\x0a\x06\x0a\x04etcd",
		"":     "\x0a\x02\x0a\x00",
	} {
		if got := grpcService(cluster); string(got) != want {
			t.Errorf("cluster %q: %q, want %q", cluster, got, want)
		}
	}
}

// An answer to a plugin that has ended, or never was, is ignored, and so is one to a call that
// nobody has made. Without a host no message can be read: the stream that it came on is given up.
func TestAnswersToEndedPlugins(t *testing.T) {
	v := emulated(t)
	first := v.plugins[0]
	second := v.NewPluginContext(7).(*plugin)
	first.open[2], second.open[6], second.open[10] = struct{}{}, struct{}{}, struct{}{}
	for _, id := range []uint32{0, 2, 1 << 31} {
		v.GRPCReceive(id, 6, 5)
		v.GRPCClose(id, 6, 14)
	}
	first.OnPluginDone()
	v.GRPCReceive(1, 2, 5)
	v.GRPCClose(1, 2, 14)
	if len(first.open) != 1 || len(second.open) != 2 {
		t.Errorf("the plugins have the streams %v and %v, want none ended", first.open, second.open)
	}
	v.GRPCReceive(7, 6, 5)
	v.GRPCClose(7, 10, 14)
	v.GRPCClose(7, 14, 14)
	if len(second.open) != 0 {
		t.Errorf("the streams %v have not ended", second.open)
	}
}

// A call that was not sent is an error, and no stream.
func TestCallsThatAreNotSent(t *testing.T) {
	p := emulated(t).plugins[0]
	e := envoy{p}
	_, call := e.Call("etcd", etcd.KVRange, nil, 250)
	_, open := e.Open("etcd", etcd.WatchWatch)
	for name, err := range map[string]error{"Call": call, "Open": open, "Send": e.Send(2, nil), "Cancel": e.Cancel(2)} {
		if !errors.Is(err, hostcall.Unimplemented) {
			t.Errorf("%s without a host: %v, want %v", name, err, hostcall.Unimplemented)
		}
	}
	if len(p.open) != 0 {
		t.Errorf("the streams %v are open, want none", p.open)
	}
}

// emulated returns a VM with plugin context 1. The emulator knows its contexts, and no gRPC.
func emulated(t *testing.T) *VM {
	v := New("test")
	_, reset := proxytest.NewHostEmulator(proxytest.NewEmulatorOption().WithVMContext(v))
	t.Cleanup(reset)
	return v
}
