package plugin

import (
	"hash/fnv"

	"github.com/streamlatch/streamlatch/filter/proxywasm"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// announced is the shared key that holds a digest of what was announced last.
const announced = "streamlatch/announced"

// announce logs message at info once, although every thread of Envoy starts the plugin with the same words; the others
// say it at debug.
func announce(store registry.Store, message string) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(message)) // never fails
	digest := string(h.Sum(nil))

	last, cas, err := store.Get(announced)
	if err != nil {
		cas = registry.Absent
	}
	if string(last) == digest || store.Set(announced, []byte(digest), cas) != nil {
		proxywasm.LogDebug(message)
		return
	}
	proxywasm.LogInfo(message)
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
