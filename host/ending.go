package host

import "fmt"

// Ending is how a stream ended.
type Ending int

// The endings; zero is a stream that has not ended.
const (
	Completed    Ending = iota + 1 // the response, or a local reply, went out whole
	Reset                          // cut by the filter, or because its VM failed, or by a local reply that came too late
	Disconnected                   // the test ended it: End
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

// maxLogDepth bounds how often on_log of a stream may run inside itself.
const maxLogDepth = 16

// finish ends the stream: on_log, on_done, on_delete, in the order of Envoy (which
// logs before it destroys filters) and not of the specification. Over HTTP/3 there
// may be no on_log: see [Stream.SetProtocol].
//
// The last two are made once, and on_log for every end: a stream that the guest
// resets twice in one callback is logged twice, since the second reset is carried
// out when on_log of the first returns, before anything is destroyed. A guest that
// resets its stream in on_log itself makes Envoy recurse until it crashes; here
// its VM fails.
//
// Envoy: source/common/http/conn_manager_impl.cc, doEndStream and
// doDeferredStreamDestroy. Measured on 1.40.
func (s *Stream) finish(how Ending) {
	if s.vm != nil && !s.vm.failed {
		s.vm.mustBeIdle("the end of a stream")
	}
	if s.ended && s.protocol == HTTP3 && s.vm != nil {
		s.vm.fail(fmt.Sprintf("stream %d over HTTP/3 ends again: Envoy crashes here", s.context.id))
		return
	}
	s.ended, s.ending = true, how
	if s.vm == nil {
		s.destroyed = true
		return
	}
	if s.logging == maxLogDepth {
		s.vm.fail(fmt.Sprintf("stream %d ends itself in its own on_log, and again, and again: Envoy crashes here", s.context.id))
		return
	}
	id := uint64(s.context.id)
	if s.isLogged(how) {
		s.create() // on_log may be the first that the filter hears of a stream
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
	delete(s.vm.contexts, s.context.id)
	s.plugin.release()
}
