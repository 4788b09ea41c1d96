// Command golang runs one client library of this module in its default settings, or lists them.
//
//	golang                        a line {"library", "name"} for each library
//	golang LIBRARY CAUSE=URL ...  opens all URLs, each under the name of its cause
//
// It prints a line of JSON for all that a program learns from the library:
// {"cause", "what", "id", "text"}. What is event, error, or end: the library has stopped.
package main

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	donovanhide "github.com/donovanhide/eventsource"
	launchdarkly "github.com/launchdarkly/eventsource"
	r3labs "github.com/r3labs/sse/v2"
	tmaxmax "github.com/tmaxmax/go-sse"
)

// libraries are called by their modules. Each function returns when the library has stopped.
var libraries = []struct {
	module string
	run    func(url string, say say) error
}{
	{"github.com/r3labs/sse/v2", func(url string, say say) error {
		return r3labs.NewClient(url).SubscribeRaw(func(e *r3labs.Event) { say.event(string(e.ID)) })
	}},
	{"github.com/tmaxmax/go-sse", func(url string, say say) error {
		request, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		connection := tmaxmax.NewConnection(request)
		connection.SubscribeMessages(func(e tmaxmax.Event) { say.event(e.LastEventID) })
		return connection.Connect()
	}},
	{"github.com/launchdarkly/eventsource", func(url string, say say) error {
		stream, err := launchdarkly.SubscribeWithURL(url)
		if err != nil {
			return err
		}
		return listen(stream.Events, stream.Errors, say)
	}},
	{"github.com/donovanhide/eventsource", func(url string, say say) error {
		stream, err := donovanhide.Subscribe(url, "")
		if err != nil {
			return err
		}
		return listen(stream.Events, stream.Errors, say)
	}},
}

// listen reads the channels of a stream until the library closes them.
func listen[E interface{ Id() string }](events chan E, errors chan error, say say) error {
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return nil
			}
			say.event(e.Id())
		case err := <-errors:
			if err != nil {
				say("error", "", err.Error())
			}
		}
	}
}

// say prints a line.
type say func(what, id, text string)

func (s say) event(id string) { s("event", id, "") }

func main() {
	var printing sync.Mutex
	out := json.NewEncoder(os.Stdout)
	print := func(line map[string]string) {
		printing.Lock()
		defer printing.Unlock()
		if err := out.Encode(line); err != nil {
			os.Exit(1)
		}
	}
	for _, library := range libraries {
		if len(os.Args) == 1 {
			print(map[string]string{"library": library.module, "name": "Go " + strings.TrimPrefix(library.module, "github.com/") + " " + version(library.module)})
			continue
		}
		if os.Args[1] != library.module {
			continue
		}
		var all sync.WaitGroup
		for _, argument := range os.Args[2:] {
			all.Go(func() {
				cause, url, _ := strings.Cut(argument, "=")
				say := say(func(what, id, text string) {
					print(map[string]string{"cause": cause, "what": what, "id": id, "text": text})
				})
				if err := library.run(url, say); err != nil {
					say("error", "", err.Error())
				}
				say("end", "", "")
			})
		}
		all.Wait()
	}
}

// version returns the version of a module that this program is built with.
func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version
			}
		}
	}
	return ""
}
