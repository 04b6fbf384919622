//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cost is what one run of a command took.
type cost struct {
	wall, cpu time.Duration // cpu: user and system, all threads
	rss       int64         // peak resident memory, bytes; 0 when it ended too soon to be seen
}

// errTime is how a command ends that takes longer than it may.
var errTime = errors.New("stopped: it took longer than -timeout allows")

// spend runs a command to its end, bounded by a time-out, with its standard
// output in out. The error holds the end of what it said.
func spend(ctx context.Context, timeout time.Duration, out io.Writer, env []string, name string, args ...string) (cost, error) {
	bounded, cancel := context.WithTimeoutCause(ctx, timeout, errTime)
	defer cancel()
	c := exec.CommandContext(bounded, name, args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr, c.Env = out, &said, append(os.Environ(), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	began := time.Now()
	if err := c.Start(); err != nil {
		return cost{}, err
	}
	seen := make(chan int64, 1)
	ended := make(chan struct{})
	go func() { seen <- watchMemory(c.Process.Pid, ended) }()
	err := c.Wait()
	wall := time.Since(began)
	close(ended)
	x := cost{wall: wall, rss: <-seen}
	if s := c.ProcessState; s != nil {
		x.cpu = s.UserTime() + s.SystemTime()
		// The kernel's own maximum begins with what this process had when it
		// forked: it is of use only where the command needed more.
		if u, ok := s.SysUsage().(*syscall.Rusage); ok && u.Maxrss<<10 > peak(os.Getpid()) {
			x.rss = max(x.rss, u.Maxrss<<10)
		}
	}
	if cause := context.Cause(bounded); err != nil && cause != nil {
		return x, cause
	}
	if err != nil {
		return x, fmt.Errorf("%w: %s", err, lastLine(said.String()))
	}
	return x, nil
}

// watchMemory looks at a process's peak of resident memory until it ends.
func watchMemory(pid int, ended <-chan struct{}) (most int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		most = max(most, peak(pid))
		select {
		case <-ended:
			return most
		case <-tick.C:
		}
	}
}

// peak is VmHWM of a process in bytes, 0 when it is gone.
func peak(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	f := strings.Fields(rest)
	if len(f) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(f[0], 10, 64)
	return n << 10
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
