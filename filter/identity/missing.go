package identity

import "fmt"

// WhyMissing returns what an operator should look at if source i of these is missing in req, or "".
// It names what the configuration names, and nothing that the client has sent.
func (s Sources) WhyMissing(i int, req Request) string {
	switch source := s[i]; source.Kind {
	case Header:
		return "if another filter sets this header, it must stand before this filter"
	case JWTClaim:
		metadata, _ := req.Property("metadata")
		return source.whyNoClaim(entry(metadata, jwtAuthn))
	case Property:
		return "Envoy has no such attribute for this request, or an empty one"
	case SourceAddress:
		return "the client has no IP address"
	}
	return ""
}

// whyNoClaim is WhyMissing for a claim. payloads is all that jwt_authn has left.
func (s Source) whyNoClaim(payloads string) string {
	switch {
	case payloads == "":
		return fmt.Sprintf("jwt_authn has left no payload: it must stand before this filter and have payload_in_metadata: %s", s.Name)
	case entry(payloads, s.Name) == "":
		return fmt.Sprintf("jwt_authn has left nothing under this metadata_key: it must have payload_in_metadata: %s", s.Name)
	}
	return "the token has no such claim, or one that is neither text nor a whole number"
}
