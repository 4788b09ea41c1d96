package rigtest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// Tokens issues JSON web tokens, and configures jwt_authn to accept only these.
type Tokens struct{ key *rsa.PrivateKey }

// NewTokens returns an issuer with a new key.
func NewTokens(t *testing.T) Tokens {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return Tokens{key}
}

// JWTAuthn puts Envoy's jwt_authn filter in front of Streamlatch. It rejects requests without a
// valid token, and puts the claims of a valid one into dynamic metadata.
func (i Tokens) JWTAuthn() rig.Edit { return Before(i.JWTAuthnFilter("")) }

// JWTAuthnFilter returns this filter. more is added to its provider.
func (i Tokens) JWTAuthnFilter(more string) string {
	return fmt.Sprintf(`          - name: envoy.filters.http.jwt_authn
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
              providers:
                issuer:
                  issuer: %s
                  payload_in_metadata: payload
%s                  local_jwks:
                    inline_string: '%s'
              rules:
              - match: {prefix: /}
                requires: {provider_name: issuer}
`, issuer, more, i.Keys())
}

// Keys returns the public key of the tokens, as a JWK set.
func (i Tokens) Keys() string {
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys": [{"kty": "RSA", "alg": "RS256", "n": "%s", "e": "%s"}]}`,
		encode(i.key.N.Bytes()), encode(big.NewInt(int64(i.key.E)).Bytes()))
}

// Token returns a token with these claims, given in JSON, and with the issuer and the expiry that
// every token has.
func (i Tokens) Token(t *testing.T, claims string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg": "RS256"}`)) + "." + encode(fmt.Appendf(nil, `{"iss": %q, "exp": 4102444800, %s}`, issuer, claims))
	digest := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(nil, i.key, crypto.SHA256, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// Bearer returns a request for an event stream with a token.
func Bearer(rule, token string) rig.Request {
	return rig.Request{Path: "/" + rule + "/", Header: map[string]string{"authorization": "Bearer " + token}}
}

const issuer = "https://issuer.example"
