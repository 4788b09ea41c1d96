package host_test

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// testModule is a small WebAssembly module, described by its parts.
type testModule struct {
	imports  []function
	exports  []function
	noMemory bool
}

// function is an import (module, name, type) or an export (name, type, body). The type is written
// like "ii->i". The body is a list of instructions without the final end. An empty body returns 0
// if the type has a result.
type function struct {
	module, name, typ string
	body              []byte
}

const (
	opUnreachable = 0x00
	opCall        = 0x10
	opDrop        = 0x1a
	opI32Const    = 0x41
	opI64Const    = 0x42
	opLocalGet    = 0x20
	opI32Load     = 0x28
)

// minimalExports are the exports that a filter needs to start, followed by more.
func minimalExports(more ...function) []function {
	return append([]function{
		{name: "proxy_abi_version_0_2_1", typ: "->"},
		{name: "_initialize", typ: "->"},
		{name: "malloc", typ: "i->i"},
	}, more...)
}

// bytes encodes the module.
func (h testModule) bytes() []byte {
	var types, imports, functions, exports, code [][]byte
	typeIndex := func(typ string) []byte {
		params, results, _ := bytes.Cut([]byte(typ), []byte("->"))
		encoded := append([]byte{0x60}, vector(valtypes(params))...)
		encoded = append(encoded, vector(valtypes(results))...)
		i := slices.IndexFunc(types, func(t []byte) bool { return bytes.Equal(t, encoded) })
		if i < 0 {
			i = len(types)
			types = append(types, encoded)
		}
		return leb(i)
	}
	for _, f := range h.imports {
		imports = append(imports, slices.Concat(name(f.module), name(f.name), []byte{0x00}, typeIndex(f.typ)))
	}
	if !h.noMemory {
		exports = append(exports, append(name("memory"), 0x02, 0x00))
	}
	for i, f := range h.exports {
		functions = append(functions, typeIndex(f.typ))
		exports = append(exports, slices.Concat(name(f.name), []byte{0x00}, leb(len(h.imports)+i)))
		body := slices.Clone(f.body)
		if body == nil && f.typ[len(f.typ)-1] == 'i' {
			body = []byte{opI32Const, 0}
		}
		body = slices.Concat([]byte{0x00}, body, []byte{0x0b})
		code = append(code, append(leb(len(body)), body...))
	}
	out := append([]byte("\x00asm"), 1, 0, 0, 0)
	section := func(id byte, items [][]byte) {
		if len(items) > 0 {
			content := vector(items)
			out = slices.Concat(out, []byte{id}, leb(len(content)), content)
		}
	}
	section(1, types)
	section(2, imports)
	section(3, functions)
	if !h.noMemory {
		section(5, [][]byte{{0x00, 0x01}}) // one page, no maximum
	}
	section(7, exports)
	section(10, code)
	return out
}

func valtypes(letters []byte) [][]byte {
	var out [][]byte
	for _, l := range letters {
		out = append(out, []byte{map[byte]byte{'i': 0x7f, 'I': 0x7e, 'F': 0x7c}[l]})
	}
	return out
}

func vector(items [][]byte) []byte { return append(leb(len(items)), bytes.Join(items, nil)...) }

func name(s string) []byte { return append(leb(len(s)), s...) }

func leb(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
