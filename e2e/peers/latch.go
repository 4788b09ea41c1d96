package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// A latch keeps one live stream per client, as one would write it on Redis: a key for each client
// holds the name of its stream, and a message on the channel of that stream's process ends it.
type latch struct {
	db   *redis.Client
	name string // of this process

	mu   sync.Mutex
	last int
	ends map[string]func() // by the name of the stream
}

// mostLife bounds how long a key stays whose process has died.
const mostLife = time.Hour

// release deletes a client's key, unless a newer stream has it.
var release = redis.NewScript(`if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) end return 0`)

// newLatch returns a latch that listens until ctx is done.
func newLatch(ctx context.Context, address, name string) (*latch, error) {
	l := &latch{db: redis.NewClient(&redis.Options{Addr: address, PoolSize: 64}), name: name, ends: make(map[string]func())}
	messages := l.db.Subscribe(ctx, channel(name))
	if _, err := messages.Receive(ctx); err != nil { // the subscription's confirmation
		return nil, fmt.Errorf("redis at %s: %w", address, err)
	}
	go func() {
		for m := range messages.Channel(redis.WithChannelSize(10_000)) {
			l.mu.Lock()
			end := l.ends[m.Payload]
			l.mu.Unlock()
			if end != nil {
				end()
			}
		}
	}()
	return l, nil
}

func channel(name string) string { return "end/" + name }

// open makes a new stream the client's, and has its older one ended. It calls end when the new one
// is superseded. Call the returned function when it has ended.
func (l *latch) open(ctx context.Context, client string, end func()) (ended func(), err error) {
	l.mu.Lock()
	l.last++
	stream := fmt.Sprintf("%s/%d", l.name, l.last)
	l.ends[stream] = end
	l.mu.Unlock()
	key := "stream/" + client
	ended = func() {
		l.mu.Lock()
		delete(l.ends, stream)
		l.mu.Unlock()
		release.Run(context.Background(), l.db, []string{key}, stream)
	}
	old, err := l.db.SetArgs(ctx, key, stream, redis.SetArgs{Get: true, TTL: mostLife}).Result()
	if errors.Is(err, redis.Nil) {
		return ended, nil
	}
	if err == nil {
		owner, _, _ := strings.Cut(old, "/")
		err = l.db.Publish(ctx, channel(owner), old).Err()
	}
	if err != nil {
		ended()
		return nil, err
	}
	return ended, nil
}
