//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// machine is where and when it was measured, and who else worked meanwhile.
type machine struct {
	began         time.Time
	model, kernel string
	processors    int
	memory        int64 // bytes
	load0, load1  string
	commit        string
	quick         bool
	jiffies0      jiffies
	own0          time.Duration
	others, steal float64 // share of all processors, 0 to 1
}

// jiffies are /proc/stat's, in 1/100 s.
type jiffies struct{ all, idle, steal float64 }

func look(ctx context.Context, o *options) *machine {
	m := &machine{began: time.Now(), processors: runtime.NumCPU(), load0: load(), quick: o.quick, jiffies0: readJiffies(), own0: ownTime()}
	m.model = field("/proc/cpuinfo", "model name")
	m.kernel = strings.TrimSpace(text("/proc/sys/kernel/osrelease"))
	if kb, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.memory = kb << 10
	}
	git := func(args ...string) string {
		c := exec.CommandContext(ctx, "git", args...)
		c.Dir = o.root
		b, _ := c.Output() // outside of git nobody knows
		return strings.TrimSpace(string(b))
	}
	if m.commit = git("rev-parse", "--short=12", "HEAD"); m.commit == "" {
		m.commit = "unknown"
	} else if git("status", "--porcelain", "--untracked-files=no") != "" {
		m.commit += " with changes"
	}
	return m
}

// end notes how much of the processors went to others.
func (m *machine) end() {
	m.load1 = load()
	now, was := readJiffies(), m.jiffies0
	all := now.all - was.all
	if all <= 0 {
		return
	}
	busy := all - (now.idle - was.idle) - (now.steal - was.steal)
	m.steal = (now.steal - was.steal) / all
	m.others = max(0, (busy-(ownTime()-m.own0).Seconds()*100)/all)
}

func (m *machine) text() string {
	return fmt.Sprintf("%s, commit %s, %s × %d, %d GiB, Linux %s, %s, load average at start %s\n",
		m.began.UTC().Format("2006-01-02 15:04 UTC"), m.commit, m.model, m.processors, m.memory>>30, m.kernel, runtime.Version(), m.load0)
}

// ownTime is the processor time of this process and of its children that ended.
func ownTime() (d time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err == nil {
			d += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return d
}

func readJiffies() (j jiffies) {
	line, _, _ := strings.Cut(text("/proc/stat"), "\n")
	for i, f := range strings.Fields(line) {
		n, err := strconv.ParseFloat(f, 64)
		if err != nil || i > 8 { // from the ninth on they are counted before, too
			continue
		}
		j.all += n
		switch i {
		case 4, 5:
			j.idle += n
		case 8:
			j.steal += n
		}
	}
	return j
}

func load() string { return strings.Join(strings.Fields(text("/proc/loadavg") + " ? ? ?")[:3], " ") }

func text(path string) string {
	b, _ := os.ReadFile(path) // what can't be read isn't shown
	return string(b)
}

// field is the value of the first "name : value" of a file in /proc.
func field(path, name string) string {
	for line := range strings.Lines(text(path)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}

// bytesUnder is how much the files of a folder hold.
func bytesUnder(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if i, err := d.Info(); err == nil {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}
