package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/streamlatch/streamlatch/e2e/rig"
)

// The network of the half-open clients: Envoy at one end of a virtual cable, clients at the other.
const (
	nearAddress, farAddress = "10.200.16.1", "10.200.16.2"
	nearEnd, farEnd         = "near", "far"
)

// halfOpen lets clients vanish without a word, and measures when Envoy has noticed it: with the
// recipe of envoy/README.md as it stands there, while the backend is silent, and while it sends.
// This process needs a network namespace of its own: unshare -rn.
func halfOpen(ctx context.Context, clients int) error {
	if links, err := run("ip", "-o", "link"); err != nil || strings.Count(links, "\n") != 1 {
		return errors.Join(fmt.Errorf("this network namespace has these links, want a new one with lo alone:\n%s", links), err)
	}
	if _, err := run("ip", "link", "set", "lo", "up"); err != nil {
		return err
	}
	listener, err := recipe("# listener\n", "    ")
	if err != nil {
		return err
	}
	manager, err := recipe("# http_connection_manager\n", "          ")
	if err != nil {
		return err
	}
	const address, codec = "  - name: edge\n    address:\n      socket_address: {address: 127.0.0.1, port_value: 0}\n", "          codec_type: AUTO"
	s := setup{edits: []rig.Edit{
		rig.Replace(address, strings.ReplaceAll(address, "127.0.0.1", "0.0.0.0")+listener),
		rig.Replace(codec, manager+codec),
	}}
	e, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer e.stop()
	fmt.Print("| clients that have vanished | a client that comes back has superseded its stream after, s | all others released after, s |\n|---|---|---|\n")
	for _, events := range []int{0, clients} {
		for _, protocol := range []string{"1", "2"} {
			if err := e.vanish(ctx, protocol, clients, events); err != nil {
				return fmt.Errorf("HTTP/%s, %d events a second: %w", protocol, events, err)
			}
		}
	}
	return nil
}

// recipe returns the YAML block of envoy/README.md that begins with a comment, indented.
func recipe(comment, indent string) (string, error) {
	text, err := os.ReadFile("envoy/README.md")
	if err != nil {
		return "", err
	}
	_, after, found := strings.Cut(string(text), "```yaml\n"+comment)
	block, _, ended := strings.Cut(after, "```\n")
	if !found || !ended {
		return "", fmt.Errorf("envoy/README.md: no block that begins with %q", comment)
	}
	var out strings.Builder
	for line := range strings.Lines(block) {
		out.WriteString(indent + line)
	}
	return out.String(), nil
}

// vanish opens the streams of n clients from another network namespace, cuts the cable, and lets
// every other client come back.
func (e *edge) vanish(ctx context.Context, protocol string, n, events int) error {
	_, port, _ := strings.Cut(e.Address(), ":")
	hold := exec.CommandContext(ctx, "unshare", "-n", os.Args[0], "hold", nearAddress+":"+port, protocol, strconv.Itoa(n))
	hold.Stderr = os.Stderr
	out, err := hold.StdoutPipe()
	if err != nil {
		return err
	}
	if err := hold.Start(); err != nil {
		return err
	}
	defer hold.Wait()
	defer hold.Process.Kill()
	far := []string{"nsenter", "-t", strconv.Itoa(hold.Process.Pid), "-n"}
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil { // now it is in its namespace
		return fmt.Errorf("the clients: %w", err)
	}
	for _, command := range [][]string{
		{"ip", "link", "add", nearEnd, "type", "veth", "peer", "name", farEnd, "netns", strconv.Itoa(hold.Process.Pid)},
		{"ip", "addr", "add", nearAddress + "/30", "dev", nearEnd},
		{"ip", "link", "set", nearEnd, "up"},
		append(far, "ip", "addr", "add", farAddress+"/30", "dev", farEnd),
		append(far, "ip", "link", "set", farEnd, "up"),
	} {
		if _, err := run(command...); err != nil {
			return err
		}
	}
	defer run("ip", "link", "del", nearEnd)
	if _, err := lines.ReadString('\n'); err != nil { // now its streams are open
		return fmt.Errorf("the clients: %w", err)
	}
	if err := e.counts(ctx, n); err != nil {
		return err
	}

	// Without an address nobody answers there. The near end must not notice: it would, if it had to
	// ask for the far end's hardware address again.
	link, err := run(append(far, "ip", "-brief", "link", "show", "dev", farEnd)...)
	if fields := strings.Fields(link); err == nil && len(fields) > 2 {
		_, err = run("ip", "neigh", "replace", farAddress, "lladdr", fields[2], "dev", nearEnd, "nud", "permanent")
	}
	if err == nil {
		_, err = run(append(far, "ip", "addr", "flush", "dev", farEnd)...)
	}
	if err != nil {
		return err
	}
	begun := time.Now()
	c := newCrowd(e)
	return c.under(ctx, load{events: events}, func(ctx context.Context) error {
		return e.comeBack(ctx, c, protocol, n, events, begun)
	})
}

func (e *edge) comeBack(ctx context.Context, c *crowd, protocol string, n, events int, begun time.Time) error {
	over := newOverH2("127.0.0.1"+e.Address()[strings.Index(e.Address(), ":"):], 1)
	for i := 0; i < n; i += 2 {
		c.members = append(c.members, &client{crowd: c, key: held(i), via: over})
	}
	if err := c.reopen(ctx, c.members); err != nil {
		return err
	}
	err := until(ctx, patience, func() error { return e.counts(ctx, n) })
	if err != nil {
		return fmt.Errorf("every other client is back: %w", err)
	}
	back := time.Since(begun)
	err = until(ctx, 20*time.Minute, func() error { return c.promise(ctx) })
	if err != nil {
		return err
	}
	fmt.Printf("| %d over HTTP/%s, %d events a second | %.1f | %.1f |\n", n, protocol, events, back.Seconds(), time.Since(begun).Seconds())
	_, err = c.disperse(ctx)
	return err
}

// hold opens n streams and keeps them until its process is killed. It prints a line when it has
// begun, and one when all are open. Between the two the network appears.
func hold(ctx context.Context, address, protocol string, n int) error {
	fmt.Println("begun")
	var over transport = &overH1{address: address, anyAddress: true}
	if protocol == "2" {
		over = newOverH2(address, 1+2*n/perConn)
	}
	for i := range n {
		in := make(answer, 1)
		s := newStream(held(i), in)
		s.id = lastID.Add(1) + 1<<40*int64(os.Getpid()) // the other process counts, too
		if err := until(ctx, patience, func() error { return over.send(s) }); err != nil {
			return err
		}
		if v := <-in; v != letIn {
			return fmt.Errorf("%s: not let in", s.key)
		}
	}
	fmt.Println("open")
	<-ctx.Done()
	return nil
}

func held(i int) string { return fmt.Sprint("held-", i) }

// run runs a command and returns what it printed.
func run(command ...string) (string, error) {
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, out)
	}
	return string(out), err
}
