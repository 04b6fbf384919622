//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sakimori/sim"
)

// receiver is who listens at the far end of the wire. A trial is: begin, frames
// are sent, end.
type receiver interface {
	begin(ctx context.Context) error
	// end gives what was received since begin, and what the kernel dropped, once
	// nothing more comes or sent is reached.
	end(ctx context.Context, sent uint64) (received, dropped uint64, err error)
	close() (rss int64)
}

// nobody listens: what the wire itself carries.
type nobody struct {
	w           *wire
	had, missed uint64
}

func (n *nobody) begin(context.Context) error {
	n.had, n.missed = n.w.arrived()
	return nil
}

func (n *nobody) end(context.Context, uint64) (received, dropped uint64, err error) {
	time.Sleep(100 * time.Millisecond)
	r, d := n.w.arrived()
	return r - n.had, d - n.missed, nil
}

func (*nobody) close() int64 { return 0 }

// start runs a command in the namespace, which ends when this program does.
func (n *netns) start(c *exec.Cmd) (err error) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // the thread lives as long as the namespace
	n.do(func() { err = c.Start() })
	return err
}

// wait closes ended when a command has ended. Its exit code tells nothing that
// its counts don't.
func wait(c *exec.Cmd, ended chan<- struct{}) {
	_ = c.Wait()
	close(ended)
}

// tcpdumping is tcpdump -w /dev/null, anew for each trial, as it tells its
// counts only at its end.
type tcpdumping struct {
	w     *wire
	more  []string
	c     *exec.Cmd
	said  speech
	ended chan struct{}
	rss   int64
}

// speech is what a program says, while it says it.
type speech struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *speech) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *speech) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// until waits for a condition, not for ever.
func until(ctx context.Context, longest time.Duration, what string, ok func() bool) error {
	for began := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(began) > longest {
			return fmt.Errorf("waited %s in vain: %s", longest, what)
		}
	}
	return nil
}

func (t *tcpdumping) begin(ctx context.Context) error {
	t.said = speech{}
	t.c = exec.CommandContext(ctx, "tcpdump", append([]string{"-i", "rx", "-n", "-w", os.DevNull}, t.more...)...)
	t.c.Stderr = &t.said
	if err := t.w.to.start(t.c); err != nil {
		return err
	}
	t.ended = make(chan struct{})
	go wait(t.c, t.ended)
	err := until(ctx, 10*time.Second, "tcpdump doesn't listen", func() bool {
		return strings.Contains(t.said.String(), "listening on")
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, lastLine(t.said.String()))
	}
	return nil
}

var tcpdumpCount = regexp.MustCompile(`(\d+) packets? (captured|dropped by kernel)`)

func (t *tcpdumping) end(ctx context.Context, _ uint64) (received, dropped uint64, err error) {
	time.Sleep(time.Second) // it reads what waits, and would not after the signal
	t.rss = max(t.rss, peak(t.c.Process.Pid))
	if err := t.c.Process.Signal(os.Interrupt); err != nil {
		return 0, 0, err
	}
	select {
	case <-t.ended:
	case <-time.After(10 * time.Second):
		return 0, 0, errors.New("tcpdump doesn't end")
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	t.c = nil
	for _, m := range tcpdumpCount.FindAllStringSubmatch(t.said.String(), -1) {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		if m[2] == "captured" {
			received = n
		} else {
			dropped = n
		}
	}
	return received, dropped, nil
}

func (t *tcpdumping) close() int64 {
	if t.c != nil {
		_ = t.c.Process.Kill() // it may have ended by itself
		<-t.ended
	}
	return t.rss
}

// serving is sakimori serve; one process for all trials, asked over its API.
type serving struct {
	w           *wire
	c           *exec.Cmd
	said        speech
	ended       chan struct{}
	dir, token  string
	client      *http.Client
	had, missed uint64
}

// listenAt is the console's address inside the namespace, where it is alone.
const listenAt = "127.0.0.1:8630"

func newServing(ctx context.Context, o *options, w *wire, fanout int) (_ *serving, err error) {
	s := &serving{w: w, client: w.to.client(), ended: make(chan struct{})}
	if s.dir, err = os.MkdirTemp(o.dir, "live-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var dark []string
	for _, p := range sim.BulkDark {
		dark = append(dark, p.String())
	}
	config := fmt.Sprintf("data: %s\nlisten: %s\ntelescope:\n  dark: [%s]\n  interfaces: [rx]\n  fanout: %d\n",
		filepath.Join(s.dir, "data"), listenAt, strings.Join(dark, ", "), fanout)
	path := filepath.Join(s.dir, "sakimori.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s.c = exec.CommandContext(ctx, o.sakimori, "serve", "--config", path)
	s.c.Stderr = &s.said
	if err := w.to.start(s.c); err != nil {
		s.c = nil
		return nil, err
	}
	go wait(s.c, s.ended)
	err = until(ctx, 30*time.Second, "sakimori serve doesn't listen", func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, "data", "cli.token"))
		s.token = strings.TrimSpace(string(b))
		if err != nil || s.token == "" {
			return false
		}
		_, _, running, err := s.status(ctx)
		return err == nil && running == fanout
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, lastLine(s.said.String()))
	}
	return s, nil
}

func (s *serving) status(ctx context.Context) (packets, dropped uint64, running int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listenAt+"/api/v1/status", http.NoBody)
	if err != nil {
		return 0, 0, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	res, err := s.client.Do(req)
	if err != nil {
		return 0, 0, 0, err
	}
	defer res.Body.Close()
	var b struct {
		Inputs []struct {
			State   string
			Packets uint64
			Dropped struct{ Kernel uint64 }
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&b); err != nil || res.StatusCode != http.StatusOK {
		return 0, 0, 0, errors.Join(fmt.Errorf("status: %s", res.Status), err)
	}
	for _, in := range b.Inputs {
		packets, dropped = packets+in.Packets, dropped+in.Dropped.Kernel
		if in.State == "running" {
			running++
		}
	}
	return packets, dropped, running, nil
}

func (s *serving) begin(ctx context.Context) (err error) {
	s.had, s.missed, _, err = s.status(ctx)
	return err
}

func (s *serving) end(ctx context.Context, sent uint64) (received, dropped uint64, err error) {
	const silent = 3 * time.Second
	for quiet := time.Now(); time.Since(quiet) < silent; time.Sleep(50 * time.Millisecond) {
		p, d, _, err := s.status(ctx)
		if err != nil {
			return 0, 0, fmt.Errorf("%w: %s", err, lastLine(s.said.String()))
		}
		if p-s.had != received || d-s.missed != dropped {
			quiet = time.Now()
		}
		received, dropped = p-s.had, d-s.missed
		if received >= sent {
			break
		}
	}
	return received, dropped, nil
}

func (s *serving) close() (rss int64) {
	if s.c != nil {
		rss = peak(s.c.Process.Pid)
		_ = s.c.Process.Signal(os.Interrupt) // it may have ended by itself
		select {
		case <-s.ended:
		case <-time.After(30 * time.Second):
			_ = s.c.Process.Kill() // as above
			<-s.ended
		}
	}
	s.client.CloseIdleConnections()
	_ = os.RemoveAll(s.dir) // a temporary folder
	return rss
}
