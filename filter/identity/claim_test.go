package identity_test

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/streamlatch/streamlatch/filter/identity"
)

type (
	object = map[string]any
	list   = []any
)

// verified returns the dynamic metadata of a stream for which jwt_authn has left this payload under
// the name "payload", as Envoy serializes it. Around it is metadata that other filters left, typed
// metadata too.
func verified(payload object) string {
	others := mapEntry("envoy.filters.http.ext_authz", object{"payload": object{"sub": "mallory"}, "sub": "mallory"})
	typed := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), []byte("\n\x01x\x12\x04\n\x02ab"))
	return string(others) + string(typed) +
		string(mapEntry("envoy.filters.http.jwt_authn", object{"payload": payload, "other": object{"sub": "bob"}})) + string(others)
}

// mapEntry is wrapped for a serialized Struct.
func mapEntry(name string, value object) []byte {
	structure, err := structpb.NewStruct(value)
	if err != nil {
		panic(err)
	}
	data, err := proto.Marshal(structure)
	if err != nil {
		panic(err)
	}
	return wrapped(name, data)
}

// wrapped returns a message with one field: a map that has this entry.
func wrapped(name string, value []byte) []byte {
	entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), value)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), entry)
}

func claim(path ...string) identity.Source {
	return identity.Source{Kind: identity.JWTClaim, Name: "payload", Path: path}
}

func TestJWTClaim(t *testing.T) {
	payload := object{
		"iss": "https://issuer.example", "aud": list{"a", "b"}, "exp": 4102444800.0,
		"sub": "42", "number": 42.0, "eight": "12345678", "zero": 0.0, "negative": -7.0, "minus zero": math.Copysign(0, -1),
		"largest": float64(1<<53 - 1), "smallest": -float64(1<<53 - 1), "rounded": float64(1 << 53), "huge": 1e300,
		"fraction": 0.5, "infinite": math.Inf(1), "nan": math.NaN(),
		"true": true, "false": false, "null": nil, "empty": "", "list": list{"a"}, "nothing": object{}, "bytes": "\x00\u00e9",
		"a": object{"b": object{"c": "deep", "n": 3.0}, "": "unnamed"}, "a.b": "dotted",
		"forged": string(wrapped("sub", []byte("\x1a\x03ann"))),
	}
	for _, test := range []struct {
		about string
		path  []string
		want  string
	}{
		{"string", []string{"sub"}, "42"},
		{"number", []string{"number"}, "42"},
		{"string as long as a number", []string{"eight"}, "12345678"},
		{"zero", []string{"zero"}, "0"},
		{"minus zero", []string{"minus zero"}, "0"},
		{"negative", []string{"negative"}, "-7"},
		{"seconds since 1970", []string{"exp"}, "4102444800"},
		{"largest", []string{"largest"}, "9007199254740991"},
		{"smallest", []string{"smallest"}, "-9007199254740991"},
		{"2^53, ambiguous as a double", []string{"rounded"}, missing},
		{"huge", []string{"huge"}, missing},
		{"fraction", []string{"fraction"}, missing},
		{"infinite", []string{"infinite"}, missing},
		{"not a number", []string{"nan"}, missing},
		{"true", []string{"true"}, missing},
		{"false", []string{"false"}, missing},
		{"null", []string{"null"}, missing},
		{"empty", []string{"empty"}, missing},
		{"list", []string{"list"}, missing},
		{"item of a list", []string{"list", "0"}, missing},
		{"object", []string{"a"}, missing},
		{"empty object", []string{"nothing"}, missing},
		{"bytes", []string{"bytes"}, "\x00\u00e9"},
		{"nested", []string{"a", "b", "c"}, "deep"},
		{"nested number", []string{"a", "b", "n"}, "3"},
		{"empty name", []string{"a", ""}, "unnamed"},
		{"dots do not separate names", []string{"a.b"}, "dotted"},
		{"missing", []string{"nobody"}, missing},
		{"missing, nested", []string{"a", "x", "c"}, missing},
		{"in a string", []string{"sub", "sub"}, missing},
		{"in a string with the bytes of an object", []string{"forged", "sub"}, missing},
		{"case of the name", []string{"Sub"}, missing},
		{"the whole payload", nil, missing},
	} {
		t.Run(test.about, func(t *testing.T) {
			testSource(t, claim(test.path...), request{property("metadata"): verified(payload)}, test.want)
		})
	}
}

