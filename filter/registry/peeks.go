package registry

// peeks are the buckets that Peek has read and no claim has used yet: a claim usually follows
// within milliseconds, and then need not read and parse the bucket again. What is here may be old.
// So it is good for one thing only: as the first try of a compare-and-swap.
//
// A bucket has one slot, and shares it with others. So there are few, whatever comes. A tick
// forgets them all: no write of the store can have the number of an earlier one by then.
type peeks struct {
	slots [peekSlots]peek
}

const peekSlots = 64

type peek struct {
	number uint32
	cas    uint32 // 0: the slot is empty
	bucket Bucket
}

// put remembers bucket number n, and leaves in b some memory for another.
func (p *peeks) put(n, cas uint32, b *Bucket) {
	slot := &p.slots[n%peekSlots]
	slot.number, slot.cas = n, cas
	slot.bucket, *b = *b, slot.bucket
}

// take moves bucket number n to b, if it is remembered.
func (p *peeks) take(n uint32, b *Bucket) (cas uint32, ok bool) {
	slot := &p.slots[n%peekSlots]
	if cas = slot.cas; cas == 0 || slot.number != n {
		return 0, false
	}
	slot.cas = 0
	*b, slot.bucket = slot.bucket, *b
	return cas, true
}

func (p *peeks) forget() {
	for i := range p.slots {
		p.slots[i].cas = 0
	}
}
