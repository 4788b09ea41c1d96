package main

import (
	"encoding/binary"
	"strconv"
	"strings"
	"unsafe"
)

// last is the last number a hostcall gave: a cas, a token, a metric id. Scripts
// write it as $.
var last uint32

// kept holds memory that the alloc command took.
var kept [][]byte

// execute runs a script and returns what its "return" command says, or normal.
func execute(script string, normal uint32) uint32 {
	for _, line := range strings.Split(script, ";") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] == "return" {
			normal = number(words[1])
			continue
		}
		command, ok := commands[words[0]]
		if !ok {
			panic("unknown command " + words[0])
		}
		say(strings.Join(words, " ") + " -> " + command(words[1:]))
	}
	return normal
}

// commands are the words of the script language. "_" stands for an empty word,
// "$" for the last number, "+" in a word for a space, "/" in a property path for
// NUL.
var commands map[string]func(w []string) string

func init() {
	commands = map[string]func(w []string) string{
		"say": func(w []string) string { return strings.Join(w, " ") },
		"get": func(w []string) string {
			status := with(text(w[0]), func(p, n uint32) uint32 {
				return proxyGetSharedData(p, n, dataAt, sizeAt, numberAt)
			})
			if status != 0 {
				return outcome(status)
			}
			last = result.number
			return outcome(status) + " " + strconv.Quote(given()) + " cas " + strconv.Itoa(int(last))
		},
		"set": func(w []string) string {
			return outcome(with(text(w[0]), func(key, keySize uint32) uint32 {
				return with(text(w[1]), func(value, size uint32) uint32 {
					return proxySetSharedData(key, keySize, value, size, number(w[2]))
				})
			}))
		},
		"register": func(w []string) string {
			return numbered(with(text(w[0]), func(p, n uint32) uint32 { return proxyRegisterSharedQueue(p, n, numberAt) }))
		},
		"resolve": func(w []string) string {
			return numbered(with(text(w[0]), func(id, idSize uint32) uint32 {
				return with(text(w[1]), func(p, n uint32) uint32 {
					return proxyResolveSharedQueue(id, idSize, p, n, numberAt)
				})
			}))
		},
		"enqueue": func(w []string) string {
			return outcome(with(text(w[1]), func(p, n uint32) uint32 { return proxyEnqueueSharedQueue(number(w[0]), p, n) }))
		},
		"dequeue": func(w []string) string { return texted(proxyDequeueSharedQueue(number(w[0]), dataAt, sizeAt)) },
		"header": func(w []string) string {
			value, status := headerValue(number(w[0]), text(w[1]))
			if status != 0 {
				return outcome(status)
			}
			return outcome(status) + " " + strconv.Quote(value)
		},
		"add":     func(w []string) string { return change(proxyAddHeaderMapValue, w) },
		"replace": func(w []string) string { return change(proxyReplaceHeaderMapValue, w) },
		"remove": func(w []string) string {
			return outcome(with(text(w[1]), func(p, n uint32) uint32 { return proxyRemoveHeaderMapValue(number(w[0]), p, n) }))
		},
		"pairs": func(w []string) string { return texted(proxyGetHeaderMapPairs(number(w[0]), dataAt, sizeAt)) },
		"setpairs": func(w []string) string {
			return outcome(with(serialized(w[1:]), func(p, n uint32) uint32 { return proxySetHeaderMapPairs(number(w[0]), p, n) }))
		},
		"mapsize": func(w []string) string { return numbered(proxyGetHeaderMapSize(number(w[0]), numberAt)) },
		"body": func(w []string) string {
			return texted(proxyGetBufferBytes(number(w[0]), number(w[1]), number(w[2]), dataAt, sizeAt))
		},
		"setbody": func(w []string) string {
			return outcome(with(text(w[3]), func(p, n uint32) uint32 {
				return proxySetBufferBytes(number(w[0]), number(w[1]), number(w[2]), p, n)
			}))
		},
		"bodystatus": func(w []string) string { return numbered(proxyGetBufferStatus(number(w[0]), numberAt, sizeAt)) },
		"tick":       func(w []string) string { return outcome(proxySetTickPeriodMilliseconds(number(w[0]))) },
		"time":       func(w []string) string { return wide(proxyGetCurrentTimeNanoseconds(wideAt)) },
		"clock":      func(w []string) string { return errno(clockTimeGet(number(w[0]), 0, wideAt), result.wide) },
		"loglevel":   func(w []string) string { return numbered(proxyGetLogLevel(numberAt)) },
		"effective":  func(w []string) string { return outcome(proxySetEffectiveContext(number(w[0]))) },
		"done":       func(w []string) string { return outcome(proxyDone()) },
		"define": func(w []string) string {
			return numbered(with(text(w[1]), func(p, n uint32) uint32 { return proxyDefineMetric(number(w[0]), p, n, numberAt) }))
		},
		"increment": func(w []string) string { return outcome(proxyIncrementMetric(number(w[0]), signed(w[1]))) },
		"record":    func(w []string) string { return outcome(proxyRecordMetric(number(w[0]), uint64(signed(w[1])))) },
		"metric":    func(w []string) string { return wide(proxyGetMetric(number(w[0]), wideAt)) },
		"property": func(w []string) string {
			return texted(with(path(w[0]), func(p, n uint32) uint32 { return proxyGetProperty(p, n, dataAt, sizeAt) }))
		},
		"setproperty": func(w []string) string {
			return outcome(with(path(w[0]), func(key, keySize uint32) uint32 {
				return with(text(w[1]), func(p, n uint32) uint32 { return proxySetProperty(key, keySize, p, n) })
			}))
		},
		"reply": func(w []string) string { // status details body header=value...
			return outcome(with(text(w[1]), func(details, detailsSize uint32) uint32 {
				return with(text(w[2]), func(body, bodySize uint32) uint32 {
					return with(serialized(w[3:]), func(p, n uint32) uint32 {
						return proxySendLocalResponse(number(w[0]), details, detailsSize, body, bodySize, p, n, 0xffffffff)
					})
				})
			}))
		},
		"continue": func(w []string) string { return outcome(proxyContinueStream(number(w[0]))) },
		"close":    func(w []string) string { return outcome(proxyCloseStream(number(w[0]))) },
		"raw": func(w []string) string {
			arguments := make([]uint32, len(w)-1)
			for i, word := range w[1:] {
				arguments[i] = number(word)
			}
			return outcome(raw[w[0]](arguments))
		},
		"write": func(w []string) string { // fd, then texts that become one buffer each
			iovs := make([]uint32, 0, 8)
			for _, word := range w[1:] {
				s := strings.ReplaceAll(text(word), "|", "\n")
				iovs = append(iovs, at(unsafe.Pointer(unsafe.StringData(s))), uint32(len(s)))
			}
			code := fdWrite(number(w[0]), at(unsafe.Pointer(unsafe.SliceData(iovs))), uint32(len(w)-1), numberAt)
			return errno(code, uint64(result.number))
		},
		"random": func(w []string) string {
			size := number(w[0])
			b := make([]byte, size)
			code := randomGet(at(unsafe.Pointer(unsafe.SliceData(b))), size)
			return errno(code, binary.LittleEndian.Uint64(b))
		},
		"environ": func(w []string) string {
			code := environSizesGet(numberAt, sizeAt)
			return errno(code, uint64(result.number+result.size))
		},
		"poll": func(w []string) string {
			result.number = 77
			code := pollOneoff(0, 0, 1, numberAt)
			return errno(code, uint64(result.number))
		},
		"mapwalk": func(w []string) string { // Go's map iteration order, which random_get seeds
			m, order := map[int]bool{1: true, 2: true, 3: true, 4: true, 5: true}, ""
			for k := range m {
				order += strconv.Itoa(k)
			}
			return order
		},
		"alloc": func(w []string) string {
			kept = append(kept, make([]byte, number(w[0])<<20))
			return "allocated"
		},
		"panic": func(w []string) string { panic(strings.Join(w, " ")) },
		"exit":  func(w []string) string { procExit(3); return "returned" },
	}
}

