package config

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
)

const (
	maxRules        = 64
	maxParts        = 8 // in the path of a claim or a property
	maxStreams      = policy.MaxStreams
	maxTotalStreams = 10_000_000
	maxTokens       = policy.MaxTokens // for tokens_per_fill too
	maxMethods      = 16
	maxHeaders      = 16
	maxName         = 32

	minWait policy.Millis = 100 // for retry and fill_interval
	maxWait               = 24 * policy.Hour

	maxGrace = policy.Minute

	minAge = policy.Second // for max_lifetime and idle_timeout
	maxAge = 365 * 24 * policy.Hour
)

// Field is the documentation of one field.
type Field struct {
	Name    string // with its path: "rules[].match.path.exact"
	Default string // or what is wanted, if the field is required
	Meaning string
}

// Fields returns all fields that Parse knows, outer ones first. The fields of a source are listed
// for client only; instance has the same.
func Fields() []Field {
	var all []Field
	all = document(all, "", configFields(node{}))
	all = document(all, "rules[].", ruleFields(nil, nil, false))
	all = document(all, "rules[].match.", matchFields(nil))
	all = document(all, "rules[].match.path.", pathFields(nil))
	all = document(all, "rules[].match.headers[].", headerFields(nil))
	all = document(all, "rules[].client[].", sourceFields())
	all = document(all, "rules[].client[].jwt_claim.", claimFields())
	all = document(all, "rules[].takeover_limit.", bucketFields())
	all = document(all, "fleet.", fleetFields())
	return all
}

func document[T any](all []Field, prefix string, fields []field[T]) []Field {
	for _, f := range fields {
		fallback := f.fallback
		switch f.need {
		case required:
			fallback = "required, " + fallback
		case choice:
			fallback = "one of these"
		}
		all = append(all, Field{prefix + f.name, fallback, f.meaning})
	}
	return all
}

// configFields is the schema of the whole configuration, root. It takes root because rules may be
// empty if there is an admin_path, and have another default if there is a fleet. Both may come
// after the rules.
func configFields(root node) []field[Config] {
	minRules := 1
	if hasAdminPath(root) {
		minRules = 0
	}
	fleet := hasFleet(root)
	return []field[Config]{
		{"rules", required, fmt.Sprintf("1 to %d rules", maxRules), "tried in order; the first rule that matches a request applies. [] is allowed if admin_path is set",
			func(v value, c *Config) {
				var regexes match.Regexes
				for _, item := range v.list(minRules, maxRules) {
					rule := defaultRule()
					if fleet {
						rule.Scope = FleetScope
					}
					readObject(item, ruleFields(c.Rules, &regexes, fleet), &rule)
					checkUnavailable(item, &rule)
					c.Rules = append(c.Rules, rule)
				}
			}},
		{"max_total_streams", optional, "0", fmt.Sprintf("most tracked streams in this Envoy, up to %d. At the limit newcomers are refused, and takeovers still succeed. 0: no limit", maxTotalStreams),
			func(v value, c *Config) { c.MaxTotalStreams, _ = v.integer(0, maxTotalStreams) }},
		{"on_contention", optional, Allow.String(), "allow or refuse a newcomer whose registry write kept losing races",
			func(v value, c *Config) { c.OnContention, _ = enum(v, Allow, Refuse) }},
		{"admin_path", optional, `""`, `path that serves the status (GET) and ends streams (DELETE). Set it on an internal listener only. "": off`,
			func(v value, c *Config) { c.AdminPath, _ = v.text(wantAdminPath, isAdminPath) }},
		{"fleet", optional, "none", "several Envoys keep the limits together, over etcd. Without it each Envoy keeps its own",
			func(v value, c *Config) {
				f := defaultFleet()
				readObject(v, fleetFields(), &f)
				c.Fleet = &f
			}},
	}
}

// hasAdminPath reports whether root has an admin_path that is not "". The path may be invalid: then
// it has a fault of its own, and the empty rules need no second one.
func hasAdminPath(root node) bool {
	i := slices.IndexFunc(root.members, func(m member) bool { return m.key == "admin_path" })
	return i >= 0 && (root.members[i].value.kind != text || root.members[i].value.content != "")
}

