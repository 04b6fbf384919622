package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process has the data folder.
type ErrBusy struct {
	Dir     string
	PID     int    // 0 when it can't be told
	Address string // of its API, "" when it serves none
}

// Error names the process, and says how to go on.
func (e *ErrBusy) Error() string {
	if e.Address != "" {
		return fmt.Sprintf("the data folder %s belongs to process %d, which is running: commands work through its API at %s, or stop it first", e.Dir, e.PID, e.Address)
	}
	return fmt.Sprintf("the data folder %s belongs to process %d, which is running and serves no API: wait until it is done, or stop it first", e.Dir, e.PID)
}

// Japanese is Error in Japanese.
func (e *ErrBusy) Japanese() string {
	if e.Address != "" {
		return fmt.Sprintf("データフォルダー %s は実行中のプロセス %d が使用しています。コマンドはその API(%s)を通して動きます。そうでなければ先に停止してください。", e.Dir, e.PID, e.Address)
	}
	return fmt.Sprintf("データフォルダー %s は実行中のプロセス %d が使用しており、API を提供していません。終了を待つか、先に停止してください。", e.Dir, e.PID)
}

// lock is the open lock file. The kernel drops the lock with the process,
// however that ends, so there are no stale locks to clean up.
type lock struct {
	f      *os.File
	shared bool
}

func takeLock(dir string, shared bool) (*lock, error) {
	name := filepath.Join(dir, "lock")
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640) //nolint:gosec // inside the folder that was asked for
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	how := unix.LOCK_EX
	if shared {
		how = unix.LOCK_SH
	}
	if err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); err != nil {
		busy := readLock(dir, f)
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, busy
		}
		return nil, fmt.Errorf("lock %s: %w: is the folder on a file system without locks?", name, err)
	}
	l := &lock{f, shared}
	if err := l.write(""); err != nil {
		return nil, errors.Join(err, l.free())
	}
	return l, nil
}

// write puts "pid address\n" into the file. Readers that share the folder leave
// it alone.
func (l *lock) write(address string) error {
	if l.shared {
		return nil
	}
	line := strconv.Itoa(os.Getpid()) + " " + address + "\n"
	// Longer first, then cut: who reads in between sees a whole first line.
	if _, err := l.f.WriteAt([]byte(line), 0); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	if err := l.f.Truncate(int64(len(line))); err != nil {
		return fmt.Errorf("write the lock file: %w", err)
	}
	return nil
}

func readLock(dir string, f *os.File) *ErrBusy {
	busy := &ErrBusy{Dir: dir}
	var b [512]byte
	n, _ := f.ReadAt(b[:], 0) // an empty file is fine: the owner is just starting
	line, _, _ := bytes.Cut(b[:n], []byte("\n"))
	pid, address, _ := bytes.Cut(line, []byte(" "))
	busy.PID, _ = strconv.Atoi(string(pid))
	busy.Address = string(address)
	return busy
}

// Owner tells which process has a data folder, nil when none does.
func Owner(dir string) (*ErrBusy, error) {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // nobody
	}
	if err != nil {
		return nil, fmt.Errorf("look for who has the data folder: %w", err)
	}
	defer f.Close()
	busy := readLock(dir, f)
	if busy.PID == 0 { // who leaves in order empties the file
		return nil, nil //nolint:nilnil // nobody
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return busy, nil
	}
	return nil, nil //nolint:nilnil // it was killed
}

func (l *lock) free() error {
	if !l.shared {
		if err := l.f.Truncate(0); err != nil {
			return errors.Join(fmt.Errorf("free the data folder: %w", err), l.f.Close())
		}
	}
	return l.f.Close() // closing drops the lock
}
