package clients

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
)

// The tests of verified keys: the subject of a token, the holder of a certificate, an address
// behind a trusted proxy. Knowing the key of another client does not help an attacker to end its
// stream.

// A newcomer asks for an event stream while a client has one.
type newcomer struct {
	about   string
	request rig.Request
	same    bool // it is the same client, so it takes over
}

// wantNewcomers opens a stream with first for each newcomer, and then the newcomer's stream on
// another worker.
func wantNewcomers(t *testing.T, r *rig.Rig, p rig.Protocol, rule string, first rig.Request, newcomers []newcomer) {
	t.Helper()
	for _, n := range newcomers {
		if !t.Run(n.about, func(t *testing.T) {
			wantNewcomer(t, r, rule, rigtest.Dial(t, r, p, 0), first, rigtest.Dial(t, r, p, 1), n)
		}) {
			return
		}
	}
}

func wantNewcomer(t *testing.T, r *rig.Rig, rule string, oldConn *rig.Conn, first rig.Request, newConn *rig.Conn, n newcomer) {
	t.Helper()
	before := rigtest.CountsOf(rigtest.Metrics(t, r), rule)
	old := rigtest.Open(t, oldConn, first)
	rigtest.WantCountsSince(t, r, rule, before, rigtest.Counts{Opened: 1, Active: 1})
	newer := rigtest.Open(t, newConn, n.request)
	live := []*rig.Stream{newer}
	after := rigtest.Counts{Opened: 2, Superseded: 1, Active: 1}
	if n.same {
		rigtest.WantEnd(t, old, rig.Reset)
	} else {
		live = append(live, old)
		after = rigtest.Counts{Opened: 2, Active: 2}
	}
	rigtest.WantCountsSince(t, r, rule, before, after)
	for _, s := range live {
		rigtest.WantFlow(t, r, s)
		s.Close()
	}
	after.Released, after.Active = after.Active, 0
	rigtest.WantCountsSince(t, r, rule, before, after)
}

const claimRules = `{"rules": [
	{"name": "sub",    "match": {"path": {"prefix": "/sub/"}},    "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}]},
	{"name": "uid",    "match": {"path": {"prefix": "/uid/"}},    "client": [{"jwt_claim": {"claim": "uid", "metadata_key": "payload"}}]},
	{"name": "nested", "match": {"path": {"prefix": "/nested/"}}, "client": [{"jwt_claim": {"claim": ["org", "user"], "metadata_key": "payload"}}]},
	{"name": "device", "match": {"path": {"prefix": "/device/"}}, "client": [{"jwt_claim": {"claim": "sub", "metadata_key": "payload"}}, {"header": "x-device"}]}
]}`

func TestVerifiedClaim(t *testing.T) {
	t.Parallel()
	issued := rigtest.NewTokens(t)
	r := rigtest.Start(t, rig.Options{Filter: claimRules, LogLevel: "wasm:debug", Edits: []rig.Edit{issued.JWTAuthn()}})
	a, b := rigtest.NewClient(), rigtest.NewClient()
	as := func(rule, claims string) rig.Request { return rigtest.Bearer(rule, issued.Token(t, claims)) }
	with := func(device string, q rig.Request) rig.Request {
		q.Header["x-device"] = device
		return q
	}
	for _, source := range []struct {
		rule      string
		first     rig.Request
		newcomers []newcomer
	}{
		{"sub", as("sub", `"sub": "`+a+`"`), []newcomer{
			{"the same subject", as("sub", `"sub": "`+a+`", "jti": "another token"`), true},
			{"another subject", as("sub", `"sub": "`+b+`"`), false},
		}},
		{"uid", as("uid", `"uid": 42`), []newcomer{
			{"the same number", as("uid", `"uid": 42.0`), true},
			{"the number as a string", as("uid", `"uid": "42"`), true},
			{"another number", as("uid", `"uid": 43`), false},
			{"the bytes of the number", as("uid", `"uid": "\u0000\u0000\u0000\u0000\u0000\u0000E@"`), false}, // what get_property gives for the number 42
		}},
		{"nested", as("nested", `"org": {"user": "`+a+`"}`), []newcomer{
			{"the same user", as("nested", `"user": "x", "org": {"name": "y", "user": "`+a+`"}`), true},
			{"another user", as("nested", `"user": "`+a+`", "org": {"user": "`+b+`"}`), false},
		}},
		{"device", with("1", as("device", `"sub": "`+a+`"`)), []newcomer{
			{"the same device", with("1", as("device", `"sub": "`+a+`"`)), true},
			{"another device", with("2", as("device", `"sub": "`+a+`"`)), false},
			{"another's device", with("1", as("device", `"sub": "`+b+`"`)), false},
		}},
	} {
		t.Run(source.rule, func(t *testing.T) {
			rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
				wantNewcomers(t, r, p, source.rule, source.first, source.newcomers)
			})
		})
	}

	t.Run("claims that name nobody", func(t *testing.T) {
		conn := rigtest.Dial(t, r, rig.HTTP2, 0)
		for _, claims := range []string{`"sub": "no uid"`, `"uid": ""`, `"uid": null`, `"uid": true`, `"uid": [42]`, `"uid": {"uid": 42}`, `"uid": 4.2`, `"uid": 9007199254740993`} {
			noKey := rigtest.Metrics(t, r)["uid.no_key"]
			one, other := rigtest.Open(t, conn, as("uid", claims)), rigtest.Open(t, conn, as("uid", claims))
			rigtest.WantFlow(t, r, one)
			rigtest.WantFlow(t, r, other)
			if got := rigtest.Metrics(t, r)["uid.no_key"]; got != noKey+2 {
				t.Errorf("%s: no_key went from %d to %d, want 2 more", claims, noKey, got)
			}
		}
	})
	rigtest.WantNoLeaks(t, r)
}

