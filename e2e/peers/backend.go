package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
)

// serveBackend serves event streams, and prints its address. With brief=1 in the query, a stream
// has one event and ends; without, it stays open. With Redis, a client's newer stream ends the
// older.
func serveBackend(ctx context.Context, redis string) error {
	var l *latch
	if redis != "" {
		var err error
		if l, err = newLatch(ctx, redis, fmt.Sprint("backend-", os.Getpid())); err != nil {
			return err
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, end := context.WithCancel(r.Context())
		defer end()
		query := r.URL.Query()
		if l != nil {
			ended, err := l.open(ctx, query.Get("client"), end)
			if err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
			defer ended()
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: hello\n\n")
		if query.Get("brief") != "" {
			return
		}
		http.NewResponseController(w).Flush()
		<-ctx.Done()
		if r.Context().Err() == nil {
			panic(http.ErrAbortHandler) // a cut, as the other contenders make it
		}
	})}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	err = server.Serve(listener)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