var statuses = []string{
	"Ok", "NotFound", "BadArgument", "SerializationFailure", "ParseFailure", "BadExpression", "InvalidMemoryAccess",
	"Empty", "CasMismatch", "ResultMismatch", "InternalFailure", "BrokenConnection", "Unimplemented",
}

func outcome(status uint32) string { return statuses[status] }

func errno(code uint32, value uint64) string {
	if code != 0 {
		return "errno " + strconv.Itoa(int(code))
	}
	return strconv.FormatUint(value, 10)
}

func numbered(status uint32) string {
	if status != 0 {
		return outcome(status)
	}
	last = result.number
	return outcome(status) + " " + strconv.Itoa(int(last))
}

func wide(status uint32) string {
	if status != 0 {
		return outcome(status)
	}
	return outcome(status) + " " + strconv.FormatUint(result.wide, 10)
}

func texted(status uint32) string {
	if status != 0 {
		return outcome(status)
	}
	return outcome(status) + " " + strconv.Quote(given())
}

func change(call func(kind, key, keySize, value, valueSize uint32) uint32, w []string) string {
	return outcome(with(text(w[1]), func(key, keySize uint32) uint32 {
		return with(text(w[2]), func(p, n uint32) uint32 { return call(number(w[0]), key, keySize, p, n) })
	}))
}

func text(word string) string {
	if word == "_" {
		return ""
	}
	return strings.ReplaceAll(word, "+", " ")
}

func path(word string) string { return strings.ReplaceAll(text(word), "/", "\x00") }

func number(word string) uint32 {
	if word == "$" {
		return last
	}
	n, err := strconv.ParseUint(word, 0, 32)
	if err != nil {
		panic(err)
	}
	return uint32(n)
}

func signed(word string) int64 {
	n, err := strconv.ParseInt(word, 0, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// serialized is a header map as the ABI has it, from words of name=value.
func serialized(words []string) string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(words)))
	var data []byte
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		value = text(value)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
		data = append(append(data, name...), 0)
		data = append(append(data, value...), 0)
	}
	return string(append(b, data...))
}
