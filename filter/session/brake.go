package session

import (
	"cmp"
	"encoding/binary"

	"github.com/streamlatch/streamlatch/filter/policy"
	"github.com/streamlatch/streamlatch/filter/registry"
)

// A brake slows down clients that come back before their wait is over, however often. Many
// libraries do: at a clean end they connect again at once, or they do not know retry-after. An
// instance of a client that was refused has a slot here, and its next refusals are held back.
//
// Slots are few: if there is none, who is refused takes that of another, who is then not slowed
// down. So the memory, and the requests that a worker holds, are bounded whoever comes.
type brake struct {
	slots []brakeSlot // nil: nobody was refused yet
	held  int         // requests that are held
}

// brakeSlots is the number of slots, of 40 bytes each.
const brakeSlots = 1024

// brakeProbes is the number of slots in which a caller may be. With only one, two callers that come
// back at once would take it from each other again and again, and neither would be held.
const brakeProbes = 8

// mostHeld bounds the requests that a worker holds.
const mostHeld = 1024

// mostHeldEach bounds those of one caller. It may be several pages or programs that have no
// instance. A browser has six connections to a host, and some must be left for other requests.
const mostHeldEach = 4

// heldMs is how long a request is held, and up to a tick longer. Common clients wait longer than
// that for a response.
const heldMs = 1000

type brakeSlot struct {
	who   caller
	until int64 // when the wait is over that it was told
	held  int   // its requests that are held
}

// caller is who makes a request.
type caller struct {
	client   registry.ClientID
	instance policy.Instance
}

// slot returns the caller's slot, or if it has none, one that it may take: rather one of a caller
// whose wait is over. It returns nil if requests of others are held in all of them.
func (b *brake) slot(who caller, now int64) *brakeSlot {
	if b.slots == nil {
		b.slots = make([]brakeSlot, brakeSlots)
	}
	hash := binary.LittleEndian.Uint64(who.client[:]) ^ uint64(who.instance)
	var over, other *brakeSlot
	for i := range uint64(brakeProbes) {
		slot := &b.slots[(hash+i)%brakeSlots]
		switch {
		case slot.who == who:
			return slot
		case slot.held > 0:
		case over == nil && now >= slot.until:
			over = slot
		case other == nil:
			other = slot
		}
	}
	return cmp.Or(over, other)
}

// refused says that a caller was told to wait.
func (b *brake) refused(who caller, now int64, wait policy.Millis) {
	if slot := b.slot(who, now); slot != nil {
		slot.who, slot.until = who, now+int64(wait)
	}
}

// hold reports whether a request of the caller is to be held, because it comes too early. If so,
// free must follow.
func (b *brake) hold(who caller, now int64) bool {
	if b.slots == nil {
		return false
	}
	slot := b.slot(who, now)
	if slot == nil || slot.who != who || now >= slot.until || slot.held >= mostHeldEach || b.held >= mostHeld {
		return false
	}
	slot.held++
	b.held++
	return true
}

// free says that a request of the caller is not held any more. Nobody could take its slot
// meanwhile.
func (b *brake) free(who caller) {
	b.slot(who, 0).held--
	b.held--
}
