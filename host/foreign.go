package host

import (
	"bytes"
	"compress/zlib"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"io"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// ForeignFunction is a function of [Config.ForeignFunctions]. It gets the guest's arguments and
// returns what proxy_call_foreign_function returns.
type ForeignFunction func(arguments []byte) (result []byte, status Status)

// builtinForeignFunctions are those of Envoy.
//
// Envoy: source/extensions/common/wasm/foreign.cc.
var builtinForeignFunctions = map[string]func(v *vm, arguments []byte) ([]byte, Status){
	"compress":               foreignCompress,
	"uncompress":             foreignUncompress,
	"clear_route_cache":      foreignClearRouteCache,
	"declare_property":       foreignDeclareProperty,
	"set_envoy_filter_state": foreignSetFilterState,
	"sign":                   foreignSign,
	"verify_signature":       foreignVerifySignature,
	"expr_create":            foreignWithoutCEL("expr_create"),
	"expr_evaluate":          foreignWithoutCEL("expr_evaluate"),
	"expr_delete":            foreignWithoutCEL("expr_delete"),
}

// foreignWithoutCEL is Unimplemented, because this package has no implementation of CEL. NotFound
// would say that the name is wrong. The log names the function, because many guests drop the
// status.
func foreignWithoutCEL(name string) func(v *vm, arguments []byte) ([]byte, Status) {
	return func(v *vm, _ []byte) ([]byte, Status) {
		v.world.log(v.thread, LogError, "foreign function "+strconv.Quote(name)+": the test host has no CEL; supply it with host.Config.ForeignFunctions")
		return nil, StatusUnimplemented
	}
}

// foreignCompress returns the arguments in the format of zlib. Its bytes are not those of Envoy's
// compressor, but what they uncompress to is.
func foreignCompress(_ *vm, arguments []byte) ([]byte, Status) {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(arguments) // never fails
	w.Close()
	return b.Bytes(), StatusOk
}

// foreignUncompress is SerializationFailure for anything that is not a whole zlib stream. What
// follows the stream is ignored.
func foreignUncompress(_ *vm, arguments []byte) ([]byte, Status) {
	r, err := zlib.NewReader(bytes.NewReader(arguments))
	if err != nil {
		return nil, StatusSerializationFailure
	}
	result, err := io.ReadAll(io.LimitReader(r, maxMemoryPages<<16))
	if err != nil {
		return nil, StatusSerializationFailure
	}
	return result, StatusOk
}

func foreignClearRouteCache(v *vm, _ []byte) ([]byte, Status) {
	if s := v.context().stream; s != nil {
		s.routeClears++
	}
	return nil, StatusOk
}

// protoFields reads a Protocol Buffers message whose fields are strings, bytes or varints. It
// returns false if there is another wire type where a known field is expected, or if the message is
// cut.
func protoFields(b []byte) (text map[protowire.Number][]byte, number map[protowire.Number]uint64, ok bool) {
	text, number = make(map[protowire.Number][]byte), make(map[protowire.Number]uint64)
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, nil, false
		}
		b = b[n:]
		switch typ {
		case protowire.BytesType:
			value, size := protowire.ConsumeBytes(b)
			text[field], n = value, size
		case protowire.VarintType:
			value, size := protowire.ConsumeVarint(b)
			number[field], n = value, size
		default:
			n = protowire.ConsumeFieldValue(field, typ, b)
		}
		if n < 0 {
			return nil, nil, false
		}
		b = b[n:]
	}
	return text, number, true
}

// propertyPrototype is what declare_property said about a property.
type propertyPrototype struct{ readOnly bool }

// foreignDeclareProperty declares a property that proxy_set_property will create. It is of use only
// in a callback of the plugin: in a callback of a stream, the declaration is Ok and has no effect,
// because Envoy looks for it in the plugin's context. The type of the property is not copied: all
// of them are read as bytes.
//
// Arguments: DeclarePropertyArguments of ext/declare_property.proto.
//
//   - BadArgument: the arguments are no such message, or the property has been declared before
func foreignDeclareProperty(v *vm, arguments []byte) ([]byte, Status) {
	text, number, ok := protoFields(arguments)
	c, name := v.current, string(text[1])
	if _, declared := c.prototypes[name]; !ok || declared {
		return nil, StatusBadArgument
	}
	if c.prototypes == nil {
		c.prototypes = make(map[string]propertyPrototype)
	}
	c.prototypes[name] = propertyPrototype{readOnly: number[2] != 0}
	return nil, StatusOk
}

