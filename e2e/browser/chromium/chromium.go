// Package chromium opens pages in a headless Chromium. It speaks the DevTools protocol over a pipe:
// JSON messages, each followed by a zero byte.
//
// See https://chromedevtools.github.io/devtools-protocol/
package chromium

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A Browser is a running Chromium, with a profile of its own. Several goroutines may call its
// methods and those of its pages. The calls run one after another.
type Browser struct {
	cmd     *exec.Cmd
	profile string
	to      *os.File
	from    *os.File
	replies *bufio.Reader

	mu    sync.Mutex // locked during a call
	calls int
}

// Start starts Chromium. The caller must stop it.
func Start() (*Browser, error) {
	profile, err := os.MkdirTemp("", "streamlatch-chromium-")
	if err != nil {
		return nil, err
	}
	b := &Browser{profile: profile}
	if err := b.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(profile))
	}
	return b, nil
}

func (b *Browser) start() error {
	requests, to, err := os.Pipe()
	if err != nil {
		return err
	}
	defer requests.Close()
	from, replies, err := os.Pipe()
	if err != nil {
		return errors.Join(err, to.Close())
	}
	defer replies.Close()
	b.to, b.from, b.replies = to, from, bufio.NewReader(from)
	b.cmd = exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		// A page in the background is as quick as one in front.
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
		"--disable-features=PreloadTopChromeWebUI", "--hide-scrollbars", "--user-data-dir="+b.profile, "--remote-debugging-pipe", "about:blank")
	b.cmd.ExtraFiles = []*os.File{requests, replies}        // file descriptors 3 and 4
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has many processes
	if err := b.cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = errors.New("chromium is not on PATH: install it (Debian: chromium)")
		}
		return errors.Join(err, to.Close(), from.Close())
	}
	return nil
}

// Stop ends all processes of the browser and removes its profile.
func (b *Browser) Stop() error {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	_ = b.cmd.Wait() // it was killed
	return errors.Join(b.to.Close(), b.from.Close(), os.RemoveAll(b.profile))
}

// call calls a method of the page with this session, or of the browser if session is "". It decodes
// the reply into result, unless result is nil.
func (b *Browser) call(ctx context.Context, session, method string, params map[string]any, result any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if err := b.from.SetReadDeadline(time.Time{}); err != nil { // an earlier call may have run into its own
		return err
	}
	request, err := json.Marshal(struct {
		ID      int            `json:"id"`
		Session string         `json:"sessionId,omitempty"`
		Method  string         `json:"method"`
		Params  map[string]any `json:"params,omitempty"`
	}{b.calls, session, method, params})
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(request, 0)); err != nil {
		return fmt.Errorf("chromium: %s: %w", method, err)
	}
	defer context.AfterFunc(ctx, func() { b.from.SetReadDeadline(time.Now()) })()
	for {
		text, err := b.replies.ReadBytes(0)
		if err != nil {
			return fmt.Errorf("chromium: %s: %w", method, errors.Join(context.Cause(ctx), err))
		}
		var reply struct {
			ID     int
			Result json.RawMessage
			Error  *struct{ Message string }
		}
		if err := json.Unmarshal(text[:len(text)-1], &reply); err != nil {
			return fmt.Errorf("chromium: %s: %w", method, err)
		}
		switch {
		case reply.ID != b.calls: // an event
		case reply.Error != nil:
			return fmt.Errorf("chromium: %s: %s", method, reply.Error.Message)
		case result == nil:
			return nil
		default:
			return json.Unmarshal(reply.Result, result)
		}
	}
}

// A View is how a page is shown.
type View struct {
	Width, Height int     // in CSS pixels
	Scale         float64 // device pixels for a CSS pixel; 0: 1
	Dark          bool    // prefers-color-scheme
}

// A Page is a tab of the browser.
type Page struct {
	b                *Browser
	context, session string
	view             View
}

