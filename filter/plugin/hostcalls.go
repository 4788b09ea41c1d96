package plugin

import (
	"errors"

	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// sharedData is Envoy's shared data as a [registry.Store].
type sharedData struct{}

func (sharedData) Get(key string) ([]byte, uint32, error) {
	value, cas, err := proxywasm.GetSharedData(key)
	return value, cas, translate(err)
}

func (sharedData) Set(key string, value []byte, cas uint32) error {
	return translate(proxywasm.SetSharedData(key, value, cas))
}

// sharedQueues is Envoy's shared queues as [registry.Queues].
type sharedQueues struct{}

func (sharedQueues) Register(name string) (uint32, error) {
	return proxywasm.RegisterSharedQueue(name)
}

func (sharedQueues) Enqueue(token uint32, message []byte) error {
	return proxywasm.EnqueueSharedQueue(token, message)
}

func (sharedQueues) Dequeue(token uint32) ([]byte, error) {
	message, err := proxywasm.DequeueSharedQueue(token)
	return message, translate(err)
}

// translate turns the host's errors into those that the registry's interfaces name.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, proxywasm.NotFound):
		return registry.ErrNotFound
	case errors.Is(err, proxywasm.CasMismatch):
		return registry.ErrCasMismatch
	case errors.Is(err, proxywasm.Empty):
		return registry.ErrEmpty
	}
	return err
}

// requestHeaders reads the request's headers, and what Envoy knows of the stream; only in the request callbacks.
type requestHeaders struct{}

// Header returns the first value of a header. An empty value and none are two things.
func (requestHeaders) Header(name string) (string, bool) {
	return proxywasm.RequestHeader(name)
}

// Property returns what Envoy has for an attribute of the stream, as proxy-wasm serializes it.
func (requestHeaders) Property(path ...string) (string, bool) {
	return proxywasm.Property(path...)
}

// responseHeaders reads the response's headers; only in the response callbacks.
type responseHeaders struct{}

// Header returns the first value of a header.
func (responseHeaders) Header(name string) (string, bool) {
	return proxywasm.ResponseHeader(name)
}