// ruleFields is the schema of the rule after the earlier rules, with their regexes, in a
// configuration with or without a fleet.
func ruleFields(earlier []Rule, regexes *match.Regexes, fleet bool) []field[Rule] {
	defaults := defaultRule()
	return []field[Rule]{
		{"name", required, wantName + ", unique", "name of the rule in metrics and logs. Listeners with the same rule name and vm_id share clients",
			func(v value, r *Rule) {
				var ok bool
				if r.Name, ok = v.text(wantName, isName); !ok {
					return
				}
				if i := slices.IndexFunc(earlier, func(other Rule) bool { return other.Name == r.Name }); i >= 0 {
					v.fault("%q is already the name of rules[%d], want a unique name", r.Name, i)
				}
			}},
		{"match", optional, "every request", "conditions on the request. All of them must hold",
			func(v value, r *Rule) { readObject(v, matchFields(regexes), &r.Match) }},
		{"client", required, fmt.Sprintf("1 to %d sources", identity.MaxSources), "where the client's key comes from. All sources together are the key. If one is missing or empty, the request passes untracked and is counted in no_key",
			func(v value, r *Rule) { r.Client = readSources(v) }},
		{"instance", optional, "none", fmt.Sprintf("1 to %d sources, as in client, that name one page or process of a client. A new stream of an instance always supersedes its previous one, whatever the limits", identity.MaxSources),
			func(v value, r *Rule) { r.Instance = readSources(v) }},
		{"max_streams", optional, strconv.Itoa(defaults.MaxStreams), fmt.Sprintf("streams that one client may have, up to %d", maxStreams),
			func(v value, r *Rule) { r.MaxStreams, _ = v.integer(1, maxStreams) }},
		{"on_duplicate", optional, defaults.OnDuplicate.String(), "what happens at max_streams. reset_previous: the oldest stream is reset. reject_new: the newcomer is refused",
			func(v value, r *Rule) { r.OnDuplicate, _ = enum(v, ResetPrevious, RejectNew) }},
		{"claim_at", optional, defaults.ClaimAt.String(), "when a stream takes its place. response: when the backend answers with an event stream. request: before the backend sees the request, for backends that reject a client whose old stream is still open",
			func(v value, r *Rule) { r.ClaimAt, _ = enum(v, AtResponse, AtRequest) }},
		{"takeover_limit", optional, bucketText(defaults.TakeoverLimit), "token bucket of each client. A takeover by another instance, or by an unknown one, takes one token. false: no limit",
			readBucket},
		{"retry", optional, formatDuration(defaults.Retry), "shortest time that a refused client is told to wait; " + span(minWait, maxWait),
			func(v value, r *Rule) { r.Retry, _ = v.duration(minWait, maxWait) }},
		{"goodbye_grace", optional, formatDuration(defaults.GoodbyeGrace), "how long a superseded or expired stream may stay open for a goodbye event, up to " + formatDuration(maxGrace) + ". The goodbye follows the backend's next event, then the stream is reset. 0s: no goodbye, reset at once",
			func(v value, r *Rule) { r.GoodbyeGrace, _ = v.duration(0, maxGrace) }},
		{"max_lifetime", optional, formatDuration(defaults.MaxLifetime), "age at which a stream is ended, " + span(minAge, maxAge) + ". 0s: off",
			func(v value, r *Rule) { r.MaxLifetime, _ = v.durationOrOff(minAge, maxAge) }},
		{"lifetime_jitter_percent", optional, strconv.Itoa(defaults.LifetimeJitterPercent), "max_lifetime is shortened by a random part, at most this percentage, 0 to 100. Clients then come back one after another",
			func(v value, r *Rule) { r.LifetimeJitterPercent, _ = v.integer(0, 100) }},
		{"idle_timeout", optional, formatDuration(defaults.IdleTimeout), "a stream is ended when no data has passed for this long, " + span(minAge, maxAge) + ": the backend is silent, or the client does not read. 0s: off",
			func(v value, r *Rule) { r.IdleTimeout, _ = v.durationOrOff(minAge, maxAge) }},
		{"mode", optional, defaults.Mode.String(), "enforce, or observe: count and log what would happen, and change nothing",
			func(v value, r *Rule) { r.Mode, _ = enum(v, Enforce, Observe) }},
		{"scope", optional, "fleet if there is one", "where a client's streams are counted: fleet, at all Envoys, or envoy, at this one only",
			func(v value, r *Rule) { readScope(v, r, fleet) }},
		{"on_unavailable", optional, defaults.OnUnavailable.String(), "what happens to a newcomer while etcd does not answer. allow: the limits hold within this Envoy, and etcd is told later. refuse: it is refused, for limits that must hold; not with scope envoy",
			func(v value, r *Rule) { r.OnUnavailable, _ = enum(v, AllowUnavailable, RefuseUnavailable) }},
	}
}

// readBucket reads a takeover_limit. Fields that an object does not have keep their defaults.
func readBucket(v value, r *Rule) {
	switch {
	case v.kind == object:
		readObject(v, bucketFields(), &r.TakeoverLimit)
	case v.kind == boolean && !v.truth:
		r.TakeoverLimit = policy.TokenBucket{}
	default:
		v.fault("found %v, want an object or false", v.node)
	}
}

func bucketFields() []field[policy.TokenBucket] {
	defaults := defaultRule().TakeoverLimit
	return []field[policy.TokenBucket]{
		{"max_tokens", optional, strconv.Itoa(defaults.MaxTokens), fmt.Sprintf("tokens in a full bucket; 1 to %d. A takeover takes one", maxTokens),
			func(v value, b *policy.TokenBucket) { b.MaxTokens, _ = v.integer(1, maxTokens) }},
		{"tokens_per_fill", optional, strconv.Itoa(defaults.TokensPerFill), fmt.Sprintf("tokens added at each fill; 1 to %d", maxTokens),
			func(v value, b *policy.TokenBucket) { b.TokensPerFill, _ = v.integer(1, maxTokens) }},
		{"fill_interval", optional, formatDuration(defaults.FillInterval), "time between two fills; " + span(minWait, maxWait),
			func(v value, b *policy.TokenBucket) { b.FillInterval, _ = v.duration(minWait, maxWait) }},
	}
}

func bucketText(b policy.TokenBucket) string {
	return fmt.Sprintf("%d tokens, %d each %s", b.MaxTokens, b.TokensPerFill, formatDuration(b.FillInterval))
}
