package session

import (
	"errors"
	"fmt"
	"hash/fnv"

	"github.com/streamlatch/streamlatch/filter/registry"
)

// announcedKey is the shared key that holds digests of what was announced, the newest last.
const announcedKey = "streamlatch/announced"

// mostAnnounced bounds the digests: so many configurations may come and go before one is announced
// again.
const mostAnnounced = 256

// announce logs message at info once for the whole Envoy. Every thread starts the plugin with the
// same words, and several listeners may have a configuration each; the later ones log at debug.
func (w *Worker) announce(message string) {
	const attempts = 32 // each that fails is another thread's success
	digest := digestOf(message)
	for range attempts {
		announced, cas, err := w.host.Get(announcedKey)
		if err != nil {
			announced, cas = nil, registry.Absent
		}
		for i := 0; i+len(digest) <= len(announced); i += len(digest) {
			if string(announced[i:i+len(digest)]) == digest {
				w.host.Log(Debug, message)
				return
			}
		}
		announced = append(announced, digest...)
		announced = announced[max(0, len(announced)-mostAnnounced*len(digest)):]
		if err = w.host.Set(announcedKey, announced, cas); !errors.Is(err, registry.ErrCasMismatch) {
			break
		}
	}
	w.host.Log(Info, message)
}

func digestOf(message string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(message)) // never fails
	return string(h.Sum(nil))
}

// warn logs that a call to the registry or the host failed, at most once a second.
func (w *Worker) warn(err error) {
	if err != nil && w.warned.allow(w.host.Now()) {
		w.host.Log(Warn, fmt.Sprintf("failed error=%q", err))
	}
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
