// Package config reads the filter's configuration, strictly.
//
// A permissive parser turns a typing mistake into a filter that does nothing, and nobody notices
// until clients leak streams. So Parse refuses unknown and repeated fields, names in the wrong
// case, values of the wrong type or out of range, and data after the end. It reports the faults at
// once, up to 20, each with the path of the field, the value, and what was wanted. Envoy then
// rejects the update and keeps the old configuration.
//
// The schema is in schema.go: one list of fields for each kind of object. Each field holds both its
// documentation and the function that reads it. So everything that is read is documented.
package config

import (
	"errors"
	"fmt"

	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// Config is a valid configuration. Fields that were not given have their defaults.
type Config struct {
	Rules           []Rule
	MaxTotalStreams int // 0: no limit
	OnContention    OnContention
	AdminPath       string // "": no admin path
	Fleet           *Fleet // nil: this Envoy only
}

// Fleet says how several Envoys keep their promise together.
type Fleet struct {
	Clusters []string // of Envoy, each reaches an etcd
	Secret   [16]byte
	Prefix   string        // of all keys in etcd
	LeaseTTL policy.Millis // whole seconds
	Timeout  policy.Millis
}

// Rule says which requests may open streams, who their client is, and what happens to a client's
// older streams.
type Rule struct {
	Name        string
	Match       match.Conditions // valid for match.New
	Client      identity.Sources
	Instance    identity.Sources // none: all instances are unknown
	MaxStreams  int
	OnDuplicate OnDuplicate
	ClaimAt     ClaimAt

	TakeoverLimit policy.TokenBucket
	Retry         policy.Millis // shortest time that a refused client is told to wait

	GoodbyeGrace          policy.Millis // 0: no goodbye, reset at once
	MaxLifetime           policy.Millis // 0: no limit
	LifetimeJitterPercent int           // 0 to 100
	IdleTimeout           policy.Millis // 0: no limit

	Mode Mode

	Scope         Scope
	OnUnavailable OnUnavailable // AllowUnavailable if Scope is EnvoyScope
}

// defaultRule returns a rule with the defaults of all fields that are not required, in a
// configuration without a fleet.
func defaultRule() Rule {
	return Rule{
		MaxStreams:  1,
		OnDuplicate: ResetPrevious,
		ClaimAt:     AtResponse,

		TakeoverLimit: policy.TokenBucket{MaxTokens: 5, TokensPerFill: 1, FillInterval: 30 * policy.Second},
		Retry:         15 * policy.Second,

		LifetimeJitterPercent: 10,

		Mode: Enforce,

		Scope:         EnvoyScope,
		OnUnavailable: AllowUnavailable,
	}
}

// OnDuplicate says what happens when a client at its limit opens one more stream.
type OnDuplicate int

const (
	// ResetPrevious ends the client's oldest stream.
	ResetPrevious OnDuplicate = iota + 1
	// RejectNew refuses the new stream.
	RejectNew
)

func (o OnDuplicate) String() string { return enumName(o, "reset_previous", "reject_new") }

// ClaimAt says when a stream takes its client's place.
type ClaimAt int

const (
	// AtResponse claims when the backend answers with an event stream. So a request that the
	// backend rejects ends no healthy stream.
	AtResponse ClaimAt = iota + 1
	// AtRequest claims before the backend sees the request, for backends that reject a client whose
	// old stream is still open.
	AtRequest
)

func (c ClaimAt) String() string { return enumName(c, "response", "request") }

// OnContention says what happens to a new stream whose registry write kept losing races against
// other workers.
type OnContention int

const (
	// Allow admits the stream. Its claim is finished at a later tick.
	Allow OnContention = iota + 1
	// Refuse refuses the stream.
	Refuse
)

func (o OnContention) String() string { return enumName(o, "allow", "refuse") }

// Mode says whether the filter acts or only observes.
type Mode int

const (
	// Enforce ends and refuses streams.
	Enforce Mode = iota + 1
	// Observe counts and logs what Enforce would do, and changes nothing.
	Observe
)

func (m Mode) String() string { return enumName(m, "enforce", "observe") }

// Scope says among which streams a rule keeps its limits.
type Scope int

const (
	// FleetScope is all Envoys of the fleet.
	FleetScope Scope = iota + 1
	// EnvoyScope is this Envoy only.
	EnvoyScope
)

func (s Scope) String() string { return enumName(s, "fleet", "envoy") }

// OnUnavailable says what happens to a new stream of a rule with FleetScope while etcd does not
// answer.
type OnUnavailable int

const (
	// AllowUnavailable keeps the limits within this Envoy, and registers the stream in etcd later.
	AllowUnavailable OnUnavailable = iota + 1
	// RefuseUnavailable refuses the stream.
	RefuseUnavailable
)

func (o OnUnavailable) String() string { return enumName(o, "allow", "refuse") }

// enumName returns the name of e, whose type is an enum that starts at 1: the first of names is the
// name of 1.
func enumName[E ~int](e E, names ...string) string {
	if e < 1 || int(e) > len(names) {
		return fmt.Sprintf("%T(%d)", e, int(e))
	}
	return names[e-1]
}

// maxSize is the largest configuration in bytes. What is made of it while it is read takes up to a
// hundred times as much of the VM's memory, and the VM keeps that for ever.
const maxSize = 256 << 10

// Parse reads a configuration as Envoy passes it to the filter: JSON, if it was given as a
// StringValue, or a serialized google.protobuf.Struct.
//
// The error has one line for each fault, in the order of the document; after 20 faults the last
// line counts the others. If the document is too large, is not JSON, or is nested too deep, the
// error is that one fault.
func Parse(data []byte) (*Config, error) {
	if len(data) > maxSize {
		return nil, fmt.Errorf("configuration: found %d bytes, want at most %d", len(data), maxSize)
	}
	root, ok := parseStruct(data)
	if !ok {
		var err error
		if root, err = parseJSON(data); err != nil {
			return nil, err
		}
	}
	var found faults
	config := Config{OnContention: Allow}
	readObject(value{node: root, faults: &found}, configFields(root), &config)
	if len(found.lines) > 0 {
		return nil, errors.New(found.String())
	}
	return &config, nil
}
