package demo

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A network plays what is between a device and Envoy. A page cannot lose its connection as a phone
// does that leaves its Wi-Fi: when it closes a stream, the browser tells everyone on the way. So
// the page's streams take a detour. The page asks for /demo/line/events, and the network asks Envoy
// for /events. When the page says that its device has lost the network (POST /demo/cut), the page's
// side breaks, and Envoy's side stays as it is: open, and read by nobody who cares.
type network struct {
	mu    sync.Mutex
	last  int
	lines map[int]*line
}

// line is the way of one request.
type line struct {
	number      int
	client, tab string
	cut         chan struct{} // closed when the device has lost the network
	isCut       bool
	end         context.CancelFunc // closes the connection to Envoy
}

// A line whose device is lost stays open until Envoy closes it, or, as if TCP had given up at last,
// for lostFor, or until there are maxLost newer ones.
const (
	lostFor = 10 * time.Minute
	maxLost = 24
)

// detour never shares connections: what is cut here is a connection.
var detour = &http.Transport{DisableKeepAlives: true, DisableCompression: true}

func (n *network) open(client, tab string, end context.CancelFunc) *line {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last++
	l := &line{number: n.last, client: client, tab: tab, cut: make(chan struct{}), end: end}
	n.lines[l.number] = l
	return l
}

func (n *network) close(l *line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.end()
	delete(n.lines, l.number)
}

// lost reports whether the device at a line has gone.
func (n *network) lost(number int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.lines[number]
	return l != nil && l.isCut
}

// loseDevice cuts the lines of one page, and returns how many there were.
func (n *network) loseDevice(client, tab string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	var lost []*line // by age
	for _, number := range slices.Sorted(maps.Keys(n.lines)) {
		l := n.lines[number]
		if !l.isCut && l.client == client && l.tab == tab {
			count++
			l.isCut = true
			close(l.cut)
			time.AfterFunc(lostFor, l.end)
		}
		if l.isCut {
			lost = append(lost, l)
		}
	}
	for ; len(lost) > maxLost; lost = lost[1:] {
		lost[0].end()
	}
	return count
}

// endLost ends all lost lines of a client, and returns their numbers.
func (n *network) endLost(client string) map[int]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	ended := make(map[int]bool)
	for number, l := range n.lines {
		if l.isCut && l.client == client {
			l.end()
			ended[number] = true
		}
	}
	return ended
}

// line passes a request on to Envoy, and the response back, as it comes.
func (b *Backend) line(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	gateway, known := b.gateways.at(query)
	if !known {
		http.Error(w, unknownEnvoy, http.StatusServiceUnavailable)
		return
	}
	query.Del("envoy")
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	l := b.network.open(query.Get("client"), query.Get("tab"), cancel)
	query.Set("line", strconv.Itoa(l.number))
	target := url.URL{Scheme: "http", Host: gateway.Edge, Path: "/" + r.PathValue("path"), RawQuery: query.Encode()}
	onward := (&http.Request{Method: r.Method, URL: &target, Host: r.Host, Header: r.Header.Clone()}).WithContext(ctx)
	for name := range onward.Header {
		if strings.HasPrefix(name, "X-") { // what Envoy has added the first time
			onward.Header.Del(name)
		}
	}

	answer, chunks := make(chan *http.Response, 1), make(chan []byte)
	whole := false // valid when chunks is closed
	go func() {
		defer b.network.close(l)
		defer close(chunks)
		defer close(answer)
		response, err := detour.RoundTrip(onward)
		if err != nil {
			return
		}
		defer response.Body.Close()
		answer <- response
		for {
			chunk := make([]byte, 4096)
			n, err := response.Body.Read(chunk)
			select {
			case chunks <- chunk[:n]:
			case <-l.cut: // read on: to Envoy nothing has happened
			}
			if err != nil {
				whole = err == io.EOF
				return
			}
		}
	}()

	select {
	case <-r.Context().Done():
		cancel()
		return
	case response, ok := <-answer:
		if !ok {
			http.Error(w, "Envoy does not answer", http.StatusBadGateway)
			return
		}
		for name, values := range response.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(response.StatusCode)
	}
	for {
		if http.NewResponseController(w).Flush() != nil {
			cancel()
			return
		}
		select {
		case <-r.Context().Done():
			cancel()
			return
		case <-l.cut:
			panic(http.ErrAbortHandler) // breaks the page's side
		case chunk, ok := <-chunks:
			if !ok && whole {
				return
			}
			if !ok {
				panic(http.ErrAbortHandler)
			}
			w.Write(chunk) // an error is that of the next Flush
		}
	}
}

// cut answers with the number of connections that a page has lost.
func (b *Backend) cut(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	n := b.network.loseDevice(query.Get("client"), query.Get("tab"))
	b.streams.mu.Lock()
	b.streams.change()
	b.streams.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]int{"cut": n})
}

// overLimit bounds the time that over waits.
const overLimit = 5 * time.Second

// over ends what is left of a client's lost connections, and answers when their streams have ended.
// That they end is no takeover.
func (b *Backend) over(w http.ResponseWriter, r *http.Request) {
	client := r.URL.Query().Get("client")
	b.streams.mu.Lock()
	delete(b.streams.crowds, client)
	b.streams.mu.Unlock()
	ended := b.network.endLost(client)
	limit := time.After(overLimit)
	for {
		now, changed := b.streams.state(client, func(line int) bool { return ended[line] })
		left := 0
		for _, s := range now.Streams {
			if s.Lost {
				left++
			}
		}
		if left == 0 {
			break
		}
		select {
		case <-changed:
		case <-limit:
			http.Error(w, "the streams do not end", http.StatusGatewayTimeout)
			return
		case <-r.Context().Done():
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]int{"ended": len(ended)})
}
