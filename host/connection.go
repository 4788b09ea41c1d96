package host

import "slices"

// Connection is one TCP connection on its way through the filter. The test plays the client and the
// upstream. A read filter before the TCP proxy sees what the client sends in on_downstream_data,
// and what the upstream sends in on_upstream_data. If the filter stops, the data wait, and the next
// callback sees them again, together with what has arrived since.
//
// If the filter stops in on_new_connection, nothing is read from the client before the filter calls
// proxy_continue_stream.
//
// A connection is closed when both sides have sent their end and it has gone through, when the
// client resets it, when the filter closes it, or when the VM fails. Then
// on_downstream_connection_close is called, and on_done, on_log and on_delete: in this order, which
// is not that of streams.
//
// Envoy: source/extensions/common/wasm/context.cc, onNewConnection to onEvent, and onCloseTCP.
type Connection struct {
	session
	downstream, upstream pipe // from the client, and to it
	reading              bool // the filter has let the new connection go on
	isReset              bool // by the client, and Envoy has not noticed yet
	isClosed             bool
}

// pipe is one direction of a connection.
type pipe struct {
	received int64
	held     buffer  // arrived, and not gone on
	end      bool    // the end has arrived
	visible  *buffer // what the guest can reach now
	out      []byte  // what has gone on
	outEnd   bool
}

// How a connection is closed. The numbers are those of the ABI.
const (
	closedUnknown  = 0
	closedLocally  = 1 // by Envoy
	closedRemotely = 2 // by the client
)

func (c *Connection) begin() {
	c.create()
	if c.unfiltered || c.callFilter("proxy_on_new_connection") == Continue {
		c.reading = true
	}
}

// DownstreamData lets the client send data, and at the end close its half of the connection.
func (c *Connection) DownstreamData(data []byte, end bool) Action {
	if c.isClosed {
		return None
	}
	return c.arrive(&c.downstream, "DownstreamData", "proxy_on_downstream_data", data, end)
}

// UpstreamData lets the upstream send data, and at the end close its half of the connection.
func (c *Connection) UpstreamData(data []byte, end bool) Action {
	if c.isClosed {
		return None
	}
	action := c.arrive(&c.upstream, "UpstreamData", "proxy_on_upstream_data", data, end)
	if end && c.hasContext() {
		// Envoy tells the filter when it sees the end, even if the filter has stopped.
		c.vm.callback(c.context, "proxy_on_upstream_connection_close", uint64(c.context.id), closedUnknown)
	}
	c.closeIfDone(closedLocally)
	return action
}

// Reset lets the client reset the connection. If the filter has stopped in on_new_connection, Envoy
// does not notice before the filter goes on.
func (c *Connection) Reset() {
	if !c.reading {
		c.isReset = true
		return
	}
	c.close(closedRemotely)
}

// ToUpstream returns what the filter has let through to the upstream, and whether the end is there.
func (c *Connection) ToUpstream() (data []byte, end bool) {
	return slices.Clone(c.downstream.out), c.downstream.outEnd
}

// ToClient returns what the filter has let through to the client, and whether the end is there.
func (c *Connection) ToClient() (data []byte, end bool) {
	return slices.Clone(c.upstream.out), c.upstream.outEnd
}

// Closed reports whether the connection is closed.
func (c *Connection) Closed() bool { return c.isClosed }

// hasContext reports whether the guest can be called for this connection.
func (c *Connection) hasContext() bool { return c.created && c.vm != nil && !c.vm.failed }

func (c *Connection) arrive(p *pipe, method, callback string, data []byte, end bool) Action {
	if p.end {
		panic("host: " + method + " after the end of the data")
	}
	p.received += int64(len(data))
	p.held.data = append(p.held.data, data...)
	p.end = end
	if p == &c.downstream && !c.reading {
		return StopIteration
	}
	return c.show(p, callback)
}

// show shows the filter what is held.
func (c *Connection) show(p *pipe, callback string) Action {
	action, end := Continue, p.end
	if !c.unfiltered && (len(p.held.data) > 0 || end) {
		p.visible = &p.held
		action = c.callFilter(callback, uint64(len(p.held.data)), boolUint64(end))
		if action == Continue {
			p.visible = nil
		}
	}
	if action == Continue && !c.isClosed {
		c.send(p)
	}
	if p == &c.downstream {
		c.closeIfDone(closedRemotely)
	}
	return action
}

// callFilter makes a callback. If the VM has failed, or fails now, the connection is closed, or
// bypasses the filter under FailOpen.
//
// cpp-host: src/context.cc, CHECK_FAIL_NET and onNetworkNewConnection to onUpstreamData.
func (c *Connection) callFilter(callback string, arguments ...uint64) Action {
	if c.vm != nil && !c.vm.failed {
		if !c.vm.has(callback) {
			return Continue
		}
		arguments = append([]uint64{uint64(c.context.id)}, arguments...)
		result, _ := c.vm.enterCallback(c.context, callback, arguments...)
		failed := c.vm.failed
		c.vm.finishCallback()
		switch {
		case failed:
		case result == 0:
			return Continue
		default:
			return StopIteration
		}
	}
	if c.worker.world.config.FailurePolicy == FailOpen {
		return Continue
	}
	c.close(closedLocally)
	return StopIteration
}

// send lets everything go that was held.
func (c *Connection) send(p *pipe) {
	p.out = append(p.out, p.held.data...)
	p.held.data = nil
	p.outEnd = p.end
}

// continueReading is proxy_continue_stream for what comes from the client. After on_new_connection
// it begins: Envoy's TCP proxy lets nothing be read before it has connected to the upstream.
func (c *Connection) continueReading() {
	switch {
	case c.isClosed:
	case c.reading:
		c.send(&c.downstream)
	default:
		c.reading = true
		if len(c.downstream.held.data) > 0 || c.downstream.end {
			c.show(&c.downstream, "proxy_on_downstream_data")
		}
		if c.isReset {
			c.close(closedRemotely)
		}
	}
}

// closeIfDone closes the connection if both sides have ended. The side that ended last decides how.
func (c *Connection) closeIfDone(how uint64) {
	if c.downstream.outEnd && c.upstream.outEnd {
		c.close(how)
	}
}

// close ends the connection. Unlike for streams, on_log comes between on_done and on_delete.
//
// Envoy: context.cc, onCloseTCP. Measured on Envoy 1.40.
func (c *Connection) close(how uint64) {
	if c.isClosed {
		return
	}
	c.isClosed = true
	if c.vm == nil {
		return
	}
	id := uint64(c.context.id)
	c.vm.callback(c.context, "proxy_on_downstream_connection_close", id, how)
	c.vm.callback(c.context, "proxy_on_done", id)
	c.vm.callback(c.context, "proxy_on_log", id)
	c.vm.callback(c.context, "proxy_on_delete", id)
	c.delete()
}
