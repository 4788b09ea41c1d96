//go:build !wasip1

package session

// What tests hold every stream to. It is no part of the module.

import (
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/registry"
)

var phases = [...]phase{asking, held, answering, looking, claiming, joining, paused, claimed, open, leaving, parted, observed, resetting, releasing, done}

// legal says which states of the registry a stream may be in, by its phase, when no callback runs.
// Where a phase before done goes with Out, the registry took the place away: in a rule that only
// observes, which tells nobody, or from a stream that is on its way out.
var legal = map[phase][]registry.State{
	asking:    {registry.Unclaimed},
	held:      {registry.Unclaimed},
	answering: {registry.Unclaimed},
	looking:   {registry.Unclaimed},
	claiming:  {registry.Unclaimed},
	joining:   {registry.Unclaimed},
	paused:    {registry.Registered, registry.Missing, registry.Returning},
	claimed:   append([]registry.State{registry.Out}, holding...),
	open:      append([]registry.State{registry.Out}, holding...),
	leaving:   append([]registry.State{registry.Out}, holding...),
	parted:    append([]registry.State{registry.Out}, holding...),
	observed:  {registry.Out, registry.Releasing, registry.Released},
	resetting: append([]registry.State{registry.Out}, holding...),
	releasing: {registry.Releasing, registry.Released},
	done:      {registry.Unclaimed, registry.Releasing, registry.Released},
}

// holding are the states of a stream with a place, or with a claim to one.
var holding = []registry.State{registry.Pending, registry.Registered, registry.Missing, registry.Returning}

// Check returns an error if the stream is in a state that it must not be in when no callback runs.
func (s *Stream) Check() error {
	state := s.place.State()
	if !slices.Contains(legal[s.phase], state) {
		return fmt.Errorf("stream %d is %v, but %v in the registry", s.place.Context, s.phase, state)
	}
	if state == registry.Out && s.place.Enforce && (s.phase == claimed || s.phase == open) {
		return fmt.Errorf("stream %d is %v without a place, in a rule that enforces", s.place.Context, s.phase)
	}
	return nil
}
