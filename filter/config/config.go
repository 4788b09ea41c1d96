// Package config reads the filter's configuration, strictly.
//
// A permissive parser turns a typing mistake into a filter that does nothing,
// and nobody notices until clients leak streams. So a key that is unknown,
// repeated or differently cased, a value of the wrong type or out of range,
// and anything after the end are refused. All faults are reported at once, each
// with the way to it and what was wanted instead; Envoy then rejects the update
// and keeps running with the old configuration.
//
// The schema (schema.go) is one list of fields an object, and each entry holds
// both what is documented of a field and how it is read: the documentation and
// the parser cannot disagree on what exists.
package config

import (
	"strconv"

	"github.com/streamlatch/streamlatch/filter/identity"
	"github.com/streamlatch/streamlatch/filter/match"
	"github.com/streamlatch/streamlatch/filter/policy"
)

// Config is a valid configuration with the defaults filled in.
type Config struct {
	Rules           []Rule
	MaxTotalStreams int // 0: no limit
	OnContention    OnContention
	AdminPath       string // "": off
}

// Rule says which requests may open streams, who their client is, and what
// becomes of a client's older streams.
type Rule struct {
	Name        string
	Match       match.Conditions // New accepts them
	Client      identity.Sources
	Instance    identity.Sources // none: instances are not told apart
	MaxStreams  int
	OnDuplicate OnDuplicate
	ClaimAt     ClaimAt

	TakeoverLimit policy.TokenBucket
	Retry         policy.Millis // at least; what a refused client is told to wait

	GoodbyeGrace          policy.Millis // 0: reset at once
	MaxLifetime           policy.Millis // 0: no limit
	LifetimeJitterPercent int           // 0 to 100
	IdleTimeout           policy.Millis // 0: no limit

	Mode Mode
}

// defaults is a rule of which nothing has been read yet.
func defaults() Rule {
	return Rule{
		MaxStreams:  1,
		OnDuplicate: ResetPrevious,
		ClaimAt:     AtResponse,

		TakeoverLimit: policy.TokenBucket{MaxTokens: 5, TokensPerFill: 1, FillInterval: 30 * policy.Second},
		Retry:         15 * policy.Second,

		LifetimeJitterPercent: 10,

		Mode: Enforce,
	}
}

// OnDuplicate says what happens when a client opens more than its streams.
type OnDuplicate int

const (
	// ResetPrevious ends the oldest streams.
	ResetPrevious OnDuplicate = iota + 1
	// RejectNew refuses the newcomer.
	RejectNew
)

func (o OnDuplicate) String() string {
	switch o {
	case ResetPrevious:
		return "reset_previous"
	case RejectNew:
		return "reject_new"
	}
	return "OnDuplicate(" + strconv.Itoa(int(o)) + ")"
}

// ClaimAt says when a stream takes its client's place.
type ClaimAt int

const (
	// AtResponse claims once the backend has answered with an event stream, so
	// that an attempt it turns away costs no healthy stream.
	AtResponse ClaimAt = iota + 1
	// AtRequest claims before the backend hears of the request, for backends
	// that turn a client away while its old stream lives.
	AtRequest
)

func (c ClaimAt) String() string {
	switch c {
	case AtResponse:
		return "response"
	case AtRequest:
		return "request"
	}
	return "ClaimAt(" + strconv.Itoa(int(c)) + ")"
}

// OnContention says what becomes of a newcomer whose claim other workers kept
// from being written.
type OnContention int

const (
	// Allow lets it through; the claim is finished a tick later.
	Allow OnContention = iota + 1
	// Refuse turns it away.
	Refuse
)

func (o OnContention) String() string {
	switch o {
	case Allow:
		return "allow"
	case Refuse:
		return "refuse"
	}
	return "OnContention(" + strconv.Itoa(int(o)) + ")"
}

// Mode says whether the filter acts.
type Mode int

const (
	// Enforce ends and refuses streams.
	Enforce Mode = iota + 1
	// Observe counts and logs what Enforce would do, and touches nothing.
	Observe
)

func (m Mode) String() string {
	switch m {
	case Enforce:
		return "enforce"
	case Observe:
		return "observe"
	}
	return "Mode(" + strconv.Itoa(int(m)) + ")"
}

// Parse reads a configuration as Envoy hands it over: JSON, if it was given as a
// string, or the binary form of a google.protobuf.Struct. The error wraps ErrInvalid; its text has one line a
// fault, in the order of the document. If the document is not JSON at all, or
// is nested beyond reason, the error is that one fault, with line and column.
func Parse(data []byte) (*Config, error) {
	root, ok := parseStruct(data)
	if !ok {
		var err error
		if root, err = parseTree(data); err != nil {
			return nil, err
		}
	}
	var found faults
	config := Config{OnContention: Allow}
	readObject(value{node: root, faults: &found}, configFields(root), &config)
	if err := found.err(); err != nil {
		return nil, err
	}
	return &config, nil
}
