package session

import (
	"cmp"
	"fmt"

	"github.com/streamlatch/streamlatch/filter/admin"
	"github.com/streamlatch/streamlatch/filter/config"
	"github.com/streamlatch/streamlatch/filter/fleet"
	"github.com/streamlatch/streamlatch/filter/identity"
)

// dismissal is an operator's request that waits for the fleet.
type dismissal struct {
	context uint32
	asked   admin.Request
	waits   int // for so many answers
	streams int // that etcd had
	fault   string
}

// dismiss ends the streams of one client at every Envoy, and then those that only this one knows:
// also if etcd does not answer. In the opposite order nobody could say how many they were, because
// streams of this Envoy may leave etcd meanwhile.
func (f *fleetSide) dismiss(asked admin.Request, context uint32) {
	w := f.worker
	d := &dismissal{context: context, asked: asked}
	if err := w.startTicks(); err != nil { // they find out that etcd answers again
		w.warn(err)
	}
	key, _ := identity.AppendKey(nil, asked.Parts...)
	now := w.host.Now()
	d.waits = 1 // for the loop
	// The asked listener need not know the rule.
	for _, mode := range [...]config.Mode{config.Enforce, config.Observe} {
		id := f.client(mode, asked.Rule, key)
		if f.dismissals[id] != nil {
			d.fault = "the same is under way"
			continue
		}
		f.dismissals[id] = d
		d.waits++
		m := f.memberFor(id)
		m.Dismiss(now, id)
		f.pump(m, now)
	}
	d.waits--
	f.answer(d)
}

// dismissed is called with each answer of the fleet.
func (f *fleetSide) dismissed(answer fleet.Dismissal) {
	d := f.dismissals[answer.Client]
	delete(f.dismissals, answer.Client)
	d.waits--
	d.streams += answer.Streams
	d.fault = cmp.Or(d.fault, answer.Fault)
	f.answer(d)
}

// answer answers the operator, if nothing is waited for any more.
func (f *fleetSide) answer(d *dismissal) {
	w := f.worker
	if d.waits > 0 {
		return
	}
	here, err := 0, w.registry.Open()
	if err == nil {
		here, _, err = w.dismiss(d.asked) // a rule that is unknown here may have streams elsewhere
	}
	if err != nil {
		w.warn(err)
		d.fault = cmp.Or(d.fault, err.Error())
	}
	n := max(here, d.streams)
	w.logDismissed(d.asked, n)
	if !w.host.Enter(d.context) { // the operator has gone
		return
	}
	if d.fault != "" {
		w.answer(nil, &admin.Fault{Status: 503, Message: fmt.Sprintf("%d streams end, but the fleet may have others: %s", n, d.fault)})
		return
	}
	w.answer(w.dismissed(n))
}

// report leaves for the status what this worker has in the fleet, and for the metric how many
// streams of it are not registered.
func (f *fleetSide) report(now int64, unregistered int) {
	members := make([]admin.Member, len(f.members))
	for i, m := range f.members {
		streams := m.Streams()
		members[i] = admin.Member{
			Cluster: m.cluster, Lease: m.Lease(), Age: now - m.JoinedAt(), Away: m.Away(), Fault: m.Fault(),
			Registered: streams.Registered, Unregistered: streams.Unregistered, Returning: streams.Returning,
		}
	}
	f.worker.warn(f.worker.registry.Report(uint32(unregistered), admin.AppendMembers(nil, members)))
}