// A stranger who guesses a client id cannot evict a client whose key is a verified claim.
func TestStrangerCannotEvictClient(t *testing.T) {
	t.Parallel()
	issued := rigtest.NewTokens(t)
	r := rigtest.Start(t, rig.Options{Filter: claimRules, LogLevel: "wasm:debug", Edits: []rig.Edit{issued.JWTAuthn()}})
	victim, stranger := rigtest.NewClient(), rigtest.NewClient()
	genuine := issued.Token(t, `"sub": "`+victim+`"`)
	head, signature := genuine[:strings.LastIndex(genuine, ".")], genuine[strings.LastIndex(genuine, "."):]
	encode := base64.RawURLEncoding.EncodeToString
	none := encode([]byte(`{"alg": "none"}`)) + head[strings.Index(head, "."):] + "."
	others := strings.Split(issued.Token(t, `"sub": "`+stranger+`"`), ".")

	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		had := rigtest.CountsOf(rigtest.Metrics(t, r), "sub")
		held := rigtest.Open(t, rigtest.Dial(t, r, p, 0), rigtest.Bearer("sub", genuine))
		conn := func() *rig.Conn { return rigtest.Dial(t, r, p, 1) }

		for about, token := range map[string]string{
			"no token":              "",
			"no signature":          head + ".",
			"no algorithm":          none,
			"another's key":         rigtest.NewTokens(t).Token(t, `"sub": "`+victim+`"`),
			"another's signature":   head + "." + others[2],
			"signature over others": others[0] + "." + others[1] + signature,
		} {
			q := rigtest.Bearer("sub", token)
			q.Header["x-device"], q.Header["cookie"], q.Path = victim, "sub="+victim, "/sub/?sub="+victim
			if response := rigtest.Do(t, conn(), q); response.Status != http.StatusUnauthorized {
				t.Errorf("%s: status %d, want 401", about, response.Status)
			}
		}

		q := rigtest.Bearer("sub", issued.Token(t, `"sub": "`+stranger+`", "org": {"sub": "`+victim+`"}, "payload": {"sub": "`+victim+`"}`))
		q.Path = "/sub/?sub=" + victim + "&client=" + victim
		for _, name := range []string{"sub", "x-sub", "x-client-id", "x-jwt-payload", "x-forwarded-for", "payload", "metadata"} {
			q.Header[name] = victim
		}
		q.Header["cookie"] = "sub=" + victim
		own := rigtest.Open(t, conn(), q)
		rigtest.WantFlow(t, r, held)
		rigtest.WantFlow(t, r, own)
		rigtest.WantCountsSince(t, r, "sub", had, rigtest.Counts{Opened: 2, Active: 2})

		again := rigtest.Open(t, conn(), rigtest.Bearer("sub", genuine)) // and the victim itself still can
		rigtest.WantEnd(t, held, rig.Reset)
		rigtest.WantFlow(t, r, own)
		rigtest.WantFlow(t, r, again)
		own.Close()
		again.Close()
		rigtest.WantCountsSince(t, r, "sub", had, rigtest.Counts{Opened: 3, Superseded: 1, Released: 2})
	})
	rigtest.WantNoLeaks(t, r)
}
