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
	context  uint32
	waits    int // for so many answers
	here     int // streams of this Envoy
	anywhere int // streams of all Envoys, as etcd has them
	fault    string
}

// dismiss ends the streams of one client at every Envoy. Those of this one end even if etcd does
// not answer.
func (f *fleetSide) dismiss(asked admin.Request, context uint32) {
	w := f.worker
	d := &dismissal{context: context}
	err := cmp.Or(w.startTicks(), w.registry.Open())
	if err == nil {
		d.here, _, err = w.dismiss(asked) // a rule that is unknown here may have streams elsewhere
	}
	if err != nil {
		w.warn(err)
		d.fault = err.Error()
	}
	key, _ := identity.AppendKey(nil, asked.Parts...)
	now := w.host.Now()
	modes := [...]config.Mode{config.Enforce, config.Observe} // the asked listener need not know the rule
	d.waits = len(modes)
	for _, mode := range modes {
		id := f.client(mode, asked.Rule, key)
		if f.dismissals[id] != nil {
			d.waits--
			d.fault = "the same is under way"
			continue
		}
		f.dismissals[id] = d
		m := f.memberFor(id)
		m.Dismiss(now, id)
		f.pump(m, now)
	}
	f.answer(d)
}

// dismissed is called with each answer of the fleet.
func (f *fleetSide) dismissed(answer fleet.Dismissal) {
	d := f.dismissals[answer.Client]
	delete(f.dismissals, answer.Client)
	d.waits--
	d.anywhere += answer.Streams
	d.fault = cmp.Or(d.fault, answer.Fault)
	f.answer(d)
}

// answer answers the operator, if nothing is waited for any more.
func (f *fleetSide) answer(d *dismissal) {
	w := f.worker
	if d.waits > 0 || d.context == 0 || !w.host.Enter(d.context) {
		return
	}
	d.context = 0
	n := max(d.here, d.anywhere)
	if d.fault != "" {
		w.answer(nil, &admin.Fault{Status: 503, Message: fmt.Sprintf("%d streams end, but the fleet may have others: %s", n, d.fault)})
		return
	}
	w.answer(w.dismissed(n))
}
