package config

import (
	"encoding/binary"
	"fmt"

	"github.com/dchest/siphash"

	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// String returns the effective configuration as one line of JSON: all fields in the order of the
// schema, with the defaults of those that were not given. Parse reads it back as the same Config,
// but not if there is a fleet: the line has no secret, see hiddenSecret.
func (c *Config) String() string {
	rules := node{kind: list}
	for _, r := range c.Rules {
		rules.items = append(rules.items, ruleNode(r))
	}
	n := node{kind: object, members: []member{
		{"rules", rules},
		{"max_total_streams", numberNode(c.MaxTotalStreams)},
		{"on_contention", textNode(c.OnContention.String())},
		{"admin_path", textNode(c.AdminPath)},
	}}
	if c.Fleet != nil {
		n.members = append(n.members, member{"fleet", fleetNode(c.Fleet)})
	}
	return string(n.appendJSON(nil))
}

func fleetNode(f *Fleet) node {
	return node{kind: object, members: []member{
		{"clusters", textsNode(f.Clusters)},
		{"secret", textNode(hiddenSecret(f.Secret))},
		{"prefix", textNode(f.Prefix)},
		{"lease_ttl", durationNode(f.LeaseTTL)},
		{"timeout", durationNode(f.Timeout)},
	}}
}

// hiddenSecret stands for a secret in the log and the status: "hidden, check 1a2b3c4d". Two Envoys
// whose secrets differ do not see each other's streams, and nothing else tells it. Their checks
// differ, too. A check is 32 bits of SipHash under the secret, as ids in etcd are; so it gives away
// as little as they do. [Parse] does not take it for a secret.
func hiddenSecret(secret [16]byte) string {
	k0, k1 := binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])
	return fmt.Sprintf("hidden, check %08x", uint32(siphash.Hash(k0, k1, []byte("streamlatch: check of the secret"))))
}

func ruleNode(r Rule) node {
	n := node{kind: object, members: []member{
		{"name", textNode(r.Name)},
		{"match", matchNode(r.Match)},
		{"client", sourcesNode(r.Client)},
	}}
	if len(r.Instance) > 0 {
		n.members = append(n.members, member{"instance", sourcesNode(r.Instance)})
	}
	n.members = append(n.members, []member{
		{"max_streams", numberNode(r.MaxStreams)},
		{"on_duplicate", textNode(r.OnDuplicate.String())},
		{"claim_at", textNode(r.ClaimAt.String())},
		{"takeover_limit", bucketNode(r.TakeoverLimit)},
		{"retry", durationNode(r.Retry)},
		{"goodbye_grace", durationNode(r.GoodbyeGrace)},
		{"max_lifetime", durationNode(r.MaxLifetime)},
		{"lifetime_jitter_percent", numberNode(r.LifetimeJitterPercent)},
		{"idle_timeout", durationNode(r.IdleTimeout)},
		{"mode", textNode(r.Mode.String())},
		{"scope", textNode(r.Scope.String())},
		{"on_unavailable", textNode(r.OnUnavailable.String())},
	}...)
	return n
}

func sourcesNode(sources identity.Sources) node {
	n := node{kind: list}
	for _, s := range sources {
		n.items = append(n.items, sourceNode(s))
	}
	return n
}

// SourceString returns a source as one line of JSON, as it is in the effective configuration.
func SourceString(s identity.Source) string { return string(sourceNode(s).appendJSON(nil)) }

func sourceNode(s identity.Source) node {
	return node{kind: object, members: []member{{s.Kind.String(), valueNode(s)}}}
}

func valueNode(s identity.Source) node {
	switch s.Kind {
	case identity.JWTClaim:
		claim := textsNode(s.Path)
		if len(s.Path) == 1 {
			claim = claim.items[0]
		}
		return node{kind: object, members: []member{{"claim", claim}, {"metadata_key", textNode(s.Name)}}}
	case identity.Property:
		return textsNode(s.Path)
	case identity.SourceAddress:
		return booleanNode(true)
	}
	return textNode(s.Name)
}

func bucketNode(b policy.TokenBucket) node {
	if b.MaxTokens == 0 {
		return booleanNode(false)
	}
	return node{kind: object, members: []member{
		{"max_tokens", numberNode(b.MaxTokens)},
		{"tokens_per_fill", numberNode(b.TokensPerFill)},
		{"fill_interval", durationNode(b.FillInterval)},
	}}
}

func matchNode(c match.Conditions) node {
	n := node{kind: object}
	if c.Path != (match.Path{}) {
		path := node{kind: object, members: []member{{c.Path.Op.String(), textNode(c.Path.Value)}}}
		n.members = append(n.members, member{"path", path})
	}
	if len(c.Methods) > 0 {
		n.members = append(n.members, member{"methods", textsNode(c.Methods)})
	}
	if len(c.Headers) > 0 {
		headers := node{kind: list}
		for _, h := range c.Headers {
			headers.items = append(headers.items, headerNode(h))
		}
		n.members = append(n.members, member{"headers", headers})
	}
	return n
}

func headerNode(h match.Header) node {
	condition := member{h.Op.String(), textNode(h.Value)}
	if h.Op == match.Present || h.Op == match.Absent {
		condition = member{"present", booleanNode(h.Op == match.Present)}
	}
	return node{kind: object, members: []member{{"name", textNode(h.Name)}, condition}}
}

func durationNode(d policy.Millis) node { return textNode(formatDuration(d)) }
