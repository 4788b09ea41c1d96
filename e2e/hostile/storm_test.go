package hostile

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
)

// storms are the rules of both tests, one for each protocol. They have no takeover_limit, because
// clients take over very often here.
const storms = `{"rules": [
	{"name": "storm1", "match": {"path": {"prefix": "/storm1/"}}, "client": [{"query": "client"}], "takeover_limit": false},
	{"name": "storm2", "match": {"path": {"prefix": "/storm2/"}}, "client": [{"query": "client"}], "takeover_limit": false},
	{"name": "relay1", "match": {"path": {"prefix": "/relay1/"}}, "client": [{"query": "client"}], "takeover_limit": false},
	{"name": "relay2", "match": {"path": {"prefix": "/relay2/"}}, "client": [{"query": "client"}], "takeover_limit": false}
]}`

const (
	stormClients = 200
	stormOpens   = 20 // streams that each client opens
	stormCrowd   = 32 // goroutines that open streams
)

// Many clients open streams at the same time and in random order. In the end each client has
// exactly one, and the client, the registry and the backend agree which one it is.
func TestStorm(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: storms})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		rule := fmt.Sprintf("storm%d", p)
		var opens []string
		for _, client := range rigtest.NewClients(stormClients) {
			opens = append(opens, slices.Repeat([]string{client}, stormOpens)...)
		}
		rand.Shuffle(len(opens), func(i, j int) { opens[i], opens[j] = opens[j], opens[i] })
		queue := make(chan string, len(opens))
		for _, client := range opens {
			queue <- client
		}
		close(queue)

		dial := dialer(t, r, p)
		var all crowd
		var goroutines sync.WaitGroup
		for range stormCrowd {
			goroutines.Go(func() {
				for client := range queue {
					all.open(t, dial, rigtest.Get(rule, client))
				}
			})
		}
		goroutines.Wait()
		all.wantOneEach(t, r, rule, nil)
	})
}

// Many clients at the same time each open one stream after the other. The last one stays.
func TestLastOpenedStays(t *testing.T) {
	t.Parallel()
	r := rigtest.Start(t, rig.Options{Filter: storms})
	rigtest.Protocols(t, func(t *testing.T, p rig.Protocol) {
		rule := fmt.Sprintf("relay%d", p)
		clients := rigtest.NewClients(stormClients)
		dial := dialer(t, r, p)
		var all crowd
		last := make([]*rig.Stream, len(clients))
		var goroutines sync.WaitGroup
		for begin := range stormCrowd {
			goroutines.Go(func() {
				for range stormOpens {
					for i := begin; i < len(clients); i += stormCrowd {
						last[i] = all.open(t, dial, rigtest.Get(rule, clients[i]))
					}
				}
			})
		}
		goroutines.Wait()
		want := make(map[string]*rig.Stream)
		for i, client := range clients {
			want[client] = last[i]
		}
		all.wantOneEach(t, r, rule, want)
	})
}

// dialer returns a function that returns the connection for the next stream: a new one with
// HTTP/1.1, and one of a few with HTTP/2.
func dialer(t *testing.T, r *rig.Rig, p rig.Protocol) func(context.Context) (*rig.Conn, error) {
	if p == rig.HTTP1 {
		return func(ctx context.Context) (*rig.Conn, error) { return r.Dial(ctx, p) }
	}
	var conns []*rig.Conn
	for worker := range 8 {
		conns = append(conns, rigtest.Dial(t, r, p, worker%4))
	}
	return func(context.Context) (*rig.Conn, error) { return conns[rand.IntN(len(conns))], nil }
}

// crowd holds all opened streams, by client.
type crowd struct {
	mu      sync.Mutex
	streams map[string][]*rig.Stream
}

func (c *crowd) open(t *testing.T, dial func(context.Context) (*rig.Conn, error), q rig.Request) *rig.Stream {
	ctx, cancel := context.WithTimeout(t.Context(), wait.Patience)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		t.Error(err)
		return nil
	}
	s, err := conn.Open(ctx, q)
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(s.Close)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams == nil {
		c.streams = make(map[string][]*rig.Stream)
	}
	c.streams[q.Client] = append(c.streams[q.Client], s)
	return s
}

// wantOneEach waits until every client has exactly one open stream, and checks that it works and
// that all other streams were reset and counted. If want is not nil, it also checks that each
// client has the stream that want names.
func (c *crowd) wantOneEach(t *testing.T, r *rig.Rig, rule string, want map[string]*rig.Stream) {
	t.Helper()
	if t.Failed() {
		return
	}
	for client, opened := range c.streams {
		var survivor *rig.Stream
		wait.Until(t, func() error {
			live := slices.DeleteFunc(slices.Clone(opened), func(s *rig.Stream) bool { return !s.Live() })
			if len(live) != 1 {
				return fmt.Errorf("%s: got %d open streams, want 1", client, len(live))
			}
			survivor = live[0]
			return nil
		})
		if want != nil && survivor != want[client] {
			t.Errorf("%s: got stream %d of %d open, want the last one opened", client, slices.Index(opened, survivor)+1, len(opened))
		}
		rigtest.WantLive(t, r, client, survivor)
		rigtest.WantFlow(t, r, survivor)
		for _, s := range opened {
			if s != survivor {
				rigtest.WantEnd(t, s, rig.Reset)
			}
		}
	}
	n := uint64(stormClients)
	rigtest.WantCounts(t, r, rule, rigtest.Counts{Opened: n * stormOpens, Superseded: n * (stormOpens - 1), Active: n})

	for opened := range maps.Values(c.streams) {
		for _, s := range opened {
			s.Close()
		}
	}
	rigtest.WantCounts(t, r, rule, rigtest.Counts{Opened: n * stormOpens, Superseded: n * (stormOpens - 1), Released: n})
	for client := range c.streams {
		rigtest.WantLive(t, r, client)
	}
}
