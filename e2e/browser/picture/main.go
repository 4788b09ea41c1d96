// Command picture makes envoy/demo/takeover.png, the README's picture of a takeover: `make
// picture`. It is run from the root of the repository, and needs Chromium.
//
// The picture shows a real takeover. Envoy runs with the shipped envoy.yaml in front of the demo
// backend, and two tabs of Chromium open the demo page for the same client, one after the other.
// frame.html arranges their screenshots above the first stream's line in Envoy's access log.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/e2e/browser/chromium"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/demo"
)

const (
	// patience bounds the whole run. Envoy's start takes most of it.
	patience = 2 * time.Minute
	// maxSize is the limit in bytes, because the picture is on the front page.
	maxSize = 150_000
	// scale is the number of device pixels for a CSS pixel: sharp on high-density screens.
	scale = 2
	// pageWidth and pageHeight are the size of the visible part of each page. It begins just above
	// the state of the stream.
	pageWidth, pageHeight = 480, 440
	scrolledTo            = `document.querySelector('#state').getBoundingClientRect().top + window.scrollY - 14`
	// frameWidth is the width of frame.html.
	frameWidth = 1024
)

func main() {
	out := flag.String("out", "envoy/demo/takeover.png", "`path` of the picture")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out); err != nil {
		fmt.Fprintf(os.Stderr, "picture: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := chromium.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	r, err := rig.Start(ctx, rig.Options{Concurrency: 2, Handler: demo.New(time.Second), LogFlush: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()

	facts, err := takeover(ctx, b, r)
	if err != nil {
		return err
	}
	shot, err := compose(ctx, b, facts)
	if err != nil {
		return err
	}
	picture, err := shrink(shot)
	if err != nil {
		return err
	}
	if len(picture) > maxSize {
		return fmt.Errorf("the picture has %d bytes, want %d at most", len(picture), maxSize)
	}
	if err := os.WriteFile(out, picture, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s, %d KiB\n", out, (len(picture)+1023)/1024)
	return nil
}

// A shownTab is what the picture shows of a tab.
type shownTab struct {
	Title   string
	Address string
	Page    template.URL // its screenshot
}

type facts struct {
	Old, New   shownTab
	Log        string // the old stream's line in the access log
	Width      int    // of a page
	Height     int
	FrameWidth int
}

// takeover opens a stream of one client in each of two tabs, and waits until both pages show the
// result.
func takeover(ctx context.Context, b *chromium.Browser, r *rig.Rig) (facts, error) {
	address := "http://" + r.Address() + "/?client=alice"
	f := facts{Width: pageWidth, Height: pageHeight, FrameWidth: frameWidth}
	older, err := b.Open(ctx, address, chromium.View{Width: pageWidth, Height: pageHeight, Scale: scale})
	if err != nil {
		return f, err
	}
	if err := older.Until(ctx, state("open", 3)); err != nil {
		return f, fmt.Errorf("first tab: %w", err)
	}
	newer, err := b.Open(ctx, address, chromium.View{Width: pageWidth, Height: pageHeight, Scale: scale})
	if err != nil {
		return f, err
	}
	if err := older.Until(ctx, state("taken", 3)); err != nil {
		return f, fmt.Errorf("first tab: %w", err)
	}
	if err := newer.Until(ctx, state("open", 5)); err != nil {
		return f, fmt.Errorf("second tab: %w", err)
	}
	if f.Old, err = show(ctx, older); err != nil {
		return f, fmt.Errorf("first tab: %w", err)
	}
	if f.New, err = show(ctx, newer); err != nil {
		return f, fmt.Errorf("second tab: %w", err)
	}
	f.Log, err = superseded(ctx, r.Access)
	return f, err
}

// state returns a condition: the demo page shows this state and has at least so many events.
func state(word string, events int) string {
	return fmt.Sprintf(`document.querySelector('#state')?.dataset.state === %q && document.querySelectorAll('#events time').length >= %d`, word, events)
}

func show(ctx context.Context, t *chromium.Page) (shownTab, error) {
	var top float64
	if err := t.Evaluate(ctx, scrolledTo, &top); err != nil {
		return shownTab{}, err
	}
	picture, err := t.Screenshot(ctx, int(top), pageHeight)
	if err != nil {
		return shownTab{}, err
	}
	s := shownTab{Page: template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(picture))}
	if err := t.Evaluate(ctx, "document.title", &s.Title); err != nil {
		return s, err
	}
	err = t.Evaluate(ctx, "location.host + location.pathname + location.search", &s.Address)
	return s, err
}

// superseded waits for the old stream's line in the access log.
func superseded(ctx context.Context, log *rig.Log) (string, error) {
	const reason = `"reason":"superseded"`
	for {
		if lines := log.Containing(reason); len(lines) > 0 {
			return lines[0], nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("the access log has no line with %s, but %q", reason, log.Lines())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

//go:embed frame.html
var frame string

// compose returns a screenshot of frame.html, filled with the facts.
func compose(ctx context.Context, b *chromium.Browser, f facts) ([]byte, error) {
	page, err := template.New("frame.html").Funcs(template.FuncMap{"before": before, "after": after}).Parse(frame)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := page.Execute(&text, f); err != nil {
		return nil, err
	}
	t, err := b.Open(ctx, "about:blank", chromium.View{Width: frameWidth, Height: 100, Scale: scale})
	if err != nil {
		return nil, err
	}
	document, err := json.Marshal(text.String())
	if err != nil {
		return nil, err
	}
	if err := t.Evaluate(ctx, "document.open(), document.write("+string(document)+"), document.close()", nil); err != nil {
		return nil, err
	}
	if err := t.Until(ctx, `document.images.length === 2 && [...document.images].every(i => i.complete && i.naturalWidth > 0)`); err != nil {
		return nil, err
	}
	var height float64
	if err := t.Evaluate(ctx, "document.documentElement.getBoundingClientRect().height", &height); err != nil {
		return nil, err
	}
	return t.Screenshot(ctx, 0, int(height))
}

// before and after return what precedes and follows a part of a text. The frame highlights the
// part.
func before(text, part string) string { text, _, _ = strings.Cut(text, part); return text }
func after(text, part string) string  { _, text, _ = strings.Cut(text, part); return text }
