package config

import (
	"slices"
	"strconv"

	"github.com/streamlatch/streamlatch/filter/policy"
)

const (
	maxRules        = 64
	maxSources      = 8
	maxParts        = 8 // of the way to a claim or a property
	maxStreams      = policy.MaxStreams
	maxTotalStreams = 10_000_000
	maxTokens       = policy.MaxTokens // of tokens_per_fill too
	maxMethods      = 16
	maxHeaders      = 16
	maxName         = 32

	minWait policy.Millis = 100 // for retry and fill_interval
	maxWait               = 24 * policy.Hour

	maxGrace = policy.Minute

	minAge = policy.Second // for max_lifetime and idle_timeout
	maxAge = 365 * 24 * policy.Hour
)

// Field documents one field. Name is the way to it ("rules[].match.path.exact").
type Field struct {
	Name    string
	Default string
	Meaning string
}

// Fields returns all fields that Parse knows, outer ones first. Those of a
// source stand under client only; instance has the same.
func Fields() []Field {
	var all []Field
	all = document(all, "", configFields(node{}))
	all = document(all, "rules[].", ruleFields(nil))
	all = document(all, "rules[].match.", matchFields())
	all = document(all, "rules[].match.path.", pathFields())
	all = document(all, "rules[].match.headers[].", headerFields())
	all = document(all, "rules[].client[].", sourceFields())
	all = document(all, "rules[].client[].jwt_claim.", claimFields())
	all = document(all, "rules[].takeover_limit.", bucketFields())
	return all
}

func document[T any](all []Field, prefix string, fields []field[T]) []Field {
	for _, f := range fields {
		standard := f.standard
		switch f.need {
		case required:
			standard = "required, " + standard
		case choice:
			standard = "one of these"
		}
		all = append(all, Field{prefix + f.name, standard, f.meaning})
	}
	return all
}

// configFields is the schema of root, the whole configuration. Whether it may do
// without rules depends on a field that may stand after them.
func configFields(root node) []field[Config] {
	least := 1
	if hasAdminPath(root) {
		least = 0
	}
	return []field[Config]{
		{"rules", required, sprintf("1 to %d rules", maxRules), "the first that matches a request wins; [] is allowed with an admin_path",
			func(v value, c *Config) {
				for _, item := range v.list(least, maxRules) {
					rule := defaults()
					readObject(item, ruleFields(c.Rules), &rule)
					c.Rules = append(c.Rules, rule)
				}
			}},
		{"max_total_streams", optional, "0", sprintf("tracked streams in this Envoy, up to %d; over it newcomers are refused, takeovers are not; 0: no limit", maxTotalStreams),
			func(v value, c *Config) { c.MaxTotalStreams, _ = v.integer(0, maxTotalStreams) }},
		{"on_contention", optional, Allow.String(), "allow or refuse a newcomer whose claim other workers kept from being written",
			func(v value, c *Config) { c.OnContention, _ = enum(v, Allow, Refuse) }},
		{"admin_path", optional, `""`, `where status (GET) and resets (DELETE) are served, on an internal listener only; "": off`,
			func(v value, c *Config) { c.AdminPath, _ = v.text(wantAdminPath, isAdminPath) }},
	}
}

// hasAdminPath takes a faulty path for one that is wanted: its own fault is
// enough.
func hasAdminPath(root node) bool {
	i := slices.IndexFunc(root.members, func(m member) bool { return m.key == "admin_path" })
	return i >= 0 && (root.members[i].value.kind != text || root.members[i].value.content != "")
}

