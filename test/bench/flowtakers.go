//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// flowTaker is a collector of flows that listens in a namespace, bound to the last processor.
type flowTaker struct {
	name string
	ns   *netns
	at   netip.AddrPort
	dir  string // of its own, which goes with it
	c    *exec.Cmd
	said speech
	done chan struct{}
	// told is how many records it says it has taken, and dropped itself, at its end; nil where
	// it doesn't say.
	told    func(ctx context.Context, dir string) (records, dropped uint64, err error)
	packets bool // it tells packets, as it knows no records
	early   bool // it tells before its end
}

// collectAt is where collectors listen, each alone in its namespace.
var collectAt = netip.MustParseAddrPort("127.0.0.1:2055")

// newFlowTaker starts a collector by the command line that is made of its folder.
func newFlowTaker(ctx context.Context, o *options, name string, line func(dir string) ([]string, error)) (t *flowTaker, err error) {
	t = &flowTaker{name: name, at: collectAt, done: make(chan struct{})}
	if t.dir, err = os.MkdirTemp(o.dir, "flows-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.end()
		}
	}()
	if t.ns, err = newNetns(); err != nil {
		return t, err
	}
	if err := t.ns.ip(ctx, "link", "set", "dev", "lo", "up"); err != nil {
		return t, err
	}
	args, err := line(t.dir)
	if err != nil {
		return t, err
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return t, fmt.Errorf("%s isn't installed: scripts/debian-packages bench", args[0])
	}
	t.c = exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(processors() - 1), program}, args[1:]...)...)
	t.c.Dir, t.c.Stdout, t.c.Stderr = t.dir, &t.said, &t.said
	if err := t.ns.start(t.c); err != nil {
		t.c = nil
		return t, err
	}
	go wait(t.c, t.done)
	err = until(ctx, 30*time.Second, name+" doesn't listen", func() bool {
		_, ok := t.drops()
		return ok || t.ended()
	})
	if err == nil && t.ended() {
		err = errors.New(name + " ended")
	}
	if err != nil {
		return t, fmt.Errorf("%w: %s", err, lastLine(t.said.String()))
	}
	time.Sleep(500 * time.Millisecond) // what it does at its start is over
	return t, nil
}

func (t *flowTaker) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// drops are the datagrams that the kernel had no room for, as it counts them for each socket.
func (t *flowTaker) drops() (n uint64, listens bool) {
	for _, table := range []string{"udp", "udp6"} {
		for line := range strings.Lines(text(fmt.Sprintf("/proc/%d/net/%s", t.c.Process.Pid, table))) {
			f := strings.Fields(line)
			if len(f) < 13 || !strings.HasSuffix(f[1], fmt.Sprintf(":%04X", t.at.Port())) {
				continue
			}
			d, err := strconv.ParseUint(f[12], 10, 64)
			if err == nil {
				n, listens = n+d, true
			}
		}
	}
	return n, listens
}

// cpu is what the collector and the processes that it started have used, to the nanosecond.
func (t *flowTaker) cpu() (d time.Duration) {
	for _, pid := range t.group() {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is good
		for _, f := range tasks {
			ns, _, _ := strings.Cut(text(f), " ")
			n, _ := strconv.ParseInt(ns, 10, 64) // a thread that has just ended
			d += time.Duration(n)
		}
	}
	return d
}

// rss is the most memory that each of them had, together.
func (t *flowTaker) rss() (n int64) {
	for _, pid := range t.group() {
		n += peak(pid)
	}
	return n
}

