package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A browser is a running Chromium. It speaks the DevTools protocol over a pipe: JSON messages, each
// followed by a zero byte. Two goroutines must not use it at the same time.
//
// See https://chromedevtools.github.io/devtools-protocol/
type browser struct {
	cmd     *exec.Cmd
	profile string
	to      *os.File
	from    *os.File
	replies *bufio.Reader
	calls   int
}

func startBrowser() (*browser, error) {
	profile, err := os.MkdirTemp("", "streamlatch-picture-")
	if err != nil {
		return nil, err
	}
	b := &browser{profile: profile}
	if err := b.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(profile))
	}
	return b, nil
}

func (b *browser) start() error {
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
		"--hide-scrollbars", "--user-data-dir="+b.profile, "--remote-debugging-pipe", "about:blank")
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

// stop ends all processes of the browser and removes its profile.
func (b *browser) stop() error {
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	_ = b.cmd.Wait() // it was killed
	return errors.Join(b.to.Close(), b.from.Close(), os.RemoveAll(b.profile))
}

// call calls a method of the tab with this session, or of the browser if session is "". It decodes
// the reply into result, unless result is nil.
func (b *browser) call(ctx context.Context, session, method string, params map[string]any, result any) error {
	b.calls++
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

// A tab shows one page.
type tab struct {
	b       *browser
	session string
	width   int
}

// open opens a page in a new tab. Its size is in CSS pixels.
func (b *browser) open(ctx context.Context, address string, width, height int) (*tab, error) {
	var target struct{ TargetID string }
	if err := b.call(ctx, "", "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return nil, err
	}
	var attached struct{ SessionID string }
	if err := b.call(ctx, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached); err != nil {
		return nil, err
	}
	t := &tab{b, attached.SessionID, width}
	return t, errors.Join(
		t.call(ctx, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": false}, nil),
		t.call(ctx, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": "light"}}}, nil),
		t.call(ctx, "Page.navigate", map[string]any{"url": address}, nil),
	)
}

func (t *tab) call(ctx context.Context, method string, params map[string]any, result any) error {
	return t.b.call(ctx, t.session, method, params, result)
}

// evaluate decodes the value of a JavaScript expression into value, unless value is nil.
func (t *tab) evaluate(ctx context.Context, expression string, value any) error {
	var reply struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	if err := t.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &reply); err != nil {
		return err
	}
	if reply.ExceptionDetails != nil {
		return fmt.Errorf("chromium: %.80s: %s", expression, reply.ExceptionDetails)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(reply.Result.Value, value)
}

// until waits for a JavaScript expression to be true.
func (t *tab) until(ctx context.Context, expression string) error {
	for {
		var holds bool
		if err := t.evaluate(ctx, "Boolean("+expression+")", &holds); err != nil || holds {
			return err
		}
		select {
		case <-ctx.Done():
			var text string
			_ = t.evaluate(context.Background(), "document.body.innerText", &text)
			return fmt.Errorf("wait for %s: %w; the page says %q", expression, context.Cause(ctx), text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// screenshot returns a part of the page, in its full width, as a PNG.
func (t *tab) screenshot(ctx context.Context, top, height int) ([]byte, error) {
	if err := t.call(ctx, "Page.bringToFront", nil, nil); err != nil {
		return nil, err
	}
	var shot struct{ Data []byte } // JSON has it as base64
	err := t.call(ctx, "Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": top, "width": t.width, "height": height, "scale": 1},
	}, &shot)
	return shot.Data, err
}
