package module

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

// ShrinkFindFunc returns wasm with that part of the table runtime.findfunctab zeroed which is never read, and the data
// written without the zeros: a tenth of the module.
//
// The table finds the function that a program counter is in, and has a bucket for every 4096 of them. On wasm a
// program counter is the function's number in the upper bits and a block's number in the lower 16, so that every
// function has 16 buckets, and all of them say the same: which function it is. The runtime looks into the first only,
// for it drops the block's number before it looks (findfunc in runtime/symtab.go). Should it look into another, a zero
// there makes it search from the first function on, and find the same.
//
// A table that is not as the linker of Go 1.26 writes it (findfunctab in cmd/link/internal/ld/pcln.go) is an error.
func ShrinkFindFunc(wasm []byte) ([]byte, error) {
	return rewriteSection(wasm, dataSection, func(section []byte) ([]byte, error) {
		memory, err := readData(section)
		if err != nil {
			return nil, err
		}
		table, err := findFuncTable(memory)
		if err != nil {
			return nil, err
		}
		if err := zeroRepeats(table); err != nil {
			return nil, err
		}
		return appendData(nil, memory), nil
	})
}

// The table: a bucket is the index of the first function in it, and what to add to that for each sixteenth of it.
const (
	bucketSpan         = 4096
	bucketSize         = 4 + 16
	functionSpan       = 1 << 16
	bucketsPerFunction = functionSpan / bucketSpan
)

var errFindFunc = errors.New("runtime.findfunctab is not where or what Go 1.26 has it")

// findFuncTable returns the part of memory that holds the table, for all functions but the last. The runtime's moduledata says where that is; it is
// found by its first words, which point at the header of the pclntab and at the tables that the header describes.
func findFuncTable(memory []byte) ([]byte, error) {
	const (
		header = "\xf1\xff\xff\xff\x00\x00\x01\x08" // magic, padding, instructions of one byte, pointers of eight

		// In words, in pcHeader:
		headerFunctions = 1 // how many there are
		headerNames     = 4 // where the first table is, from the header
		headerFuncs     = 8 // where the last is
		headerWords     = 9

		// In words, in moduledata:
		dataHeader   = 0
		dataNames    = 1
		dataFuncs    = 16 // a slice, with one entry past the last function
		dataFindFunc = 19
		dataMinPC    = 20
		dataMaxPC    = 21
		dataWords    = 22
	)
	word := func(base, i int) int {
		return int(binary.LittleEndian.Uint64(memory[base+8*i:]))
	}

	start := bytes.Index(memory, []byte(header))
	if start < 0 || start+8*headerWords > len(memory) {
		return nil, errFindFunc
	}
	pointer := binary.LittleEndian.AppendUint64(nil, uint64(start))
	for at := start + 8*headerWords; ; at++ {
		next := bytes.Index(memory[at:], pointer)
		if next < 0 || at+next+8*dataWords > len(memory) {
			return nil, errFindFunc
		}
		at += next
		if word(at, dataHeader) != start ||
			word(at, dataNames) != start+word(start, headerNames) ||
			word(at, dataFuncs) != start+word(start, headerFuncs) ||
			word(at, dataFuncs+1) != word(start, headerFunctions)+1 {
			continue
		}
		table, span := word(at, dataFindFunc), word(at, dataMaxPC)-word(at, dataMinPC)
		if span <= 0 || span > len(memory)*bucketSpan || word(at, dataMinPC)%functionSpan != 0 {
			return nil, errFindFunc
		}
		// The last function has as many buckets as it has blocks, and the last of them is cut short: it stays.
		size := span / functionSpan * bucketsPerFunction * bucketSize
		if table < 0 || table > len(memory)-size {
			return nil, errFindFunc
		}
		return memory[table : table+size], nil
	}
}

// zeroRepeats zeroes all buckets of a function but the first, if that is what they repeat.
func zeroRepeats(table []byte) error {
	for function := range slices.Chunk(table, bucketsPerFunction*bucketSize) {
		first, rest := function[:bucketSize], function[bucketSize:]
		if !bytes.Equal(first[4:], make([]byte, bucketSize-4)) {
			return errFindFunc
		}
		if !bytes.Equal(rest, bytes.Repeat(first, bucketsPerFunction-1)) {
			return errFindFunc
		}
		clear(rest)
	}
	return nil
}