// group are the processes of its process group.
func (t *flowTaker) group() (pids []int) {
	all, _ := os.ReadDir("/proc") // Linux has it
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		// After the name in brackets: state, parent, group.
		_, rest, _ := strings.Cut(text(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
		if f := strings.Fields(rest); len(f) > 2 && f[2] == strconv.Itoa(t.c.Process.Pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// stop asks it to end, and gives what it says that it took.
func (t *flowTaker) stop(ctx context.Context) (records, dropped uint64, err error) {
	if t.told != nil && t.early {
		if records, dropped, err = t.told(ctx, t.dir); err != nil {
			return 0, 0, err
		}
	}
	_ = syscall.Kill(t.c.Process.Pid, syscall.SIGINT) // it may have ended
	if err := until(ctx, 60*time.Second, t.name+" doesn't end", t.ended); err != nil {
		return 0, 0, err
	}
	if t.told == nil {
		return 0, 0, errUntold
	}
	if t.early {
		return records, dropped, nil
	}
	return t.told(ctx, t.dir)
}

var errUntold = errors.New("it doesn't say")

// end ends it, whatever it does, and leaves nothing.
func (t *flowTaker) end() {
	if t.c != nil && !t.ended() {
		_ = syscall.Kill(-t.c.Process.Pid, syscall.SIGKILL)
		<-t.done
	}
	if t.ns != nil {
		t.ns.close()
	}
	_ = os.RemoveAll(t.dir) // a temporary folder
}

func processors() int {
	n := 0
	for line := range strings.Lines(text("/proc/cpuinfo")) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	return max(n, 1)
}

// nfcapd stores records as they come; nfdump counts them afterwards.
func nfcapd(ctx context.Context, o *options) (*flowTaker, error) {
	t, err := newFlowTaker(ctx, o, "nfcapd", func(dir string) ([]string, error) {
		return []string{"nfcapd", "-b", collectAt.Addr().String(), "-p", fmt.Sprint(collectAt.Port()), "-w", dir, "-B", "4194304", "-t", "3600"}, nil
	})
	if err == nil {
		t.told = func(ctx context.Context, dir string) (n, _ uint64, err error) {
			files, _ := filepath.Glob(filepath.Join(dir, "nfcapd.*")) // the pattern is good
			for _, f := range files {
				out, err := exec.CommandContext(ctx, "nfdump", "-I", "-r", f).CombinedOutput()
				m := regexp.MustCompile(`(?m)^Flows: (\d+)`).FindSubmatch(out)
				if err != nil || m == nil {
					return 0, 0, fmt.Errorf("nfdump -I: %w: %s", err, lastLine(string(out)))
				}
				k, err := strconv.ParseUint(string(m[1]), 10, 64)
				if err != nil {
					return 0, 0, err
				}
				n += k
			}
			return n, 0, nil
		}
	}
	return t, err
}

// nfacctd adds up by three keys in another process, to which it hands the records on.
func nfacctd(ctx context.Context, o *options) (*flowTaker, error) {
	t, err := newFlowTaker(ctx, o, "nfacctd", func(dir string) ([]string, error) {
		conf := fmt.Sprintf(`daemonize: false
nfacctd_ip: %s
nfacctd_port: %d
nfacctd_pipe_size: 4194304
plugins: print[sums]
aggregate[sums]: dst_host, proto, dst_port
print_output[sums]: csv
print_output_file[sums]: %s
print_refresh_time[sums]: 3600
print_cache_entries[sums]: 262147
plugin_pipe_size[sums]: 67108864
plugin_buffer_size[sums]: 65536
`, collectAt.Addr(), collectAt.Port(), filepath.Join(dir, "sums.csv"))
		file := filepath.Join(dir, "nfacctd.conf")
		return []string{"nfacctd", "-f", file}, os.WriteFile(file, []byte(conf), 0o600)
	})
	if err == nil {
		t.packets = true
		t.told = func(_ context.Context, dir string) (n, _ uint64, err error) {
			b, err := os.ReadFile(filepath.Join(dir, "sums.csv"))
			if err != nil {
				return 0, 0, err
			}
			for line := range strings.Lines(string(b)) {
				f := strings.Split(strings.TrimSpace(line), ",")
				if len(f) != 5 {
					continue
				}
				if k, err := strconv.ParseUint(f[3], 10, 64); err == nil {
					n += k
				}
			}
			return n, 0, nil
		}
	}
	return t, err
}

// goflow2 re-encodes each record, and here throws it away.
func goflow2(ctx context.Context, o *options) (*flowTaker, error) {
	program := filepath.Join(o.dir, "goflow2")
	if _, err := os.Stat(program); err != nil {
		c := exec.CommandContext(ctx, "go", "install", "github.com/netsampler/goflow2/v2/cmd/goflow2@v2.2.6")
		c.Dir, c.Env = o.dir, append(os.Environ(), "GOBIN="+o.dir, "GOFLAGS=")
		if out, err := c.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("goflow2 can't be built: %w: %s", err, lastLine(string(out)))
		}
	}
	return newFlowTaker(ctx, o, "goflow2", func(string) ([]string, error) {
		return []string{program, "-listen", fmt.Sprintf("netflow://%s?count=1&workers=2", collectAt), "-format", "bin", "-transport", "file", "-transport.file", os.DevNull, "-addr", "127.0.0.1:8080"}, nil
	})
}
