//go:build browser

package browser

import (
	"context"
	"fmt"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamlatch/streamlatch/e2e/browser/chromium"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/e2e/rigtest"
	"github.com/streamlatch/streamlatch/e2e/wait"
	"github.com/streamlatch/streamlatch/envoy/demo"
)

// The demo page behind the Envoy that `make run` starts. Each test is another user.
var (
	demoBackend = demo.New(500 * time.Millisecond)
	demoEdge    = shared(func() (*rig.Rig, error) {
		r, err := rig.Start(context.Background(), rig.Options{Concurrency: 2, Handler: demoBackend, Base: demo.Render})
		if err != nil {
			return nil, err
		}
		listeners, err := r.Envoy().Admin().Listeners(context.Background())
		demoBackend.Behind(demo.Gateway{Edge: r.Address(), Internal: listeners[rig.Internal]})
		return r, err
	})
)

// demoPage is the demo page of one user.
type demoPage struct {
	*page
	rig     *rig.Rig
	backend *demo.Backend
	client  string
}

// openDemo opens the page behind the shared Envoy.
func openDemo(t *testing.T, view chromium.View) *demoPage {
	t.Helper()
	r, err := demoEdge()
	if err != nil {
		t.Fatal(err)
	}
	return openDemoAt(t, r, demoBackend, view)
}

// openDemoAt opens the page through an Envoy, and waits until its laptop has the stream. Some of
// what it shows lasts only a second, so the page writes all of it down: in `states` the states of
// its devices, by the name of the device, in `words` what it says of streams that nobody reads, and
// the countdowns, and in `refusals` what a refused device says.
func openDemoAt(t *testing.T, r *rig.Rig, backend *demo.Backend, view chromium.View) *demoPage {
	t.Helper()
	client := rigtest.NewClient()
	d := &demoPage{show(t, "http://"+r.Address()+"/?client="+client, view), r, backend, client}
	d.until("document.querySelector('#device-phone')")
	d.do(`window.states = {}, window.words = [], window.refusals = [];
		for (const card of document.querySelectorAll('.device')) {
			const note = () => {
				(states[card.id.slice(7)] ??= []).push(card.dataset.state);
				if (card.dataset.state === 'refused')
					refusals.push(card.querySelector('.word').innerText.trim() + ': ' + card.querySelector('.why').innerText.trim());
			};
			note();
			new MutationObserver(note).observe(card, {attributeFilter: ['data-state']});
		}
		for (const text of document.querySelectorAll('#unread-number, .countdown p')) {
			new MutationObserver(() => words.push(text.textContent)).observe(text, {childList: true});
		}`)
	d.shows("laptop", "open")
	return d
}

// shows waits until a device shows a state, and the word for it.
func (d *demoPage) shows(device, state string) {
	d.t.Helper()
	word := map[string]string{"off": "Not open", "open": "Open", "taken": "Taken over", "cut": "Cut off", "refused": "Refused"}[state]
	d.until(fmt.Sprintf("document.querySelector('#device-%s').dataset.state === %q && document.querySelector('#device-%[1]s .word').innerText.trim() === %[3]q", device, state, word))
}

// after does something, and waits until a device has come back to be open since.
func (d *demoPage) after(device string, do func()) {
	d.t.Helper()
	d.do("states = {}, words = []")
	do()
	d.until(fmt.Sprintf("states[%q]?.length > 1 && states[%[1]q].at(-1) === 'open'", device))
}

// shown returns the states that a device has shown since.
func (d *demoPage) shown(device string) []string {
	d.t.Helper()
	return value[map[string][]string](d.page, "states")[device]
}

// newNetwork gives a device a new network, and waits until it is open again.
func (d *demoPage) newNetwork(device string) {
	d.t.Helper()
	d.after(device, func() { d.press("#device-" + device + " .network") })
	if got := d.shown(device); !slices.Equal(got, []string{"cut", "open"}) {
		d.t.Errorf("on a new network the %s showed %q, want it cut off and open again", device, got)
	}
}

