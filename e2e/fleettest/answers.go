package fleettest

import (
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
)

// Between stands between Envoys and an etcd, and may answer calls itself.
type Between struct {
	Port int

	answer atomic.Pointer[Answer]
}

// Answer answers a call of gRPC, and returns true, or leaves it to etcd.
type Answer func(w http.ResponseWriter, r *http.Request) bool

// NewBetween opens a way to an address of etcd. The end of the test closes it.
func NewBetween(t *testing.T, to string) *Between {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Between{Port: listener.Addr().(*net.TCPAddr).Port}
	b.Answer(nil)
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	etcd := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: to})
	etcd.Transport = &http.Transport{Protocols: &protocols, DisableCompression: true}
	quiet := log.New(io.Discard, "", 0) // calls end in many ways
	etcd.ErrorLog = quiet
	server := &http.Server{Protocols: &protocols, ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !(*b.answer.Load())(w, r) {
			etcd.ServeHTTP(w, r)
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return b
}

// Answer asks a for an answer from now on; nil: etcd.
func (b *Between) Answer(a Answer) {
	if a == nil {
		a = func(http.ResponseWriter, *http.Request) bool { return false }
	}
	b.answer.Store(&a)
}

// Messages answers a call with messages, and then with a status of gRPC.
func Messages(w http.ResponseWriter, status int, fault string, messages ...[]byte) {
	w.Header().Set("Content-Type", "application/grpc")
	for _, message := range messages {
		head := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
		_, _ = w.Write(append(head, message...)) // an error if Envoy has gone
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", strconv.Itoa(status))
	w.Header().Set(http.TrailerPrefix+"Grpc-Message", fault)
}
