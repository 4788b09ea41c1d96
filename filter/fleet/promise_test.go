package fleet

import (
	"fmt"
	"slices"

	"github.com/streamlatch/streamlatch/filter/fleet/etcd"
)

// rest lets all that is on the way arrive, with no more faults, and reports whether the world comes
// to rest.
func (w *world) rest() bool {
	w.down, w.left = 0, faults{}
	for range 60 {
		quiet := true
		for len(w.strays) > 0 {
			quiet = false
			t := w.strays[0]
			w.strays = w.strays[1:]
			_, _ = w.carry(t)
		}
		for i := range w.works {
			me := &w.works[i]
			for len(me.calls) > 0 {
				at := slices.IndexFunc(me.calls, func(p pending) bool { return !idle(p.Request) })
				if at < 0 {
					break
				}
				quiet = false
				if me.calls[at].done {
					w.answer(i, at)
				} else {
					w.execute(i, at)
				}
			}
			for len(w.changes(i)) > 0 {
				quiet = false
				w.tell(i)
			}
			w.tick(i)
			quiet = quiet && len(me.calls) == len(slices.DeleteFunc(slices.Clone(me.calls), func(p pending) bool { return !idle(p.Request) }))
			unregistered := me.member.Streams().Unregistered
			quiet = quiet && unregistered == 0 && !me.member.away && (me.member.lease == 0 || me.watch != 0)
			if w.leaseGone(i) {
				quiet = false
				w.sayGone(i)
			}
		}
		for _, lease := range slices.Clone(w.etcd.Leases) {
			if !w.owned(lease.ID) {
				quiet = false
				w.etcd.Expire(lease.ID)
			}
		}
		for _, s := range w.opened {
			if s.condition == cut {
				w.forget(s)
			}
		}
		w.now += 1000
		if quiet {
			return true
		}
	}
	return false
}

// idle reports whether a call need not be answered.
func idle(r etcd.Request) bool {
	_, keepAlive := r.(etcd.LeaseKeepAliveRequest)
	return keepAlive
}

// check returns which part of the promise does not hold in a world at rest; "" if all hold.
func (w *world) check() string {
	registered := map[uint32]Stamp{}
	for _, k := range w.etcd.Keys {
		if !w.etcd.Lives(k.Lease) {
			return fmt.Sprintf("%s has outlived its lease", k.Name)
		}
	}
	clients := 0
	for _, k := range w.etcd.Within("p/1/c/", "p/1/c0") {
		clients++
		r, err := ParseRecord([]byte(k.Value))
		if err != nil {
			return err.Error()
		}
		registered[w.byKey(k.Name).Context] = r.Stamp
	}
	if listed := len(w.etcd.Within("p/1/m/", "p/1/m0")); listed != clients+len(w.etcd.Leases) {
		return fmt.Sprintf("%d keys of streams, and %d of members with %d leases", clients, listed, len(w.etcd.Leases))
	}
	var newest *opened
	lives, ownEnd := 0, false
	for k, s := range w.opened {
		stamp, in := registered[s.Context]
		local := w.envoys[w.works[s.worker].envoy].client
		known := slices.ContainsFunc(local.Streams, s.local.Is)
		switch {
		case s.condition == waiting:
			return fmt.Sprintf("stream %d waits for ever", k)
		case s.condition == live && !in:
			return fmt.Sprintf("live stream %d is not registered", k)
		case s.condition == live && (stamp != s.place || s.Stamp() != s.place):
			return fmt.Sprintf("live stream %d is registered under stamp %d, want %d", k, stamp, s.place)
		case s.condition == live && s.State() != Registered:
			return fmt.Sprintf("live stream %d is %s", k, s.State())
		case s.condition == live && !known:
			return fmt.Sprintf("live stream %d is not in its Envoy's registry", k)
		case s.condition != live && in:
			return fmt.Sprintf("stream %d is registered and has ended", k)
		case s.condition != live && known:
			return fmt.Sprintf("stream %d is in its Envoy's registry and has ended", k)
		case s.condition == reset && !s.yielded:
			return "a stream was reset that nobody had made to yield"
		}
		if s.condition == live {
			lives++
		}
		ownEnd = ownEnd || s.condition == hung || s.condition == cut
		if s.condition != refused && s.place != 0 && (newest == nil || s.place > newest.place) {
			newest = s
		}
	}
	if most := slices.Max(w.config.most); lives > most {
		return fmt.Sprintf("%d live streams, want at most %d", lives, most)
	}
	if w.broken != "" {
		return w.broken
	}
	if newest != nil && newest.condition == reset {
		return fmt.Sprintf("stream %d, the newest by stamp, was reset", newest.Context)
	}
	return w.survivors(lives, ownEnd)
}

// survivors checks that those that are left are those that should be.
func (w *world) survivors(lives int, ownEnd bool) string {
	for k, s := range w.opened {
		if s.condition != reset || ownEnd {
			continue
		}
		if lives == 0 {
			return "no stream is left, and none ended by itself"
		}
		newer := 0
		for _, other := range w.opened {
			if other.condition != refused && other.place > s.place {
				newer++
			}
		}
		if newer < w.config.most[0] && len(w.config.most) == 1 {
			return fmt.Sprintf("stream %d was reset, and only %d are newer", k, newer)
		}
	}
	if last := len(w.opened) - 1; last >= 0 && w.config.skew == 0 && !w.config.reject {
		if s := w.opened[last]; !s.raced && s.condition == reset {
			return fmt.Sprintf("stream %d, opened after all others had been let in, was reset", last)
		}
	}
	return ""
}
