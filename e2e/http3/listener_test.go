package http3

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// edgeName is the name in Envoy's certificate.
const edgeName = "edge.example"

// listenerName is the name of Envoy's listener for HTTP/3.
const listenerName = rig.Edge + "_http3"

// certificate is Envoy's, signed by itself.
type certificate struct {
	parsed *x509.Certificate
	key    []byte // PKCS #8
}

func newCertificate(t *testing.T) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject:      pkix.Name{CommonName: edgeName},
		DNSNames:     []string{edgeName},
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate{parsed, pkcs8}
}

// client is how a client that trusts Envoy connects.
func (c certificate) client() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(c.parsed)
	return &tls.Config{RootCAs: roots, ServerName: edgeName, NextProtos: []string{"h3"}}
}

// listener adds a listener for HTTP/3 to envoy.yaml. It is the listener for TCP but for what QUIC
// needs, so both name one vm_id and one filter.
func (c certificate) listener(config string) (string, error) {
	const begin, end = "  - name: " + rig.Edge + "\n", "\n  clusters:\n"
	_, tcp, _ := strings.Cut(config, begin)
	tcp, _, found := strings.Cut(tcp, end)
	if !found {
		return "", fmt.Errorf("no listener between %q and %q", begin, end)
	}
	socket, err := c.transportSocket()
	if err != nil {
		return "", err
	}
	udp := begin + tcp
	for _, edit := range []rig.Edit{
		rig.Replace(begin, "  - name: "+listenerName+"\n    udp_listener_config: {quic_options: {}}\n"),
		rig.Replace("socket_address: {address:", "socket_address: {protocol: UDP, address:"),
		rig.Replace("    - filters:\n", "    - transport_socket: "+socket+"\n      filters:\n"),
		rig.Replace("codec_type: AUTO", "codec_type: HTTP3"),
		rig.Replace("stat_prefix: "+rig.Edge+"\n", "stat_prefix: "+listenerName+"\n"),
	} {
		if udp, err = edit(udp); err != nil {
			return "", err
		}
	}
	return rig.Replace(end, "\n"+udp+end)(config)
}

// transportSocket is JSON, which is YAML.
func (c certificate) transportSocket() (string, error) {
	inline := func(kind string, der []byte) map[string]any {
		return map[string]any{"inline_string": string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))}
	}
	socket, err := json.Marshal(map[string]any{
		"name": "envoy.transport_sockets.quic",
		"typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
			"downstream_tls_context": map[string]any{
				"common_tls_context": map[string]any{
					"tls_certificates": []any{map[string]any{
						"certificate_chain": inline("CERTIFICATE", c.parsed.Raw),
						"private_key":       inline("PRIVATE KEY", c.key),
					}},
				},
			},
		},
	})
	return string(socket), err
}
