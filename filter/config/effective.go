package config

import (
	"strconv"

	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// String returns the effective configuration, defaults filled in, as one line
// of JSON in the order of the schema. Parse makes the same Config of it.
func (c *Config) String() string {
	rules := node{kind: list}
	for _, r := range c.Rules {
		rules.items = append(rules.items, written(r))
	}
	return string(node{kind: object, members: []member{
		{"rules", rules},
		{"max_total_streams", numberNode(c.MaxTotalStreams)},
		{"on_contention", textNode(c.OnContention.String())},
		{"admin_path", textNode(c.AdminPath)},
	}}.appendJSON(nil))
}

func written(r Rule) node {
	n := node{kind: object, members: []member{
		{"name", textNode(r.Name)},
		{"match", writtenMatch(r.Match)},
		{"client", writtenSources(r.Client)},
	}}
	if len(r.Instance) > 0 {
		n.members = append(n.members, member{"instance", writtenSources(r.Instance)})
	}
	n.members = append(n.members, []member{
		{"max_streams", numberNode(r.MaxStreams)},
		{"on_duplicate", textNode(r.OnDuplicate.String())},
		{"claim_at", textNode(r.ClaimAt.String())},
		{"takeover_limit", writtenBucket(r.TakeoverLimit)},
		{"retry", textNode(spelled(r.Retry))},
		{"goodbye_grace", textNode(spelled(r.GoodbyeGrace))},
		{"max_lifetime", textNode(spelled(r.MaxLifetime))},
		{"lifetime_jitter_percent", numberNode(r.LifetimeJitterPercent)},
		{"idle_timeout", textNode(spelled(r.IdleTimeout))},
		{"mode", textNode(r.Mode.String())},
	}...)
	return n
}

func writtenSources(sources identity.Sources) node {
	n := node{kind: list}
	for _, s := range sources {
		n.items = append(n.items, node{kind: object, members: []member{{s.Kind.String(), writtenSource(s)}}})
	}
	return n
}

func writtenSource(s identity.Source) node {
	switch s.Kind {
	case identity.JWTClaim:
		claim := textNodes(s.Path)
		if len(s.Path) == 1 {
			claim = claim.items[0]
		}
		return node{kind: object, members: []member{{"claim", claim}, {"metadata_key", textNode(s.Name)}}}
	case identity.Property:
		return textNodes(s.Path)
	case identity.SourceAddress:
		return node{kind: boolean, truth: true}
	}
	return textNode(s.Name)
}

func writtenBucket(b policy.TokenBucket) node {
	if b.MaxTokens == 0 {
		return node{kind: boolean, truth: false}
	}
	return node{kind: object, members: []member{
		{"max_tokens", numberNode(b.MaxTokens)},
		{"tokens_per_fill", numberNode(b.TokensPerFill)},
		{"fill_interval", textNode(spelled(b.FillInterval))},
	}}
}

func writtenMatch(c match.Conditions) node {
	n := node{kind: object}
	if c.Path != (match.Path{}) {
		path := node{kind: object, members: []member{{c.Path.Op.String(), textNode(c.Path.Value)}}}
		n.members = append(n.members, member{"path", path})
	}
	if len(c.Methods) > 0 {
		n.members = append(n.members, member{"methods", textNodes(c.Methods)})
	}
	if len(c.Headers) > 0 {
		headers := node{kind: list}
		for _, h := range c.Headers {
			headers.items = append(headers.items, writtenHeader(h))
		}
		n.members = append(n.members, member{"headers", headers})
	}
	return n
}

func writtenHeader(h match.Header) node {
	condition := member{h.Op.String(), textNode(h.Value)}
	if h.Op == match.Present || h.Op == match.Absent {
		condition = member{"present", node{kind: boolean, truth: h.Op == match.Present}}
	}
	return node{kind: object, members: []member{{"name", textNode(h.Name)}, condition}}
}

func textNode(s string) node { return node{kind: text, content: s} }

func textNodes(texts []string) node {
	n := node{kind: list}
	for _, s := range texts {
		n.items = append(n.items, textNode(s))
	}
	return n
}

func numberNode(i int) node { return node{kind: number, content: strconv.Itoa(i)} }
