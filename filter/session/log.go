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
	level := Info
	digest := digestOf(message)
	_ = w.share(announcedKey, func(announced []byte) []byte { // if it fails, a line too many is written
		level = Info
		for i := 0; i+len(digest) <= len(announced); i += len(digest) {
			if string(announced[i:i+len(digest)]) == digest {
				level = Debug
				return nil
			}
		}
		announced = append(announced, digest...)
		return announced[max(0, len(announced)-mostAnnounced*len(digest)):]
	})
	w.host.Log(level, message)
}

// share changes what all of Envoy stores under a key. step returns the new value, or nil if the old
// one may stay; it may run several times.
func (w *Worker) share(key string, step func(old []byte) []byte) error {
	const attempts = 32 // each that fails is another thread's success
	for range attempts {
		value, cas, err := w.host.Get(key)
		if err != nil {
			value, cas = nil, registry.Absent
		}
		if value = step(value); value == nil {
			return nil
		}
		if err = w.host.Set(key, value, cas); !errors.Is(err, registry.ErrCasMismatch) {
			return err
		}
	}
	return fmt.Errorf("write %s: %w", key, registry.ErrContended)
}

func digestOf(message string) string {
	h := fnv.New64a()
	_, _ = h.Write([]byte(message)) // never fails
	return string(h.Sum(nil))
}

// warn logs that a call to the registry or the host failed, at most once a second.
func (w *Worker) warn(err error) {
	if err != nil && w.warned.allow(w.host.Now(), second) {
		w.host.Log(Warn, fmt.Sprintf("failed error=%q", err))
	}
}

const (
	second = 1000 // milliseconds
	minute = 60 * second
)

// limiter lets one event in a while pass.
type limiter struct{ last int64 }

func (l *limiter) allow(nowMs, everyMs int64) bool {
	if l.last != 0 && nowMs-l.last < everyMs {
		return false
	}
	l.last = nowMs
	return true
}
