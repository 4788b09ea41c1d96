package config

import (
	"slices"
	"strings"

	"github.com/streamlatch/streamlatch/filter/identity"
)

// readSources reads the sources of client or instance.
func readSources(v value) identity.Sources {
	var sources identity.Sources
	for _, item := range v.list(1, identity.MaxSources) {
		var source identity.Source
		faults := v.faults.count()
		readObject(item, sourceFields(), &source)
		same := func(other identity.Source) bool {
			return other.Kind == source.Kind && other.Name == source.Name && slices.Equal(other.Path, source.Path)
		}
		// Twice the same would tell no more clients apart, and cost twice as much for a long value.
		if i := slices.IndexFunc(sources, same); i >= 0 && v.faults.count() == faults {
			item.fault("is the same source as %s[%d], want each once", v.path, i)
		}
		sources = append(sources, source)
	}
	return sources
}

func sourceFields() []field[identity.Source] {
	return []field[identity.Source]{
		{"header", choice, "", "the first value of this header. :authority, :method, :path and :scheme are headers, too",
			func(v value, s *identity.Source) {
				name, _ := v.text(wantHeader, isHeader)
				*s = identity.Source{Kind: identity.Header, Name: strings.ToLower(name)}
			}},
		{"cookie", choice, "", "the first cookie with this name",
			func(v value, s *identity.Source) {
				name, _ := v.text(wantCookie, isToken)
				*s = identity.Source{Kind: identity.Cookie, Name: name}
			}},
		{"query", choice, "", "the first query parameter with this name, decoded; a `%` that begins no escape stands for itself",
			func(v value, s *identity.Source) {
				name, _ := v.text("the name of a query parameter", notEmpty)
				*s = identity.Source{Kind: identity.Query, Name: name}
			}},
		{"jwt_claim", choice, "", "a claim of the token that jwt_authn has verified. jwt_authn must stand before this filter",
			func(v value, s *identity.Source) {
				*s = identity.Source{Kind: identity.JWTClaim}
				readObject(v, claimFields(), s)
			}},
		{"property", choice, "", `an attribute of the request in Envoy, as a list of its parts: ["connection", "uri_san_peer_certificate"]`,
			func(v value, s *identity.Source) {
				*s = identity.Source{Kind: identity.Property, Path: readParts(v, wantPart)}
			}},
		{"source_address", choice, "", "true: the client's address as Envoy sees it, without the port",
			func(v value, s *identity.Source) {
				if v.kind != boolean || !v.truth {
					v.fault("found %v, want true", v.node)
				}
				*s = identity.Source{Kind: identity.SourceAddress}
			}},
	}
}

func claimFields() []field[identity.Source] {
	return []field[identity.Source]{
		{"claim", required, "the name of a claim", `such as "sub". For a nested claim, the list of names that leads to it: ["org", "id"]`,
			func(v value, s *identity.Source) {
				if v.kind == list {
					s.Path = readParts(v, wantClaim)
					return
				}
				name, _ := v.text(wantClaim+", or a list of such names", isPart)
				s.Path = []string{name}
			}},
		{"metadata_key", required, wantMetadataKey, "the metadata key under which jwt_authn stores the claims",
			func(v value, s *identity.Source) { s.Name, _ = v.text(wantMetadataKey, isPart) }},
	}
}

// readParts reads the path of a claim or a property.
func readParts(v value, wanted string) []string {
	var parts []string
	for _, item := range v.list(1, maxParts) {
		part, _ := item.text(wanted, isPart)
		parts = append(parts, part)
	}
	return parts
}