// A claim is read only from what jwt_authn left, and only under the configured name.
func TestJWTClaimElsewhere(t *testing.T) {
	source := claim("sub")
	for about, metadata := range map[string]string{
		"by another filter":        string(mapEntry("envoy.filters.http.ext_authz", object{"payload": object{"sub": "ann"}})),
		"under another name":       string(mapEntry("envoy.filters.http.jwt_authn", object{"Payload": object{"sub": "ann"}})),
		"beside the payload":       string(mapEntry("envoy.filters.http.jwt_authn", object{"sub": "ann"})),
		"payload that is a string": string(mapEntry("envoy.filters.http.jwt_authn", object{"payload": "sub"})),
		"typed metadata":           "\x12" + string(mapEntry("envoy.filters.http.jwt_authn", object{"payload": object{"sub": "ann"}}))[1:],
		"no metadata":              "",
	} {
		t.Run(about, func(t *testing.T) {
			testSource(t, source, request{property("metadata"): metadata}, missing)
		})
	}
	t.Run("no property", func(t *testing.T) { testSource(t, source, request{}, missing) })
	source.Name = "other"
	t.Run("two providers", func(t *testing.T) {
		testSource(t, source, request{property("metadata"): verified(object{"sub": "ann"})}, "bob")
	})
}

// A whole number has the same key as the string with its digits.
func TestNumbersAndStringsAlike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Int64Range(-(1<<53-1), 1<<53-1).Draw(rt, "n")
		number, _ := readSource(t, claim("sub"), request{property("metadata"): verified(object{"sub": float64(n)})})
		text, _ := readSource(t, claim("sub"), request{property("metadata"): verified(object{"sub": strconv.FormatInt(n, 10)})})
		if number != text || number == "" {
			rt.Fatalf("%d: the number gives %q, the string %q", n, number, text)
		}
	})
}

// Protobuf allows a field to be repeated in a message. The last one counts.
func TestLastValueCounts(t *testing.T) {
	first := mapEntry("envoy.filters.http.jwt_authn", object{"payload": object{"sub": "ann"}})
	last := mapEntry("envoy.filters.http.jwt_authn", object{"payload": object{"sub": "bob"}})
	testSource(t, claim("sub"), request{property("metadata"): string(first) + string(last)}, "bob")

	// A Value that is a string first and then a number.
	value := "\x1a\x03ann\x11" + string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(5)))
	payload := wrapped("payload", append([]byte{0x2a, byte(len(wrapped("sub", []byte(value))))}, wrapped("sub", []byte(value))...))
	testSource(t, claim("sub"), request{property("metadata"): string(wrapped("envoy.filters.http.jwt_authn", payload))}, "5")
}

// Truncated or malformed metadata has no claims. Unknown fields are ignored.
func TestTruncatedMetadata(t *testing.T) {
	whole := string(mapEntry("envoy.filters.http.jwt_authn", object{"payload": object{"sub": "ann", "other": object{"n": 1.0}}}))
	for n := range whole {
		testSource(t, claim("sub"), request{property("metadata"): whole[:n]}, missing)
	}
	testSource(t, claim("sub"), request{property("metadata"): whole}, "ann")
	unknownFields := []string{"\x1112345678", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"}
	for _, tail := range unknownFields {
		testSource(t, claim("sub"), request{property("metadata"): whole + tail}, "ann")
	}
	for about, tail := range map[string]string{
		"a length of 2^63":              "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"an endless varint":             strings.Repeat("\xff", 20),
		"a group":                       strings.Repeat("\x0b", 1<<16),
		"the end of a group":            "\x0c",
		"field 0":                       "\x00\x00",
		"an unknown wire type":          "\x0f",
		"32 bits":                       "\x0d1234",
		"an incomplete 64-bit field":    "\x111234567",
		"a varint of more than 64 bits": "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"a malformed entry":             "\x0a\x02\x0a\x7f",
	} {
		t.Run(about, func(t *testing.T) {
			testSource(t, claim("sub"), request{property("metadata"): whole + tail}, missing)
		})
	}
}

// Large and deep payloads are read too.
func TestHugePayload(t *testing.T) {
	const many = 1 << 17
	huge := strings.Repeat("\x00", many)
	payload := strings.Repeat(string(wrapped("a", []byte("\x1a\x01b"))), many) + string(wrapped("sub", []byte("\x1a\x80\x80\x08"+huge)))
	value := string(protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), []byte(payload)))
	metadata := string(wrapped("envoy.filters.http.jwt_authn", wrapped("payload", []byte(value))))
	if got, _ := readSource(t, claim("sub"), request{property("metadata"): metadata}); got != huge {
		t.Errorf("got %d bytes, want %d", len(got), many)
	}
	testSource(t, claim("a"), request{property("metadata"): metadata}, "b")
	deep := "\x1a\x01x"
	for range 1 << 10 {
		deep = string(protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), wrapped("a", []byte(deep))))
	}
	metadata = string(wrapped("envoy.filters.http.jwt_authn", wrapped("payload", []byte(deep))))
	testSource(t, claim("a", "a", "a"), request{property("metadata"): metadata}, missing)
	testSource(t, claim(strings.Split(strings.Repeat("a", 1<<10), "")...), request{property("metadata"): metadata}, "x")
}

