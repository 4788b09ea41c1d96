package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
	"github.com/streamlatch/streamlatch/filter/hostcall"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// Call implements [session.Calls].
func (e envoy) Call(cluster string, m etcd.Method, message []byte, timeout policy.Millis) (call uint32, err error) {
	err = e.plugin.asItself(func() error {
		call, err = hostcall.GRPCCall(grpcService(cluster), m.Service(), m.String(), nil, message, uint32(timeout))
		return err
	})
	return call, err
}

// hasLeader makes etcd end a stream whose server has lost the cluster's leader. Without it a watch
// there is silent.
var hasLeader = [][2]string{{"hasleader", "true"}}

// Open implements [session.Calls].
func (e envoy) Open(cluster string, m etcd.Method) (call uint32, err error) {
	err = e.plugin.asItself(func() error {
		call, err = hostcall.GRPCStream(grpcService(cluster), m.Service(), m.String(), hasLeader)
		return err
	})
	if err == nil {
		e.plugin.open[call] = struct{}{}
	}
	return call, err
}

// Send implements [session.Calls].
func (e envoy) Send(call uint32, message []byte) error {
	return e.plugin.asItself(func() error { return hostcall.GRPCSend(call, message, false) })
}

// Cancel implements [session.Calls].
func (e envoy) Cancel(call uint32) error {
	delete(e.plugin.open, call)
	return e.plugin.asItself(func() error { return hostcall.GRPCCancel(call) })
}

// asItself makes hostcalls for p. The running callback may be another plugin context's: Envoy wakes
// the first one for the queues of all (see [VM.register]).
func (p *plugin) asItself(do func() error) error {
	if err := proxywasm.SetEffectiveContext(p.id); err != nil {
		return err
	}
	defer func() { _ = proxywasm.SetEffectiveContext(0) }() // back to the running callback's own
	return do()
}

// grpcService is the message envoy.config.core.v3.GrpcService for a cluster of Envoy:
// envoy_grpc { cluster_name }.
func grpcService(cluster string) []byte {
	const envoyGRPC, clusterName = 1, 1
	target := protowire.AppendString(protowire.AppendTag(nil, clusterName, protowire.BytesType), cluster)
	return protowire.AppendBytes(protowire.AppendTag(nil, envoyGRPC, protowire.BytesType), target)
}

// GRPCReceive is proxy_on_grpc_receive: an answer of size bytes to a call of a plugin context, or a
// message of its stream. The SDK does not have this callback.
//
// An answer that cannot be read is a failure of the call.
func (v *VM) GRPCReceive(plugin, call, size uint32) {
	p := v.plugin(plugin)
	if p == nil {
		return
	}
	p.takeTurn()
	message, err := hostcall.GRPCMessage(int(size))
	if err != nil {
		if _, open := p.open[call]; open {
			_ = (envoy{p}).Cancel(call)
		}
		const internal = 13
		p.worker.CallFailed(call, internal, err.Error())
		return
	}
	p.worker.Answered(call, message)
}

// GRPCClose is proxy_on_grpc_close: the failure of a call, or the end of a stream. The SDK does not
// have this callback.
func (v *VM) GRPCClose(plugin, call, status uint32) {
	p := v.plugin(plugin)
	if p == nil {
		return
	}
	p.takeTurn()
	_, message, err := hostcall.GRPCStatus()
	if err != nil {
		message = err.Error()
	}
	if _, open := p.open[call]; open {
		delete(p.open, call)
		_ = hostcall.GRPCClose(call) // if it fails, Envoy keeps some bytes
	}
	p.worker.CallFailed(call, int(status), message)
}

// plugin returns the plugin context with this id, or nil if it has ended.
func (v *VM) plugin(id uint32) *plugin {
	for _, p := range v.plugins {
		if p.id == id {
			return p
		}
	}
	return nil
}