// foreignSetFilterState sets an object of Envoy's own filter state, which a later filter or the
// router reads. [Stream.FilterState] shows it under its path.
//
// Arguments: SetEnvoyFilterStateArguments of ext/set_envoy_filter_state.proto.
//
//   - NotFound: Envoy has no kind of object for this path, or the context has no stream
//   - BadArgument: the arguments are no such message, or the value is none of that kind
func foreignSetFilterState(v *vm, arguments []byte) ([]byte, Status) {
	text, _, ok := protoFields(arguments)
	if !ok {
		return nil, StatusBadArgument
	}
	object, known := filterStateObjects[string(text[1])]
	switch s := v.context().session; {
	case !known:
		return nil, StatusNotFound
	case !object.valid(string(text[2])):
		return nil, StatusBadArgument
	case s == nil:
		return nil, StatusNotFound
	default:
		s.filterState[string(text[1])] = slices.Clone(text[2])
		return nil, StatusOk
	}
}

// hashFunctions are the names that sign and verify_signature know.
var hashFunctions = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
}

// keyBytes returns a key in DER: that of one field, or the one in PEM of another field. Both fields
// together are refused, and neither. What is no PEM is an empty key.
func keyBytes(der, text []byte) (key []byte, ok bool) {
	if len(der) > 0 || len(text) == 0 {
		return der, len(der) > 0 && len(text) == 0
	}
	if block, _ := pem.Decode(text); block != nil {
		return block.Bytes, true
	}
	return nil, true
}

// foreignVerifySignature checks a signature by RSA (PKCS #1 v1.5) or ECDSA.
//
// Arguments and result: ext/verify_signature.proto.
//
//   - BadArgument: the arguments are no such message, or have no key
func foreignVerifySignature(_ *vm, arguments []byte) ([]byte, Status) {
	text, _, ok := protoFields(arguments)
	der, okKey := keyBytes(text[2], text[5])
	if !ok || !okKey {
		return nil, StatusBadArgument
	}
	hash, known := hashFunctions[strings.ToLower(string(text[1]))]
	if !known {
		return signatureResult(nil, string(text[1])+" is not supported."), StatusOk
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return signatureResult(nil, "Failed to initialize digest verify."), StatusOk
	}
	digest := hash.New()
	digest.Write(text[4])
	valid := false
	switch key := key.(type) {
	case *rsa.PublicKey:
		valid = rsa.VerifyPKCS1v15(key, hash, digest.Sum(nil), text[3]) == nil
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(key, digest.Sum(nil), text[3])
	}
	if !valid {
		return signatureResult(nil, "Failed to verify digest. Error code: 0"), StatusOk
	}
	return signatureResult(nil, ""), StatusOk
}

// foreignSign makes a signature by RSA (PKCS #1 v1.5) or ECDSA. With ECDSA each is different, and
// the seed does not determine it.
//
// Arguments and result: ext/sign.proto.
//
//   - BadArgument: the arguments are no such message, or have no key
func foreignSign(_ *vm, arguments []byte) ([]byte, Status) {
	text, _, ok := protoFields(arguments)
	der, okKey := keyBytes(text[2], text[4])
	if !ok || !okKey {
		return nil, StatusBadArgument
	}
	hash, known := hashFunctions[strings.ToLower(string(text[1]))]
	if !known {
		return signatureResult(errSignature, string(text[1])+" is not supported."), StatusOk
	}
	signer := parsePrivateKey(der, len(text[4]) > 0)
	if signer == nil {
		return signatureResult(errSignature, "Invalid key type: private key required for signing operation."), StatusOk
	}
	digest := hash.New()
	digest.Write(text[3])
	signature, err := signer.Sign(rand.Reader, digest.Sum(nil), hash)
	if err != nil {
		return signatureResult(errSignature, "Failed to create signature."), StatusOk
	}
	return signatureResult(signature, ""), StatusOk
}

// parsePrivateKey reads a key in the form of PKCS #8, and one that came as PEM also in an older
// form. It returns nil if it is none.
func parsePrivateKey(der []byte, fromPEM bool) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil && fromPEM {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil && fromPEM {
		return key
	}
	return nil
}

// errSignature stands for the signature of a SignResult with an error.
var errSignature = []byte{}

// signatureResult encodes SignResult, and for a nil signature VerifySignatureResult. The result is
// true if there is no error.
func signatureResult(signature []byte, message string) (b []byte) {
	if message == "" {
		b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 1)
	}
	errorField := protowire.Number(2)
	if signature != nil {
		errorField = 3
	}
	if len(signature) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), signature)
	}
	if message != "" {
		b = protowire.AppendString(protowire.AppendTag(b, errorField, protowire.BytesType), message)
	}
	return b
}
