package fleettest

import (
	"net"
	"sync"
	"testing"
)

// Link is a way for TCP connections from this machine to an address.
type Link struct {
	Port int

	gate sync.RWMutex // locked while the link is cut

	mu    sync.Mutex
	conns []net.Conn
}

// NewLink opens a link to an address. The end of the test closes it to new connections.
func NewLink(t *testing.T, to string) *Link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	l := &Link{Port: listener.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			l.mu.Lock()
			l.conns = append(l.conns, near, far)
			l.mu.Unlock()
			go l.carry(near, far)
			go l.carry(far, near)
		}
	}()
	return l
}

// carry carries bytes one way, and then the end of the connection.
func (l *Link) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		l.gate.RLock()
		_, failed := to.Write(buffer[:n])
		l.gate.RUnlock()
		if err != nil || failed != nil {
			return
		}
	}
}

// Cut makes all that is sent wait, in both directions, the ends of connections too. Nobody is told.
func (l *Link) Cut() { l.gate.Lock() }

// Mend ends Cut: what was sent meanwhile arrives.
func (l *Link) Mend() { l.gate.Unlock() }

// Break ends all connections. What waits on them is lost.
func (l *Link) Break() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}
