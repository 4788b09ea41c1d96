package main

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// lastNumber is the newest number that a hostcall returned: a cas, a token or a metric id. Scripts
// write it as $.
var lastNumber uint32

// grpcStatus is the gRPC status of local replies: none, unless a script sets it.
var grpcStatus uint32 = 0xffffffff

// kept holds the memory that the alloc command allocated.
var kept [][]byte

// execute runs a script. It returns the number of the script's return command, or normal if there
// is none.
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
			command, ok = ownCommands[words[0]]
		}
		if !ok {
			panic("unknown command " + words[0])
		}
		logInfo(strings.Join(words, " ") + " -> " + command(words[1:]))
	}
	return normal
}

// commands are the commands of a script. In their arguments "_" stands for an empty string, "$" for
// the last number, "+" for a space, and in a property path "/" for NUL.
var commands map[string]func(w []string) string

// ownCommands are those of an ABI version that this guest has by a build tag.
var ownCommands map[string]func(w []string) string

func init() {
	commands = map[string]func(w []string) string{
		"say": func(w []string) string { return strings.Join(w, " ") },
		"get": func(w []string) string {
			status := withString(unescape(w[0]), func(p, n uint32) uint32 {
				return proxyGetSharedData(p, n, dataAt, sizeAt, numberAt)
			})
			if status != 0 {
				return statusName(status)
			}
			lastNumber = result.number
			return statusName(status) + " " + strconv.Quote(resultString()) + " cas " + strconv.Itoa(int(lastNumber))
		},
		"set": func(w []string) string {
			return statusName(withString(unescape(w[0]), func(key, keySize uint32) uint32 {
				return withString(unescape(w[1]), func(value, size uint32) uint32 {
					return proxySetSharedData(key, keySize, value, size, number(w[2]))
				})
			}))
		},
		"register": func(w []string) string {
			return withNumber(withString(unescape(w[0]), func(p, n uint32) uint32 { return proxyRegisterSharedQueue(p, n, numberAt) }))
		},
		"resolve": func(w []string) string {
			return withNumber(withString(unescape(w[0]), func(id, idSize uint32) uint32 {
				return withString(unescape(w[1]), func(p, n uint32) uint32 {
					return proxyResolveSharedQueue(id, idSize, p, n, numberAt)
				})
			}))
		},
		"enqueue": func(w []string) string {
			return statusName(withString(unescape(w[1]), func(p, n uint32) uint32 { return proxyEnqueueSharedQueue(number(w[0]), p, n) }))
		},
		"dequeue": func(w []string) string { return withText(proxyDequeueSharedQueue(number(w[0]), dataAt, sizeAt)) },
		"header": func(w []string) string {
			value, status := headerValue(number(w[0]), unescape(w[1]))
			if status != 0 {
				return statusName(status)
			}
			return statusName(status) + " " + strconv.Quote(value)
		},
		"add":     func(w []string) string { return changeHeader(proxyAddHeaderMapValue, w) },
		"replace": func(w []string) string { return changeHeader(proxyReplaceHeaderMapValue, w) },
		"remove": func(w []string) string {
			return statusName(withString(unescape(w[1]), func(p, n uint32) uint32 { return proxyRemoveHeaderMapValue(number(w[0]), p, n) }))
		},
		"pairs": func(w []string) string { return withText(proxyGetHeaderMapPairs(number(w[0]), dataAt, sizeAt)) },
		"setpairs": func(w []string) string {
			return statusName(withString(encodePairs(w[1:]), func(p, n uint32) uint32 { return proxySetHeaderMapPairs(number(w[0]), p, n) }))
		},
		"setmany": func(w []string) string { // map count: so many pairs a=b
			pairs := encodePairs(slices.Repeat([]string{"a=b"}, int(number(w[1]))))
			return statusName(withString(pairs, func(p, n uint32) uint32 { return proxySetHeaderMapPairs(number(w[0]), p, n) }))
		},
		"mapsize": func(w []string) string { return withNumber(proxyGetHeaderMapSize(number(w[0]), numberAt)) },
		"body": func(w []string) string {
			return withText(proxyGetBufferBytes(number(w[0]), number(w[1]), number(w[2]), dataAt, sizeAt))
		},
		"setbody": func(w []string) string {
			return statusName(withString(unescape(w[3]), func(p, n uint32) uint32 {
				return proxySetBufferBytes(number(w[0]), number(w[1]), number(w[2]), p, n)
			}))
		},
		"bodystatus": func(w []string) string { return withNumber(proxyGetBufferStatus(number(w[0]), numberAt, sizeAt)) },
		"tick":       func(w []string) string { return statusName(proxySetTickPeriodMilliseconds(number(w[0]))) },
		"time":       func(w []string) string { return withUint64(proxyGetCurrentTimeNanoseconds(wideAt)) },
		"clock":      func(w []string) string { return errno(clockTimeGet(number(w[0]), 0, wideAt), result.wide) },
		"loglevel":   func(w []string) string { return withNumber(proxyGetLogLevel(numberAt)) },
		"effective":  func(w []string) string { return statusName(proxySetEffectiveContext(number(w[0]))) },
		"done":       func(w []string) string { return statusName(proxyDone()) },
		"define": func(w []string) string {
			return withNumber(withString(unescape(w[1]), func(p, n uint32) uint32 { return proxyDefineMetric(number(w[0]), p, n, numberAt) }))
		},
		"increment": func(w []string) string { return statusName(proxyIncrementMetric(number(w[0]), signed(w[1]))) },
		"record":    func(w []string) string { return statusName(proxyRecordMetric(number(w[0]), uint64(signed(w[1])))) },
		"metric":    func(w []string) string { return withUint64(proxyGetMetric(number(w[0]), wideAt)) },
		"property": func(w []string) string {
			return withText(withString(propertyPath(w[0]), func(p, n uint32) uint32 { return proxyGetProperty(p, n, dataAt, sizeAt) }))
		},
		"setproperty": func(w []string) string {
			return statusName(withString(propertyPath(w[0]), func(key, keySize uint32) uint32 {
				return withString(unescape(w[1]), func(p, n uint32) uint32 { return proxySetProperty(key, keySize, p, n) })
			}))
		},
		"reply": func(w []string) string { // status details body header=value...
			return statusName(withString(unescape(w[1]), func(details, detailsSize uint32) uint32 {
				return withString(unescape(w[2]), func(body, bodySize uint32) uint32 {
					return withString(encodePairs(w[3:]), func(p, n uint32) uint32 {
						return proxySendLocalResponse(number(w[0]), details, detailsSize, body, bodySize, p, n, grpcStatus)
					})
				})
			}))
		},
		"grpcstatus": func(w []string) string { // of the replies that follow
			grpcStatus = number(w[0])
			return w[0]
		},
		"httpcall": func(w []string) string { // cluster time-out body header=value... | trailer=value...
			headers, trailers := w[3:], []string(nil)
			if i := slices.Index(headers, "|"); i >= 0 {
				headers, trailers = headers[:i], headers[i+1:]
			}
			t := ""
			if trailers != nil {
				t = encodePairs(trailers)
			}
			return withToken(withString(unescape(w[0]), func(cluster, clusterSize uint32) uint32 {
				return withString(encodePairs(headers), func(h, hSize uint32) uint32 {
					return withString(unescape(w[2]), func(body, bodySize uint32) uint32 {
						return withString(t, func(p, n uint32) uint32 {
							return proxyHTTPCall(cluster, clusterSize, h, hSize, body, bodySize, p, n, number(w[1]), numberAt)
						})
					})
				})
			}))
		},
		"status": func(w []string) string {
			if status := proxyGetStatus(numberAt, dataAt, sizeAt); status != 0 {
				return statusName(status)
			}
			return "Ok " + strconv.Itoa(int(result.number)) + " " + strconv.Quote(resultString())
		},
		"grpccall": func(w []string) string { // service time-out message name method metadata=value...
			return withToken(grpcStart(w[0], w[3], w[4], w[5:], func(a [8]uint32) uint32 {
				return withString(unescape(w[2]), func(p, n uint32) uint32 {
					return proxyGRPCCall(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], p, n, number(w[1]), numberAt)
				})
			}))
		},
		"grpcstream": func(w []string) string { // service name method metadata=value...
			return withToken(grpcStart(w[0], w[1], w[2], w[3:], func(a [8]uint32) uint32 {
				return proxyGRPCStream(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], numberAt)
			}))
		},
		"grpcsend": func(w []string) string { // token message end
			return statusName(withString(unescape(w[1]), func(p, n uint32) uint32 {
				return proxyGRPCSend(number(w[0]), p, n, number(w[2]))
			}))
		},
		"grpcclose":  func(w []string) string { return statusName(proxyGRPCClose(number(w[0]))) },
		"grpccancel": func(w []string) string { return statusName(proxyGRPCCancel(number(w[0]))) },
		"foreign": func(w []string) string { // name arguments
			result.data, result.size = nil, 0
			return withText(withString(w[0], func(name, nameSize uint32) uint32 {
				return withString(unquote(w[1]), func(p, n uint32) uint32 {
					return proxyCallForeignFunction(name, nameSize, p, n, dataAt, sizeAt)
				})
			}))
		},
		"compressed": func(w []string) string { // what has been compressed and uncompressed
			call := func(name, arguments string) (string, uint32) {
				result.data, result.size = nil, 0
				status := withString(name, func(name, nameSize uint32) uint32 {
					return withString(arguments, func(p, n uint32) uint32 {
						return proxyCallForeignFunction(name, nameSize, p, n, dataAt, sizeAt)
					})
				})
				return resultString(), status
			}
			text, status := call("compress", unescape(w[0]))
			if status == 0 {
				text, status = call("uncompress", text)
			}
			return statusName(status) + " " + strconv.Quote(text)
		},
		"continue": func(w []string) string { return statusName(proxyContinueStream(number(w[0]))) },
		"close":    func(w []string) string { return statusName(proxyCloseStream(number(w[0]))) },
		"raw": func(w []string) string {
			arguments := make([]uint32, len(w)-1)
			for i, word := range w[1:] {
				arguments[i] = number(word)
			}
			return statusName(raw[w[0]](arguments))
		},
		"write": func(w []string) string { // fd, then one text for each buffer
			iovs := make([]uint32, 0, 8)
			for _, word := range w[1:] {
				s := strings.ReplaceAll(unescape(word), "|", "\n")
				iovs = append(iovs, address(unsafe.Pointer(unsafe.StringData(s))), uint32(len(s)))
			}
			code := fdWrite(number(w[0]), address(unsafe.Pointer(unsafe.SliceData(iovs))), uint32(len(w)-1), numberAt)
			return errno(code, uint64(result.number))
		},
		"random": func(w []string) string {
			size := number(w[0])
			b := make([]byte, size)
			code := randomGet(address(unsafe.Pointer(unsafe.SliceData(b))), size)
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
		"mapwalk": func(w []string) string { // the order of a range over a map, which depends on random_get
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

var statusNames = []string{
	"Ok", "NotFound", "BadArgument", "SerializationFailure", "ParseFailure", "BadExpression", "InvalidMemoryAccess",
	"Empty", "CasMismatch", "ResultMismatch", "InternalFailure", "BrokenConnection", "Unimplemented",
}

func statusName(status uint32) string {
	if int(status) >= len(statusNames) { // of a hostcall that this host does not have
		return strconv.Itoa(int(status))
	}
	return statusNames[status]
}

func errno(code uint32, value uint64) string {
	if code != 0 {
		return "errno " + strconv.Itoa(int(code))
	}
	return strconv.FormatUint(value, 10)
}

func withNumber(status uint32) string {
	if status != 0 {
		return statusName(status)
	}
	lastNumber = result.number
	return statusName(status) + " " + strconv.Itoa(int(lastNumber))
}

// withToken is withNumber, but a callout that failed has a token, too: 0.
func withToken(status uint32) string {
	token := result.number
	result.number = 99
	if status != 0 {
		return statusName(status) + " token " + strconv.Itoa(int(token))
	}
	lastNumber = token
	return statusName(status) + " " + strconv.Itoa(int(lastNumber))
}

// grpcStart encodes the arguments that a gRPC call and a gRPC stream share. A service "=name"
// stands for a GrpcService message with the cluster of this name, and any other one for its own
// bytes.
func grpcStart(service, name, method string, metadata []string, call func(a [8]uint32) uint32) uint32 {
	service = unquote(service)
	if cluster, ok := strings.CutPrefix(service, "="); ok {
		target := "\x0a" + string(rune(len(cluster))) + cluster // EnvoyGrpc.cluster_name
		service = "\x0a" + string(rune(len(target))) + target   // GrpcService.envoy_grpc
	}
	pairs := ""
	if len(metadata) > 0 {
		pairs = encodePairs(metadata)
	}
	return withString(service, func(s, sSize uint32) uint32 {
		return withString(unescape(name), func(n, nSize uint32) uint32 {
			return withString(unescape(method), func(m, mSize uint32) uint32 {
				return withString(pairs, func(p, pSize uint32) uint32 {
					return call([8]uint32{s, sSize, n, nSize, m, mSize, p, pSize})
				})
			})
		})
	})
}

func withUint64(status uint32) string {
	if status != 0 {
		return statusName(status)
	}
	return statusName(status) + " " + strconv.FormatUint(result.wide, 10)
}

func withText(status uint32) string {
	if status != 0 {
		return statusName(status)
	}
	return statusName(status) + " " + strconv.Quote(resultString())
}

func changeHeader(call func(kind, key, keySize, value, valueSize uint32) uint32, w []string) string {
	return statusName(withString(unescape(w[1]), func(key, keySize uint32) uint32 {
		return withString(unescape(w[2]), func(p, n uint32) uint32 { return call(number(w[0]), key, keySize, p, n) })
	}))
}

func unescape(word string) string {
	if word == "_" {
		return ""
	}
	return strings.ReplaceAll(word, "+", " ")
}

// unquote is unescape, and also reads bytes that are written as in Go, like \x00.
func unquote(word string) string {
	word = unescape(word)
	if s, err := strconv.Unquote("\"" + word + "\""); err == nil {
		return s
	}
	return word
}

func propertyPath(word string) string { return strings.ReplaceAll(unescape(word), "/", "\x00") }

func number(word string) uint32 {
	if word == "$" {
		return lastNumber
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

// encodePairs encodes words "name=value" as a header map, in the format of the ABI.
func encodePairs(words []string) string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(words)))
	var data []byte
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		value = unescape(value)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(value)))
		data = append(append(data, name...), 0)
		data = append(append(data, value...), 0)
	}
	return string(append(b, data...))
}
