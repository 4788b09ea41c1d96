package config

import (
	"strconv"

	"github.com/streamlatch/streamlatch/filter/match"
)

// String returns the effective configuration, defaults filled in, as one line
// of JSON in the order of the schema. Parse makes the same Config of it.
func (c *Config) String() string {
	rules := node{kind: list}
	for _, r := range c.Rules {
		rules.items = append(rules.items, written(r))
	}
	return string(node{kind: object, members: []member{{"rules", rules}}}.appendJSON(nil))
}

func written(r Rule) node {
	client := node{kind: list}
	for _, s := range r.Client {
		client.items = append(client.items, node{kind: object, members: []member{{s.Kind.String(), textNode(s.Name)}}})
	}
	return node{kind: object, members: []member{
		{"name", textNode(r.Name)},
		{"match", writtenMatch(r.Match)},
		{"client", client},
		{"max_streams", node{kind: number, content: strconv.Itoa(r.MaxStreams)}},
		{"on_duplicate", textNode(r.OnDuplicate.String())},
		{"claim_at", textNode(r.ClaimAt.String())},
		{"mode", textNode(r.Mode.String())},
	}}
}

func writtenMatch(c match.Conditions) node {
	n := node{kind: object}
	if c.Path != (match.Path{}) {
		path := node{kind: object, members: []member{{c.Path.Op.String(), textNode(c.Path.Value)}}}
		n.members = append(n.members, member{"path", path})
	}
	if len(c.Methods) > 0 {
		methods := node{kind: list}
		for _, m := range c.Methods {
			methods.items = append(methods.items, textNode(m))
		}
		n.members = append(n.members, member{"methods", methods})
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