// Open opens an address in a new tab. Each tab has connections of its own, as if it were in another
// browser, so the six to one host that a browser opens are not shared.
func (b *Browser) Open(ctx context.Context, address string, view View) (*Page, error) {
	var alone struct{ BrowserContextID string }
	if err := b.call(ctx, "", "Target.createBrowserContext", nil, &alone); err != nil {
		return nil, err
	}
	var target struct{ TargetID string }
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": alone.BrowserContextID}, &target); err != nil {
		return nil, err
	}
	var attached struct{ SessionID string }
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	p := &Page{b: b, context: alone.BrowserContextID, session: attached.SessionID}
	return p, errors.Join(p.Show(ctx, view), p.Go(ctx, address))
}

// Show changes how the page is shown.
func (p *Page) Show(ctx context.Context, view View) error {
	if view.Scale == 0 {
		view.Scale = 1
	}
	scheme := "light"
	if view.Dark {
		scheme = "dark"
	}
	p.view = view
	return errors.Join(
		p.Call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": view.Width, "height": view.Height, "deviceScaleFactor": view.Scale, "mobile": false}, nil),
		p.Call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": scheme}}}, nil),
	)
}

// Go opens an address in the same tab. It returns before the page has loaded.
func (p *Page) Go(ctx context.Context, address string) error {
	return p.Call(ctx, "Page.navigate", map[string]any{"url": address}, nil)
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error {
	return p.b.call(ctx, "", "Target.disposeBrowserContext", map[string]any{"browserContextId": p.context}, nil)
}

// Call calls a method of the DevTools protocol. It decodes the reply into result, unless result is
// nil.
func (p *Page) Call(ctx context.Context, method string, params map[string]any, result any) error {
	return p.b.call(ctx, p.session, method, params, result)
}

// Evaluate decodes the value of a JavaScript expression into value, unless value is nil. The
// expression runs as if the user had just pressed a key.
func (p *Page) Evaluate(ctx context.Context, expression string, value any) error {
	var reply struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	params := map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}
	if err := p.Call(ctx, "Runtime.evaluate", params, &reply); err != nil {
		return err
	}
	if reply.ExceptionDetails != nil {
		return fmt.Errorf("chromium: %.80s: %s", expression, reply.ExceptionDetails)
	}
	if value == nil || reply.Result.Value == nil {
		return nil
	}
	return json.Unmarshal(reply.Result.Value, value)
}

// Until waits for a JavaScript expression to be true.
func (p *Page) Until(ctx context.Context, expression string) error {
	for {
		var holds bool
		err := p.Evaluate(ctx, "Boolean("+expression+")", &holds) // an error if the page is just loading
		if err == nil && holds {
			return nil
		}
		select {
		case <-ctx.Done():
			var text string
			_ = p.Evaluate(context.WithoutCancel(ctx), "document.body.innerText", &text)
			return errors.Join(fmt.Errorf("wait for %s: %w; the page says %q", expression, context.Cause(ctx), text), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Press presses and releases a key with this name, such as "Tab" or " ".
func (p *Page) Press(ctx context.Context, key string) error {
	text := map[string]string{"Enter": "\r", " ": " "}[key]
	codes := map[string]int{"Tab": 9, "Enter": 13, " ": 32}
	for _, kind := range []string{"keyDown", "keyUp"} {
		params := map[string]any{"type": kind, "key": key, "windowsVirtualKeyCode": codes[key]}
		if kind == "keyDown" && text != "" {
			params["text"] = text
		}
		if err := p.Call(ctx, "Input.dispatchKeyEvent", params, nil); err != nil {
			return err
		}
	}
	return nil
}

// Screenshot returns the part of the page from top on, in its full width, as a PNG. The sizes are
// in CSS pixels.
func (p *Page) Screenshot(ctx context.Context, top, height int) ([]byte, error) {
	if err := p.Call(ctx, "Page.bringToFront", nil, nil); err != nil {
		return nil, err
	}
	var shot struct{ Data []byte } // JSON has it as base64
	err := p.Call(ctx, "Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": top, "width": p.view.Width, "height": height, "scale": 1},
	}, &shot)
	return shot.Data, err
}
