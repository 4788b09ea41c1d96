package identity_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/filter/identity"
)

// Clients may send anything. These inputs are far larger than Envoy accepts: linear work on them
// takes milliseconds, quadratic work minutes.
func TestHostileInputTakesLinearTime(t *testing.T) {
	const many = 1 << 17
	for _, test := range []struct {
		about string
		kind  identity.Kind
		req   request
		want  string
	}{
		{"parameters", identity.Query, request{":path": "/?" + strings.Repeat("a=1&", many) + "id=1"}, "1"},
		{"names that begin alike", identity.Query, request{":path": "/?" + strings.Repeat("i%64%64=1&", many) + "id=1"}, "1"},
		{"invalid escapes", identity.Query, request{":path": "/?" + strings.Repeat("i%=%zz&", many) + "id=1"}, "1"},
		{"invalid escape at the end", identity.Query, request{":path": "/?id=" + strings.Repeat("%41", many) + "%"}, strings.Repeat("A", many) + "%"},
		{"percent signs", identity.Query, request{":path": "/?id=" + strings.Repeat("%", many)}, strings.Repeat("%", many)},
		{"question marks", identity.Query, request{":path": strings.Repeat("?", many)}, missing},
		{"long value", identity.Query, request{":path": "/?id=" + strings.Repeat("%41", many)}, strings.Repeat("A", many)},
		{"cookies", identity.Cookie, request{"cookie": strings.Repeat("a=1; ", many) + "id=1"}, "1"},
		{"separators", identity.Cookie, request{"cookie": strings.Repeat(";", many) + "id=1"}, "1"},
		{"white space", identity.Cookie, request{"cookie": strings.Repeat(" \t", many) + ";" + strings.Repeat("a ", many)}, missing},
		{"quotes", identity.Cookie, request{"cookie": "id=" + strings.Repeat(`"`, many)}, strings.Repeat(`"`, many-2)},
		{"long header", identity.Header, request{"id": strings.Repeat("\x00", many)}, strings.Repeat("\x00", many)},
	} {
		t.Run(test.about, func(t *testing.T) {
			start := time.Now()
			got, ok := readNamed(t, test.kind, "id", test.req)
			if !ok {
				got = missing
			}
			if got != test.want {
				t.Errorf("got a value of %d bytes, want %d", len(got), len(test.want))
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v, want at most 20s", took)
			}
		})
	}
}

// invalidEscape matches a "%" that begins no escape, and what follows it.
var invalidEscape = regexp.MustCompile(`%([^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|[0-9A-Fa-f]?$)`)

// net/url is the reference. It differs by definition in three cases. It drops parameters with a
// semicolon and refuses very many parameters, which are left out; and it drops parameters with an
// invalid escape, so it gets them with the "%" escaped.
func FuzzQuery(f *testing.F) {
	f.Add("/events?a=1&tab=%34+2#x", "tab")
	f.Add("/?tab=%zz&t%61b=2", "tab")
	f.Add("/?=1&&a", "")
	f.Add("?&=0", "") // found by fuzzing: an empty pair is no parameter
	f.Add("\xff?\x00=%FF", "\x00")
	f.Fuzz(func(t *testing.T, path, name string) {
		path = strings.ReplaceAll(path, ";", "")
		if strings.Count(path, "&") > 1000 {
			return
		}
		unfragmented, _, _ := strings.Cut(path, "#")
		_, query, _ := strings.Cut(unfragmented, "?")
		for invalidEscape.MatchString(query) {
			query = invalidEscape.ReplaceAllString(query, "%25$1")
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		want := values.Get(name)

		got, ok := readNamed(t, identity.Query, name, request{":path": path})
		if got != want || ok != (want != "") {
			t.Errorf("%q of %q: got %q, %v, want %q", name, path, got, ok, want)
		}
	})
}

// referenceCookie is the reference for cookies: it splits all pairs first.
func referenceCookie(header, name string) string {
	var names, values []string
	for pair := range strings.SplitSeq(header, ";") {
		for strings.HasPrefix(pair, " ") || strings.HasPrefix(pair, "\t") {
			pair = pair[1:]
		}
		for strings.HasSuffix(pair, " ") || strings.HasSuffix(pair, "\t") {
			pair = pair[:len(pair)-1]
		}
		fields := strings.SplitN(pair, "=", 2)
		if len(fields) < 2 {
			continue
		}
		if inner, found := strings.CutPrefix(fields[1], `"`); found {
			if inner, found = strings.CutSuffix(inner, `"`); found {
				fields[1] = inner
			}
		}
		names, values = append(names, fields[0]), append(values, fields[1])
	}
	for i := range names {
		if names[i] == name {
			return values[i]
		}
	}
	return ""
}

func FuzzCookie(f *testing.F) {
	f.Add(`a=1; sid="42";b`, "sid")
	f.Add(`sid=""; sid=1`, "sid")
	f.Add("=1;\x00=\xff", "")
	f.Fuzz(func(t *testing.T, header, name string) {
		want := referenceCookie(header, name)
		got, ok := readNamed(t, identity.Cookie, name, request{"cookie": header})
		if got != want || ok != (want != "") {
			t.Errorf("%q of %q: got %q, %v, want %q", name, header, got, ok, want)
		}
	})
}
