// Command picture makes the README's pictures, envoy/demo/demo.png and demo-dark.png: `make
// picture`. It is run from the root of the repository, and needs Chromium.
//
// The pictures show what the demo page shows. Envoy and the demo run as in `make run`, and Chromium
// presses the page's buttons: first with the filter off, then with it on. frame.html puts the two
// screenshots one above the other.
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
	"path/filepath"
	"syscall"
	"time"

	"github.com/streamlatch/streamlatch/e2e/browser/chromium"
	"github.com/streamlatch/streamlatch/e2e/rig"
	"github.com/streamlatch/streamlatch/envoy/demo"
)

const (
	// patience bounds the whole run. Envoy's start takes most of it.
	patience = 3 * time.Minute
	// maxSize is the limit of a picture in bytes, because it is on the front page.
	maxSize = 150_000
	// scale is the number of device pixels for a CSS pixel: sharp on high-density screens.
	scale = 2
	// width is that of the page and of the picture.
	width = 1024
	// networks is how often the laptop changes its network.
	networks = 5
)

// names are the files of the light and of the dark picture.
var names = map[bool]string{false: "demo.png", true: "demo-dark.png"}

func main() {
	out := flag.String("out", "envoy/demo", "`path` of the folder for the pictures")
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
	backend := demo.New(time.Second)
	r, err := rig.Start(ctx, rig.Options{Concurrency: 2, Handler: backend, Base: demo.Render})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	listeners, err := r.Envoy().Admin().Listeners(ctx)
	if err != nil {
		return err
	}
	backend.Behind(demo.Gateway{Edge: r.Address(), Internal: listeners[rig.Internal]})

	for dark, name := range names {
		shots, err := play(ctx, b, "http://"+r.Address()+"/?client="+name, dark)
		if err != nil {
			return err
		}
		whole, err := compose(ctx, b, shots, dark)
		if err != nil {
			return err
		}
		picture, err := shrink(whole)
		if err != nil {
			return err
		}
		if len(picture) > maxSize {
			return fmt.Errorf("%s has %d bytes, want %d at most", name, len(picture), maxSize)
		}
		path := filepath.Join(out, name)
		if err := os.WriteFile(path, picture, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s, %d KiB\n", path, (len(picture)+1023)/1024)
	}
	return nil
}

// A shot is a screenshot of the page with its caption.
type shot struct {
	Title, Says string
	Image       template.URL
}

// play presses the page's buttons, and takes a picture without the filter and one with it.
func play(ctx context.Context, b *chromium.Browser, address string, dark bool) ([]shot, error) {
	page, err := b.Open(ctx, address, chromium.View{Width: width, Height: 800, Scale: scale, Dark: dark})
	if err != nil {
		return nil, err
	}
	const laptopIs, phoneIs = "document.querySelector('#device-laptop')?.dataset.state === ", "document.querySelector('#device-phone').dataset.state === "
	var errs []error
	press := func(selector string) {
		errs = append(errs, page.Evaluate(ctx, "document.querySelector("+quote(selector)+").click()", nil))
	}
	until := func(expression string) { errs = append(errs, page.Until(ctx, expression)) }
	// Five times the laptop gets another network, and then the phone opens a stream.
	perform := func(laptop string) {
		for range networks {
			press("#device-laptop .network")
			until(laptopIs + "'cut'")
			until(laptopIs + "'open'")
		}
		press("#device-phone .open")
		until(phoneIs + "'open'")
		until(laptopIs + laptop)
	}
	take := func(title, says string) shot {
		until("document.querySelectorAll('#device-phone .events li').length > 3")
		until("document.querySelectorAll('.gone').length === 0")
		image, err := stage(ctx, page)
		errs = append(errs, err)
		return shot{title, says, template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(image))}
	}

	until(laptopIs + "'open'")
	press("#filter")
	until("document.querySelector('#filter').ariaChecked === 'false'")
	until(laptopIs + "'open'")
	perform("'open'")
	off := take("Filter off.", "Five new networks and a second device: the backend feeds every old connection.")
	press("#filter")
	until("document.querySelector('#filter').ariaChecked === 'true'")
	until(laptopIs + "'open'")
	perform("'taken'")
	on := take("Filter on.", "The same again: each new stream has ended the old one.")
	errs = append(errs, page.Close(ctx))
	return []shot{off, on}, errors.Join(errs...)
}

// stage returns a screenshot of what is between the page's introduction and the buttons.
func stage(ctx context.Context, page *chromium.Page) ([]byte, error) {
	var at struct{ Top, Bottom float64 }
	err := page.Evaluate(ctx, `(() => {
		document.activeElement.blur();
		const y = selector => document.querySelector(selector).getBoundingClientRect().top + scrollY;
		return {top: y('#stage') - 12, bottom: y('#kick') - 4};
	})()`, &at)
	if err != nil {
		return nil, err
	}
	return page.Screenshot(ctx, int(at.Top), int(at.Bottom-at.Top))
}

//go:embed frame.html
var frame string

// compose returns a screenshot of frame.html, filled with the shots.
func compose(ctx context.Context, b *chromium.Browser, shots []shot, dark bool) ([]byte, error) {
	page, err := template.New("frame.html").Parse(frame)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := page.Execute(&text, map[string]any{"Width": width, "Shots": shots}); err != nil {
		return nil, err
	}
	t, err := b.Open(ctx, "about:blank", chromium.View{Width: width, Height: 100, Scale: scale, Dark: dark})
	if err != nil {
		return nil, err
	}
	if err := t.Evaluate(ctx, "document.open(), document.write("+quote(text.String())+"), document.close()", nil); err != nil {
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

// quote returns a text as a string of JavaScript.
func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // every string can be encoded
	}
	return string(quoted)
}
