//go:build sdks

package sdks

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A network is what lies between clients and Envoy: it forwards TCP connections.
type network struct {
	address string

	mu    sync.Mutex
	links []link
}

// A link is a client's connection, and the one to Envoy that goes with it.
type link struct{ client, envoy net.Conn }

// before returns a network in front of an address.
func before(t *testing.T, address string) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{address: listener.Addr().String()}
	t.Cleanup(func() {
		listener.Close()
		n.cut(true)
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			envoy, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			n.mu.Lock()
			n.links = append(n.links, link{client, envoy})
			n.mu.Unlock()
			go func() { // what Envoy sends to a client that has gone is lost without a word
				if _, err := io.Copy(client, envoy); err == nil {
					client.Close()
				}
				io.Copy(io.Discard, envoy)
			}()
			go func() {
				if _, err := io.Copy(envoy, client); !errors.Is(err, net.ErrClosed) {
					envoy.Close() // the client has hung up
				}
			}()
		}
	}()
	return n
}

// cut ends all connections at the clients. Envoy learns of it only if told: to it, the clients are
// still there.
func (n *network) cut(told bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		l.client.(*net.TCPConn).SetLinger(0) // a reset
		l.client.Close()
		if told {
			l.envoy.Close()
		}
	}
	n.links = nil
}