// ruleFields is the schema of a rule that stands after the earlier ones.
func ruleFields(earlier []Rule) []field[Rule] {
	standard := defaults()
	return []field[Rule]{
		{"name", required, wantName + ", unique", "in metrics and logs; two listeners with the same rule name and vm_id share clients",
			func(v value, r *Rule) {
				var ok bool
				if r.Name, ok = v.text(wantName, isName); !ok {
					return
				}
				if i := slices.IndexFunc(earlier, func(other Rule) bool { return other.Name == r.Name }); i >= 0 {
					v.fault("%q is the name of rules[%d] already, want a unique name", r.Name, i)
				}
			}},
		{"match", optional, "every request", "conditions, all of which must hold",
			func(v value, r *Rule) { readObject(v, matchFields(), &r.Match) }},
		{"client", required, sprintf("1 to %d sources", maxSources), "all of them together are the key; one missing or empty: not tracked, counted",
			func(v value, r *Rule) { r.Client = readSources(v) }},
		{"instance", optional, "none", sprintf("1 to %d sources, as of client, that name one page or process of it: its next stream supersedes its last one, whatever the limits", maxSources),
			func(v value, r *Rule) { r.Instance = readSources(v) }},
		{"max_streams", optional, strconv.Itoa(standard.MaxStreams), sprintf("streams a client may have, up to %d", maxStreams),
			func(v value, r *Rule) { r.MaxStreams, _ = v.integer(1, maxStreams) }},
		{"on_duplicate", optional, standard.OnDuplicate.String(), "at max_streams, reset_previous: the oldest stream goes; reject_new: the newcomer is refused",
			func(v value, r *Rule) { r.OnDuplicate, _ = enum(v, ResetPrevious, RejectNew) }},
		{"claim_at", optional, standard.ClaimAt.String(), "when a stream takes its client's place; request: before the backend sees it, for one that turns a client away while its old stream lives",
			func(v value, r *Rule) { r.ClaimAt, _ = enum(v, AtResponse, AtRequest) }},
		{"takeover_limit", optional, bucketText(standard.TakeoverLimit), "token bucket of each client, for takeovers by another or an unknown instance; false: no limit",
			readBucket},
		{"retry", optional, spelled(standard.Retry), "what a refused client is told to wait, at least; " + span(minWait, maxWait),
			func(v value, r *Rule) { r.Retry, _ = v.duration(minWait, maxWait) }},
		{"goodbye_grace", optional, spelled(standard.GoodbyeGrace), "a superseded or expired stream gets a goodbye event after its next event and then its reset, at the latest after this, up to " + spelled(maxGrace) + "; 0s: reset at once",
			func(v value, r *Rule) { r.GoodbyeGrace, _ = v.duration(0, maxGrace) }},
		{"max_lifetime", optional, spelled(standard.MaxLifetime), "end a stream at this age, " + span(minAge, maxAge) + "; 0s: off",
			func(v value, r *Rule) { r.MaxLifetime, _ = v.durationOrOff(minAge, maxAge) }},
		{"lifetime_jitter_percent", optional, strconv.Itoa(standard.LifetimeJitterPercent), "max_lifetime is cut by a random part of up to this, 0 to 100, so that clients do not come back together",
			func(v value, r *Rule) { r.LifetimeJitterPercent, _ = v.integer(0, 100) }},
		{"idle_timeout", optional, spelled(standard.IdleTimeout), "end a stream on which nothing has come through for this long, from the backend or for a client that does not read, " + span(minAge, maxAge) + "; 0s: off",
			func(v value, r *Rule) { r.IdleTimeout, _ = v.durationOrOff(minAge, maxAge) }},
		{"mode", optional, standard.Mode.String(), "enforce, or observe: count and log what would happen, touch nothing",
			func(v value, r *Rule) { r.Mode, _ = enum(v, Enforce, Observe) }},
	}
}

// readBucket leaves the default of what an object does not say.
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
	standard := defaults().TakeoverLimit
	return []field[policy.TokenBucket]{
		{"max_tokens", optional, strconv.Itoa(standard.MaxTokens), sprintf("tokens the bucket holds, one a takeover; 1 to %d", maxTokens),
			func(v value, b *policy.TokenBucket) { b.MaxTokens, _ = v.integer(1, maxTokens) }},
		{"tokens_per_fill", optional, strconv.Itoa(standard.TokensPerFill), sprintf("tokens it gets at each fill; 1 to %d", maxTokens),
			func(v value, b *policy.TokenBucket) { b.TokensPerFill, _ = v.integer(1, maxTokens) }},
		{"fill_interval", optional, spelled(standard.FillInterval), "time between fills; " + span(minWait, maxWait),
			func(v value, b *policy.TokenBucket) { b.FillInterval, _ = v.duration(minWait, maxWait) }},
	}
}

func bucketText(b policy.TokenBucket) string {
	return sprintf("%d tokens, %d each %s", b.MaxTokens, b.TokensPerFill, spelled(b.FillInterval))
}
