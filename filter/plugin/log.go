package plugin

import (
	"errors"
	"hash/fnv"

	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// announced is the shared key that holds digests of what was announced, newest last.
const announced = "streamlatch/announced"

// mostAnnounced is how many are remembered: as many configurations as may come and go before one is announced again.
const mostAnnounced = 256

// announce logs message at info once, although every thread of Envoy starts the plugin with the same words, and
// several listeners may have one of their own; the others say it at debug.
func announce(store registry.Store, message string) {
	const attempts = 32 // each that fails is another thread's success
	digest := digestOf(message)
	for range attempts {
		said, cas, err := store.Get(announced)
		if err != nil {
			said, cas = nil, registry.Absent
		}
		for i := 0; i+len(digest) <= len(said); i += len(digest) {
			if string(said[i:i+len(digest)]) == digest {
				proxywasm.LogDebug(message)
				return
			}
		}
		said = append(said, digest...)
		said = said[max(0, len(said)-mostAnnounced*len(digest)):]
		if err = store.Set(announced, said, cas); !errors.Is(err, registry.ErrCasMismatch) {
			break
		}
	}
	proxywasm.LogInfo(message)
}

func digestOf(message string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(message)) // never fails
	return string(h.Sum(nil))
}

// limiter lets one event a second pass.
type limiter struct{ last int64 }

func (l *limiter) allow(nowMs int64) bool {
	if l.last != 0 && nowMs-l.last < 1000 {
		return false
	}
	l.last = nowMs
	return true
}
