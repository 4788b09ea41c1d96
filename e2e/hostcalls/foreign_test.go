package hostcalls

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// message encodes a Protocol Buffers message for a script: strings and numbers by field.
func message(fields ...any) string {
	var b []byte
	for i := 0; i < len(fields); i += 2 {
		field := protowire.Number(fields[i].(int))
		switch value := fields[i+1].(type) {
		case string:
			b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
		case int:
			b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(value))
		}
	}
	return word(string(b))
}

// word writes bytes as a word of a script.
func word(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	if s == "" {
		return "_"
	}
	return b.String()
}

// Foreign functions of Envoy.
func TestForeignFunctions(t *testing.T) {
	d := func(name, script string) dialogue {
		return dialogue{name: name, scripts: []string{"request-headers", script}}
	}
	dialogues := []dialogue{
		d("no such function", "foreign nope _; foreign _ _"),
		d("uncompress", "foreign uncompress "+word("x\x9c\xcbH\xcd\xc9\xc9\a\x00\x06,\x02\x15")+"; foreign uncompress _; foreign uncompress nonsense"),
		d("uncompress what is cut", "foreign uncompress "+word("x\x9c\xcbH\xcd\xc9\xc9\a\x00\x06,")+"; foreign uncompress "+word("x\x9c\xcbH")),
		d("uncompress with more behind it", "foreign uncompress "+word("x\x9c\xcbH\xcd\xc9\xc9\a\x00\x06,\x02\x15more")),
		d("uncompress what has a wrong sum", "foreign uncompress "+word("x\x9c\xcbH\xcd\xc9\xc9\a\x00\x06,\x02\x16")),
		d("uncompress nothing", "foreign uncompress "+word("x\x9c\x03\x00\x00\x00\x00\x01")),
		d("clear_route_cache", "foreign clear_route_cache _; foreign clear_route_cache x"),
		d("declare_property in a stream", "foreign declare_property "+message(1, "p", 2, 1)+"; foreign declare_property "+message(1, "p")+
			"; setproperty p a; setproperty p b; property p; foreign declare_property nonsense; foreign declare_property _"),
		{name: "declare_property in the plugin", scripts: []string{
			"request-headers", "httpcall backend 0 _ :path=/ :method=GET :authority=a; return 1",
			"plugin-http-call-response", "foreign declare_property " + message(1, "q", 2, 1) + "; foreign declare_property " + message(1, "q") +
				"; effective $id; setproperty q a; setproperty q b; property q; property filter_state/wasm.q; continue 0"}},
		d("bad arguments", "foreign set_envoy_filter_state nonsense; foreign set_envoy_filter_state _; foreign set_envoy_filter_state "+message(1, "nope", 2, "x")),
		{name: "set_envoy_filter_state without a stream", scripts: []string{
			"request-headers", "httpcall backend 0 _ :path=/ :method=GET :authority=a; return 1",
			"plugin-http-call-response", "foreign set_envoy_filter_state " + message(1, "envoy.tcp_proxy.cluster", 2, "x") +
				"; foreign clear_route_cache _; effective $id; continue 0"}},
	}
	for _, path := range []string{"filters.listener.original_dst.local_ip", "filters.listener.original_dst.remote_ip", "hashable_string", "string",
		"network.application_protocols", "network.ip", "network.network_namespace", "network.transport_socket.original_dst_address",
		"network.upstream_bind_override.network_namespace", "network.upstream_server_name", "network.upstream_subject_alt_names",
		"network.proxy_protocol_options", "network.upstream_socket_options", "stream.upstream_address", "ratelimit.hits_addend",
		"tcp_proxy.cluster", "tcp_proxy.disable_tunneling", "tcp_proxy.per_connection_idle_timeout_ms", "upstream.dynamic_host", "upstream.dynamic_port",
		"http11_proxy_transport_socket.proxy_address"} {
		path = "envoy." + path
		script := ""
		for _, value := range []string{"x", "", "true", "17", "70000", "127.0.0.1", "127.0.0.1:80", "[::1]:80", "a,b"} {
			script += fmt.Sprintf("foreign set_envoy_filter_state %s; property filter_state/%s; property filter_state/%[2]s/port; property filter_state/%[2]s/ip; ",
				message(1, path, 2, value), path)
		}
		dialogues = append(dialogues, d(path, script))
	}
	key := privateKey(t)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := string(x509.MarshalPKCS1PrivateKey(key))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pkcs8)
	privatePEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	sum := sha256.Sum256([]byte("text"))
	signed, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	verify := func(fields ...any) string { return "foreign verify_signature " + message(fields...) + "; " }
	sign := func(fields ...any) string { return "foreign sign " + message(fields...) + "; " }
	compare(t, append(dialogues,
		d("verify_signature", verify(1, "sha256", 2, string(public), 3, string(signed), 4, "text")+verify(1, "SHA256", 2, string(public), 3, string(signed), 4, "text")+
			verify(1, "sha256", 2, string(public), 3, string(signed), 4, "other")+verify(1, "sha1", 2, string(public), 3, string(signed), 4, "text")),
		d("verify_signature with PEM", verify(1, "sha256", 5, text, 3, string(signed), 4, "text")+verify(1, "sha256", 5, text, 2, string(public), 3, string(signed), 4, "text")),
		d("verify_signature refuses", verify(1, "md5", 2, string(public), 3, string(signed), 4, "text")+verify(1, "sha256", 2, "x", 3, string(signed), 4, "text")+
			verify()+verify(1, "sha256", 3, "x", 4, "x")+verify(1, "sha256", 2, string(public), 3, "short", 4, "text")+"foreign verify_signature nonsense"),
		d("sign with PEM", sign(1, "sha256", 4, privatePEM, 3, "text")+sign(1, "sha256", 4, privateKeyPEM, 3, "text")+sign(1, "sha256", 4, "x", 3, "x")+
			verify(1, "sha256", 5, "x", 3, string(signed), 4, "text")),
		d("sign with PKCS 1", sign(1, "sha256", 2, pkcs1, 3, "text")),
		d("sign", sign(1, "sha256", 2, private, 3, "text")+sign(1, "sha512", 2, private, 3, "text")+sign(1, "md5", 2, private, 3, "text")+sign(1, "sha256", 3, "x")+sign(1, "sha256", 2, "x", 3, "x")),
	))
}

