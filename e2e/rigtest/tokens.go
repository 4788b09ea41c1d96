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

// Tokens issues what one jwt_authn takes for true.
type Tokens struct{ key *rsa.PrivateKey }

func NewTokens(t *testing.T) Tokens {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return Tokens{key}
}

// JWTAuthn is Envoy's own filter as it stands in front: no request passes without a token, and the claims of one that
// passes are left in dynamic metadata.
func (i Tokens) JWTAuthn() rig.Edit { return Before(i.JWTAuthnFilter("")) }

// JWTAuthnFilter is that filter, with more that its provider has.
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

// Keys returns what verifies the tokens, a JWK set.
func (i Tokens) Keys() string {
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys": [{"kty": "RSA", "alg": "RS256", "n": "%s", "e": "%s"}]}`,
		encode(i.key.N.Bytes()), encode(big.NewInt(int64(i.key.E)).Bytes()))
}

// Token returns a token with these claims, JSON, and those that every token has.
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

// Bearer is a request for an event stream that shows a token.
func Bearer(rule, token string) rig.Request {
	return rig.Request{Path: "/" + rule + "/", Header: map[string]string{"authorization": "Bearer " + token}}
}

// issuer is the issuer of all tokens.
const issuer = "https://issuer.example"
