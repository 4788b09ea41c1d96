package host

import "encoding/binary"

// exportedFunctions returns the names of the functions that a valid module exports, in the order of
// its export section. wazero does not tell the order.
func exportedFunctions(wasm []byte) (names []string) {
	const header, exportSection, function = 8, 7, 0
	r := wasmReader(wasm[header:])
	for len(r) > 0 {
		id, section := r.byte(), r.bytes()
		if id != exportSection {
			continue
		}
		for range section.number() {
			name, kind := section.bytes(), section.byte()
			section.number() // the index
			if kind == function {
				names = append(names, string(name))
			}
		}
	}
	return names
}

// wasmReader reads the binary format of a valid module from its start on.
type wasmReader []byte

func (r *wasmReader) byte() byte {
	b := (*r)[0]
	*r = (*r)[1:]
	return b
}

func (r *wasmReader) number() uint64 {
	n, size := binary.Uvarint(*r)
	*r = (*r)[size:]
	return n
}

// bytes reads a number and as many bytes.
func (r *wasmReader) bytes() wasmReader {
	n := r.number()
	b := (*r)[:n]
	*r = (*r)[n:]
	return b
}