// What Envoy has compressed, it uncompresses; so does the test host. The bytes between differ.
func TestCompress(t *testing.T) {
	compare(t, []dialogue{{name: "there and back", scripts: []string{"request-headers", "compressed hello; compressed _"}}})
}

func privateKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(privateKeyPEM))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// privateKeyPEM is a key for these tests only.
const privateKeyPEM = `-----BEGIN RSA PRIVATE KEY-----
MIICXgIBAAKBgQCX9Tzmye00Ugin+1HHr9DCUhRmZOp0jiWOBM5W/ODSfDy+AmG+
rfR1dEIniZ+ozCaCh/+1yici+wky2XhJhFmYr6flLgXHAgGCTNKxE0vxHMhXXqgM
s+dHN3PZjhgesYbWV3+6g1po5K7urCe7AewGQoYP9SxrJUGPA6Xmbt/PLwIDAQAB
AoGBAJJdh+SweMbdgTL0EuhpQ4X4c2fRKjdMN4YcwPbuqkpzmjpWpvl4Kq/7ZEEb
AWsgALPX9QiQB7Rc4pZU+9SsI3M/NWwnRxruB1qxCqQC6Zek9CTj8DDUV8sxEVDB
329Zlpy1OGh1NX3uXfeJ/yzTdpm7wrkMZbxYq4+lzx6r0kEZAkEAyGH1ksXkFnH+
P/naFl0gWQzzUT9O1Atmwd8N496TP/QNHDpGAPK3BF7tmC+xJfv8RRBBZh+EQBHG
EKr9khLhSwJBAMIif32l1udAqKg2v1rNRD7HdNdycoOVM0vghQGTAcX5uF2Ym/l4
Fhx2mrTfuQgROVPsqy/MBiH5XythUNcefy0CQGX8DWttEmAmFlvjQw78yLjp8XCZ
gvpC70Kezsf6AQGcqYuDURusbF9qHQzGwSdu738K/e4G/l1JboAPNs1AlK8CQQCE
lHTHBXwHgFPuVT1HsMl7qlG0VVe5XyqiFhofohri7pEncnKK46UOGT28atF9ne2t
0AJ06PwDNb/160b/MredAkEAsrgripf6jYNQOpzUrrkdvGCJDyI/VeJFynqAGUbc
TMOCFwlM5aDuLnQ+y2uFmYl1mBcS3UiyvHIViRTJtafXYA==
-----END RSA PRIVATE KEY-----
`
