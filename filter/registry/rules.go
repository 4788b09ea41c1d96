package registry

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// rulesKey holds the names of all rules that ever had a worker. A worker may sweep or dismiss
// streams of a rule that its own configuration does not have, and needs the name to count them.
const rulesKey = keyPrefix + "rules"

// maxRules bounds the stored names. They come from configurations, so no ordinary Envoy gets near
// it.
const maxRules = 4096

// NameRule stores the name of a rule where every worker finds it, and returns the hash of the name.
// On error the hash is valid all the same. The worker must have read the table, see [Worker.Open].
func (w *Worker) NameRule(name string) (RuleID, error) {
	id := w.table.Rule(name)
	if !slices.Contains(w.ownRules, name) {
		w.ownRules = append(w.ownRules, name)
	}
	for range casAttempts {
		names, cas, err := w.readRules()
		if err != nil {
			return id, err
		}
		if _, known := names[id]; known || len(names) >= maxRules {
			return id, nil
		}
		names[id] = name
		err = w.store.Set(rulesKey, appendRules(nil, names), cas)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, ErrCasMismatch) {
			return id, fmt.Errorf("write %s: %w", rulesKey, err)
		}
	}
	return id, fmt.Errorf("write %s: %w", rulesKey, ErrContended)
}

// keepRules stores the names again that this worker has stored, if the value was damaged. Without
// them other workers know no rule to count or to dismiss streams of. It parses the value only if it
// has changed.
func (w *Worker) keepRules() error {
	if len(w.ownRules) == 0 {
		return nil
	}
	value, _, err := w.store.Get(rulesKey)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read %s: %w", rulesKey, err)
	}
	if bytes.Equal(value, w.seenRules) {
		return nil
	}
	for _, name := range w.ownRules {
		if _, err := w.NameRule(name); err != nil {
			return err
		}
	}
	w.seenRules = value
	return nil
}

// Rules returns the names that were stored by NameRule.
func (w *Worker) Rules() (map[RuleID]string, error) {
	names, _, err := w.readRules()
	return names, err
}

// readRules returns an empty map if the names are absent or malformed.
func (w *Worker) readRules() (names map[RuleID]string, cas uint32, err error) {
	value, cas, err := w.store.Get(rulesKey)
	if errors.Is(err, ErrNotFound) {
		return map[RuleID]string{}, Absent, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", rulesKey, err)
	}
	if names, err = parseRules(value); err != nil {
		w.count(Malformed, 1)
		names = map[RuleID]string{}
	}
	return names, cas, nil
}

// appendRules appends the stored form of names: in ascending order of their hashes, each name after
// its length.
func appendRules(dst []byte, names map[RuleID]string) []byte {
	dst = append(dst, formatVersion)
	for _, id := range slices.Sorted(maps.Keys(names)) {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(id))
		dst = append(dst, byte(len(names[id])))
		dst = append(dst, names[id]...)
	}
	return dst
}

// parseRules reads the stored form of names.
func parseRules(value []byte) (map[RuleID]string, error) {
	if len(value) == 0 || value[0] != formatVersion {
		return nil, malformed("rules: header %x, want version %d", value[:min(len(value), 1)], formatVersion)
	}
	names := map[RuleID]string{}
	last := int64(-1)
	for rest := value[1:]; len(rest) > 0; {
		if len(rest) < 5 || len(rest) < 5+int(rest[4]) {
			return nil, malformed("rules: name at byte %d is cut short", len(value)-len(rest))
		}
		id := RuleID(binary.LittleEndian.Uint32(rest))
		if int64(id) <= last {
			return nil, malformed("rules: name at byte %d is out of order", len(value)-len(rest))
		}
		last = int64(id)
		n := 5 + int(rest[4])
		names[id] = string(rest[5:n])
		rest = rest[n:]
	}
	return names, nil
}