// structpb is the reference for every Struct that it serializes. Other bytes must do no harm.
func FuzzJWTClaim(f *testing.F) {
	for _, payload := range []object{
		{"sub": "ann", "a": object{"sub": 42.0}},
		{"sub": object{"sub": nil}, "a": list{1.0, true}},
		{"sub": 1e16, "": object{"": "x"}},
	} {
		data, err := proto.Marshal(&structpb.Struct{Fields: map[string]*structpb.Value{"payload": must(structpb.NewValue(payload))}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "payload", "sub", "sub")
		f.Add(data, "payload", "a", "sub")
		f.Add(data[:len(data)-1], "payload", "", "")
	}
	f.Fuzz(func(t *testing.T, data []byte, name, outer, inner string) {
		sources := []identity.Source{
			{Kind: identity.JWTClaim, Name: name, Path: []string{outer}},
			{Kind: identity.JWTClaim, Name: name, Path: []string{outer, inner}},
		}
		for _, source := range sources {
			readSource(t, source, request{property("metadata"): string(data)})
			readSource(t, source, request{property("metadata"): string(wrapped("envoy.filters.http.jwt_authn", data))})
		}
		var message structpb.Struct
		if proto.Unmarshal(data, &message) != nil {
			return // not a Struct, so there is nothing to compare with
		}
		message.ProtoReflect().SetUnknown(nil)
		canonical, err := proto.Marshal(&message)
		if err != nil {
			return // a Value in it has no kind, so it cannot be serialized
		}
		for _, source := range sources {
			want := wantClaim(message.Fields[name], source.Path)
			got, _ := readSource(t, source, request{property("metadata"): string(wrapped("envoy.filters.http.jwt_authn", canonical))})
			if got != want {
				t.Errorf("%q of %v: got %q, want %q", source.Path, &message, got, want)
			}
		}
	})
}

// wantClaim returns the value that a claim has in a key, "" if it is missing.
func wantClaim(value *structpb.Value, path []string) string {
	for _, name := range path {
		value = value.GetStructValue().GetFields()[name]
	}
	switch kind := value.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue
	case *structpb.Value_NumberValue:
		if n := int64(kind.NumberValue); float64(n) == kind.NumberValue && -(1<<53) < n && n < 1<<53 {
			return strconv.FormatInt(n, 10)
		}
	}
	return ""
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func BenchmarkJWTClaim(b *testing.B) {
	req := request{property("metadata"): verified(object{
		"iss": "me", "aud": "https://api.example.com", "azp": "client-1234", "exp": 4102444800.0, "iat": 1700000000.0,
		"scope": "read write openid", "realm_access": object{"roles": list{"a", "b", "c", "offline_access"}},
		"name": "Ann Example", "email": "ann@example.org", "sub": "6e0d3b7c-7a77-4f3a-9c3d-1c2b3a4d5e6f",
	})}
	buffer := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		identity.Sources{claim("sub")}.Append(buffer, req)
	}
}
