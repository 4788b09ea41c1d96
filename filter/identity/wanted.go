package identity

// wanted are the names that are looked for in one pass over a header: those of the sources of one
// kind that have no value yet.
type wanted struct {
	hashes [MaxSources]hash // by source; 0: not looked for
	left   int
}

func (s Sources) wanted(kind Kind) (w wanted) {
	for i := range s {
		if s[i].Kind != kind {
			continue
		}
		w.left++
		w.hashes[i] = noName
		for _, b := range []byte(s[i].Name) {
			w.hashes[i] = w.hashes[i].with(b)
		}
	}
	return w
}

// found says that source i has a value.
func (w *wanted) found(i int) {
	w.hashes[i] = 0
	w.left--
}

// hash is a hash of a name, never 0. It is no secret: whoever finds names with the same hash makes
// a request that costs a little more.
type hash uint32

// noName is the hash of the empty name.
const noName hash = 1

func (h hash) with(b byte) hash { return h*31 + hash(b)<<1 | 1 }