// says waits until a part of the page has a text that this expression matches.
func (d *demoPage) says(selector, expression string) {
	d.t.Helper()
	matches := regexp.MustCompile(expression)
	wait.Until(d.t, func() error {
		if text := d.text(selector); !matches.MatchString(text) {
			return fmt.Errorf("%s: got %q, want %s", selector, text, expression)
		}
		return nil
	})
}

func (d *demoPage) text(selector string) string {
	d.t.Helper()
	return value[string](d.page, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

func (d *demoPage) press(selector string) {
	d.t.Helper()
	d.do(fmt.Sprintf("document.querySelector(%q).click()", selector))
}

// dots waits until the page shows these streams: those that somebody reads, by device, and the
// number of those that nobody reads. It also checks that the backend has as many.
func (d *demoPage) dots(unread int, read ...string) {
	d.t.Helper()
	wait.Until(d.t, func() error {
		got := value[[]string](d.page, "[...document.querySelectorAll('#read li:not(.gone)')].map(li => li.dataset.device).sort()")
		lost := value[int](d.page, "document.querySelectorAll('#unread li:not(.gone)').length")
		number := d.text(".number")
		if !slices.Equal(got, read) || lost != unread {
			return fmt.Errorf("dots: got %q and %d that nobody reads, want %q and %d", got, lost, read, unread)
		}
		want := fmt.Sprintf("%d open streams", unread+len(read))
		if unread+len(read) == 1 {
			want = "1 open stream"
		}
		if got := strings.Join(strings.Fields(number), " "); got != want {
			return fmt.Errorf("number: got %q, want %q", got, want)
		}
		if n := d.backend.Live()[d.client]; n != unread+len(read) {
			return fmt.Errorf("the backend: got %d streams, want %d", n, unread+len(read))
		}
		return nil
	})
}

const inTime = `^\d+(\.\d)? m?s\s*until the old stream had ended\. The new one is that of the `

// A second device takes the stream over, and a reload takes it back. Nobody is refused.
func TestPageSecondDevice(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	d.shows("phone", "off")
	d.dots(0, "laptop")
	d.says("#watch", "No takeover yet")
	d.press("#device-phone .open")
	d.shows("phone", "open")
	d.shows("laptop", "taken")
	d.says("#device-laptop .why", "Reload takes it back")
	d.dots(0, "phone")
	d.says("#watch", inTime+`phone\.$`)
	d.says("#log", `Takeover by the phone, in \d+(\.\d)? m?s\n`)
	d.says("#device-phone .events", `^\d\d:\d\d:\d\d\s*Event \d+\n`)

	d.press("#device-laptop .reload")
	d.shows("laptop", "open")
	d.shows("phone", "taken")
	d.dots(0, "laptop")
	d.says("#watch", inTime+`laptop\.$`)
	for device, want := range map[string][]string{
		"laptop": {"open", "taken", "connecting", "open"},
		"phone":  {"off", "connecting", "open", "taken"},
	} {
		got := d.shown(device)
		if !slices.Equal(got[max(0, len(got)-len(want)):], want) {
			t.Errorf("%s showed %q, want %q", device, got, want)
		}
	}
}

// A device that reloads leaves nothing behind, with the filter or without.
func TestPageReload(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	for _, filter := range []string{"true", "false"} {
		for n := range 3 {
			d.after("laptop", func() { d.press("#device-laptop .reload") })
			d.dots(0, "laptop")
			if got := d.shown("laptop"); !slices.Equal(got, []string{"connecting", "open"}) {
				t.Errorf("reload %d, filter %s: the laptop showed %q", n, filter, got)
			}
		}
		d.after("laptop", func() { d.press("#filter") })
		d.dots(0, "laptop")
	}
}

// With the filter a device that changes its network replaces its old stream, again and again.
func TestPageNewNetwork(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	for range 3 {
		d.newNetwork("laptop")
		d.until("words.includes('Nobody reads this one.')") // before the device is back
		d.dots(0, "laptop")
		d.says("#watch", inTime+`laptop, on a new connection\.$`)
	}
	d.says("#log", `Laptop: new network\. Nobody tells Envoy`)
	d.press("#device-phone .open")
	d.shows("laptop", "taken")
	d.press("#device-laptop .network")
	d.says("#log", `Laptop: new network, but it has no stream to lose`)
	d.newNetwork("phone")
	d.dots(0, "phone")
}

// Without the filter the streams pile up, the stopwatch runs on, and a kick ends nothing. The
// filter is back with the switch.
func TestPageWithoutTheFilter(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	d.says("#filter", "^On$")
	d.after("laptop", func() { d.press("#filter") })
	d.says("#filter", "^Off$")
	d.until("document.querySelector('#filter').ariaChecked === 'false'")
	d.dots(0, "laptop")
	for n := 1; n <= 3; n++ {
		d.newNetwork("laptop")
		d.dots(n, "laptop")
	}
	d.press("#device-phone .open")
	d.shows("phone", "open")
	d.dots(3, "laptop", "phone")
	d.shows("laptop", "open")
	d.says("#unread-number", `^Nobody reads these 3\.$`)
	d.says("#wasted", `^\d+ events sent to nobody$`)
	d.says("#watch", `^\d+\.\d s\s*with more than one stream, and it goes on\.$`)
	sent := d.text("#wasted")
	d.until(fmt.Sprintf("document.querySelector('#wasted').innerText !== %q", sent))

	d.press("#kick")
	d.says("#log", "^[0-9:]+\\s*Kick: the filter knows no stream of this user")
	d.dots(3, "laptop", "phone")

	d.after("laptop", func() { d.press("#filter") })
	d.says("#filter", "^On$")
	d.dots(0, "laptop")
	d.shows("phone", "off")
	d.says("#watch", "No takeover yet")
	d.newNetwork("laptop")
	d.dots(0, "laptop")
}

// The DELETE of an operator ends the stream. The page cannot know that from a broken connection,
// and comes back.
func TestPageKick(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	d.after("laptop", func() { d.press("#kick") })
	d.says("#log", "Kick: the filter ended 1 stream\n")
	if got := d.shown("laptop"); !slices.Equal(got, []string{"cut", "open"}) {
		t.Errorf("the laptop showed %q, want it cut off and open again", got)
	}
	d.dots(0, "laptop")
}

// spend takes the stream over with programs until the user has no takeover left.
func (d *demoPage) spend() {
	d.t.Helper()
	conn, err := d.rig.Dial(d.t.Context(), rig.HTTP2)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	for range 10 {
		s, err := conn.Open(d.t.Context(), rig.Request{Path: "/events?client=" + d.client})
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(s.Close)
		if s.Header.Get("x-streamlatch-refused") != "" {
			return
		}
	}
	d.t.Fatal("10 programs took the stream over, want a refusal")
}

// A refused device says why and for how long, counts down, never says that it is open, and comes
// back by itself.
func TestPageRefusal(t *testing.T) {
	t.Parallel()
	for device, button := range map[string]string{"laptop": ".reload", "phone": ".open"} {
		t.Run(device, func(t *testing.T) {
			var d *demoPage
			first := 0                                  // seconds of the countdown
			for try := 0; try < 5 && first < 5; try++ { // on a slow machine the next token may be near already
				d = openDemo(t, wide)
				d.spend()
				d.dots(0, "other")
				d.shows("laptop", "taken")
				d.says("#log", "Takeover by another page or program, in ")
				d.do("states = {}, words = []")
				d.press("#device-" + device + " " + button)
				d.until(fmt.Sprintf("['refused', 'open'].includes(states[%q]?.at(-1))", device))
				if slices.Contains(d.shown(device), "refused") {
					d.until("words.length > 0")
					fmt.Sscanf(value[[]string](d.page, "words")[0], "Tries again in %d s", &first)
				}
			}
			d.says("#log", d.titleOf(device)+`: refused \(takeover_limit\)\n`)
			d.shows(device, "open")
			d.dots(0, device)
			got := d.shown(device)
			if at := slices.Index(got, "open"); got[0] != "connecting" || at != len(got)-1 || slices.Contains(got, "taken") {
				t.Errorf("it showed %q, want it refused until it is open", got)
			}
			if said := value[[]string](d.page, "refusals"); !slices.Contains(said, "Refused: Too many takeovers in a row (takeover_limit).") {
				t.Errorf("refused it said %q", said)
			}
			words := value[[]string](d.page, "words")
			if first < 5 || first > 13 || !slices.Contains(words, fmt.Sprintf("Tries again in %d s", first-2)) || !slices.Contains(words, "Tries again in 1 s") {
				t.Errorf("the countdown was %q, want it to begin with 5 to 13 seconds, and to go down", slices.Compact(words))
			}
		})
	}
}

func (d *demoPage) titleOf(device string) string {
	d.t.Helper()
	return d.text("#device-" + device + " h2")
}

// Without Envoy, and then without the backend, the page says so.
func TestPageAlone(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(demo.New(time.Hour))
	defer server.Close()
	d := &demoPage{page: show(t, server.URL, wide)}
	d.until("document.querySelector('#device-laptop')?.dataset.state === 'stopped'")
	d.says("#device-laptop .state", `^Refused\s+The answer is not an event stream\.$`)
	d.press("#kick")
	d.says("#log", "Kick: Envoy does not answer\n")
	d.says(".number", `^0\s+open streams$`)
	server.CloseClientConnections()
	server.Close()
	d.says(".number", `^\?\s+The demo’s backend does not answer\.$`)
}

// Two tabs with the page of one user are two pages, which do not mistake each other for themselves.
func TestPageTwice(t *testing.T) {
	t.Parallel()
	a := openDemo(t, wide)
	b := show(t, "http://"+a.rig.Address()+"/?client="+a.client, wide)
	b.until("document.querySelector('#device-laptop')?.dataset.state === 'open'")
	a.shows("laptop", "taken")
	a.dots(0, "other")
	a.says("#read", "^another page or program$")
}

// All that can be pressed is reached with Tab, in the order of what is seen, shows that it has the
// focus, and can be pressed with a key.
func TestPageByKeyboard(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	tab := func() string {
		t.Helper()
		if err := d.Press(t.Context(), "Tab"); err != nil {
			t.Fatal(err)
		}
		return value[string](d.page, `(() => {
			const e = document.activeElement, outline = getComputedStyle(e);
			return (e.innerText || '').trim().split('\n')[0] + (outline.outlineStyle === 'solid' && parseFloat(outline.outlineWidth) >= 2 ? '' : ' (no outline)');
		})()`)
	}
	var got []string
	for range 5 {
		got = append(got, tab())
	}
	if want := []string{"Reload", "New network", "On", "Kick this user", "Second device"}; !slices.Equal(got, want) {
		t.Fatalf("Tab goes to %q, want %q", got, want)
	}
	if err := d.Press(t.Context(), "Enter"); err != nil {
		t.Fatal(err)
	}
	d.shows("phone", "open")
	if got := value[string](d.page, "document.activeElement.innerText + ' of ' + document.activeElement.closest('section').id"); got != "Reload of device-phone" {
		t.Errorf("after Second device has gone, the focus is at %q, want it at the phone's Reload", got)
	}
	d.do("document.querySelector('#filter').focus()")
	if err := d.Press(t.Context(), " "); err != nil {
		t.Fatal(err)
	}
	d.says("#filter", "^Off$")
}

// A screen reader finds names for all that can be pressed, hears changes of state, and does not
// hear clocks.
func TestPageByScreenReader(t *testing.T) {
	t.Parallel()
	d := openDemo(t, wide)
	d.press("#device-phone .open")
	d.shows("phone", "open")
	d.dots(0, "phone")
	var tree struct {
		Nodes []struct {
			Ignored     bool
			Role, Name  struct{ Value any }
			Description struct{ Value any }
			Properties  []struct {
				Name  string
				Value struct{ Value any }
			}
		}
	}
	if err := d.Call(t.Context(), "Accessibility.getFullAXTree", nil, &tree); err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for _, node := range tree.Nodes {
		if node.Ignored {
			continue
		}
		what := fmt.Sprint(node.Role.Value)
		for _, more := range []any{node.Name.Value, node.Description.Value} {
			if more != nil && more != "" {
				what += fmt.Sprint(", ", more)
			}
		}
		for _, p := range node.Properties {
			if p.Name == "live" {
				what += fmt.Sprint(", live ", p.Value.Value)
			}
			if p.Name == "checked" {
				what += fmt.Sprint(", checked ", p.Value.Value)
			}
		}
		found[what]++
	}
	for what, n := range map[string]int{
		"region, Laptop": 1, "region, Phone": 1, "region, Backend": 1, "region, What happened": 1,
		"button, Reload, Laptop": 1, "button, New network, Laptop": 1, "button, Reload, Phone": 1, "button, Kick this user": 1,
		"switch, Filter in Envoy, checked true": 1,
		"status, live polite":                   3,
		"timer":                                 1, // not live; the countdowns are hidden
		"list, Streams that somebody reads":     1, "list, Events of the phone": 1,
	} {
		if found[what] != n {
			t.Errorf("got %d of %q, want %d, in %v", found[what], what, n, found)
		}
	}
	// Each state has a word and a sign of its own, so that its colour says nothing new.
	for device, want := range map[string]string{"laptop": "#taken Taken over", "phone": "#open Open"} {
		selector := "#device-" + device + " .word"
		got := value[string](d.page, fmt.Sprintf("document.querySelector('%s use').getAttribute('href') + ' ' + document.querySelector('%[1]s').innerText.trim()", selector))
		if got != want {
			t.Errorf("%s: got %q, want %q", device, got, want)
		}
	}
}

// On a small screen nothing is cut off, and in the light as in the dark every text has a contrast
// of 4.5 to 1.
func TestPageOnASmallScreenAndInTheDark(t *testing.T) {
	t.Parallel()
	d := openDemo(t, chromium.View{Width: 400, Height: 800})
	d.press("#device-phone .open")
	d.shows("phone", "open")
	d.shows("laptop", "taken")
	for _, view := range []chromium.View{{Width: 320, Height: 700}, {Width: 400, Height: 800}, {Width: 400, Height: 800, Dark: true}, {Width: 1280, Height: 800}, {Width: 1280, Height: 800, Dark: true}} {
		if err := d.Show(t.Context(), view); err != nil {
			t.Fatal(err)
		}
		if got := value[int](d.page, "document.documentElement.scrollWidth"); got > view.Width {
			t.Errorf("%+v: the page is %d wide", view, got)
		}
		for _, state := range []string{"open", "taken", "refused", "cut", "off"} {
			d.do(fmt.Sprintf("document.querySelector('#device-laptop').dataset.state = %q", state))
			if got := value[[]string](d.page, faint); len(got) > 0 {
				t.Errorf("%+v, %s: got texts of little contrast: %q", view, state, got)
			}
		}
	}
}

// faint is JavaScript that finds texts whose contrast to what is behind them is too small, as WCAG
// reckons it.
const faint = `(() => {
	const light = color => {
		const [r, g, b] = color.match(/[\d.]+/g).slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
		return .2126 * r + .7152 * g + .0722 * b;
	};
	const behind = e => {
		const color = getComputedStyle(e).backgroundColor;
		return /, 0\)$/.test(color) ? behind(e.parentElement ?? document.body) : color;
	};
	return [...document.querySelectorAll('main *')].filter(e => e.checkVisibility() && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).flatMap(e => {
		const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((a, b) => b - a), contrast = (a + .05) / (b + .05);
		return contrast < 4.5 ? [e.innerText + ': ' + contrast.toFixed(1)] : [];
	});
})()`
