package host

import "fmt"

// Ending is how a stream ended.
type Ending int

// The endings. Zero means that the stream is open.
const (
	Completed    Ending = iota + 1 // the client got the whole response, or a whole local reply
	Reset                          // cut by the filter, by the failure of its VM, or by a local reply that came too late
	Disconnected                   // the client disconnected: Stream.End
)

func (e Ending) String() string {
	switch e {
	case 0:
		return "open"
	case Completed:
		return "completed"
	case Reset:
		return "reset"
	case Disconnected:
		return "disconnected"
	}
	return fmt.Sprintf("Ending(%d)", int(e))
}

// maxLogDepth limits how often on_log of a stream can be called inside itself.
const maxLogDepth = 16

// finish ends the stream with on_log, on_done and on_delete. This is the order of Envoy, which logs
// before it destroys the filters. The specification says on_done first. Over HTTP/3 there may be no
// on_log: see [Stream.SetProtocol].
//
// on_done and on_delete are called once, but on_log once for every end. If a guest resets its
// stream twice in one callback, on_log is called twice: the second reset is carried out when on_log
// of the first has returned, before anything is destroyed. Over HTTP/2 the second reset does
// nothing. If a guest resets its stream in on_log
// itself, Envoy recurses until it crashes. Here the VM fails.
//
// Envoy: source/common/http/conn_manager_impl.cc, doEndStream and doDeferredStreamDestroy. Measured
// on Envoy 1.40.
func (s *Stream) finish(how Ending) {
	if s.vm != nil && !s.vm.failed {
		s.vm.mustBeIdle("the end of a stream")
	}
	if s.ended && s.protocol == HTTP3 && s.vm != nil {
		s.vm.fail(fmt.Sprintf("stream %d over HTTP/3 is ended a second time: Envoy crashes here", s.context.id))
		return
	}
	if s.protocol == HTTP2 && s.ending == Reset && how == Reset {
		return // the codec tells of its own reset only once
	}
	s.ended, s.ending = true, how
	if s.closed.IsZero() {
		s.closed = s.worker.world.now
	}
	if s.vm == nil {
		s.destroyed = true
		return
	}
	if s.logging == maxLogDepth {
		s.vm.fail(fmt.Sprintf("stream %d ends itself again in each on_log: Envoy crashes here", s.context.id))
		return
	}
	id := uint64(s.context.id)
	if s.isLogged(how) {
		s.create() // on_log may be the first callback of a stream
		s.logging++
		s.vm.callback(s.context, "proxy_on_log", id)
		s.logging--
	}
	if s.destroyed {
		return
	}
	s.destroyed = true
	s.vm.callback(s.context, "proxy_on_done", id)
	s.vm.callback(s.context, "proxy_on_delete", id)
	s.delete()
}
