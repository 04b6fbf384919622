package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/store"
)

// The test binary runs itself as the process to be killed, or to be met.
func TestMain(m *testing.M) {
	switch os.Getenv("STORE_TEST_CHILD") {
	case "write":
		fmt.Fprintln(os.Stderr, write(os.Getenv("STORE_TEST_DIR")))
		os.Exit(1)
	case "hold":
		if err := hold(os.Getenv("STORE_TEST_DIR")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const rowsPerCommit = 3000

// content is the state that goes with commit n, of changing length.
func content(n int64) []byte {
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, uint64(n)), 1000+int(n%7)*20_000)
}

// write commits for ever, and says each number once it is acknowledged.
func write(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir, store.Options{})
	if err != nil {
		return err
	}
	if err := s.Migrate(ctx, "test", numbers); err != nil {
		return err
	}
	var n int64
	if err := s.QueryRow(ctx, `SELECT coalesce(max(n), 0) FROM number`).Scan(&n); err != nil {
		return err
	}
	for {
		n++
		err := s.Tx(ctx, func(tx *store.Tx) error {
			if n%5 == 0 { // some commits delete as well
				if err := tx.Exec(ctx, `UPDATE number SET half = half + 0 WHERE n = ?`, n-1); err != nil {
					return err
				}
			}
			if err := tx.PutBlob(ctx, "state", content(n)); err != nil {
				return err
			}
			return tx.Append("number", func(row store.Row) error {
				for i := range rowsPerCommit {
					if err := row(n, float64(i)); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
		if n%9 == 0 {
			if err := s.Checkpoint(ctx); err != nil {
				return err
			}
		}
	}
}

func child(t *testing.T, what, dir string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD="+what, "STORE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

// TestKill kills a writing process twenty times, in the middle of whatever it
// is doing: opening, committing, checkpointing, replaying its log.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var last int64
	for round := range 20 {
		cmd, out := child(t, "write", dir)
		first := round != 7 && round != 13 // in two rounds, also while it opens
		said := make(chan int64, 1)
		begun := make(chan bool, 1)
		go func() {
			var acked int64
			for {
				line, err := out.ReadString('\n')
				if err != nil {
					said <- acked
					close(begun)
					return
				}
				if n, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64); err == nil {
					acked = n
				}
				select {
				case begun <- true:
				default:
				}
			}
		}()
		if first && !<-begun {
			t.Fatal("the child gave up; its error is above")
		}
		time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		acked := <-said
		_ = cmd.Wait() // killed: never a success
		last = max(last, acked)

		s, err := store.Open(t.Context(), dir, store.Options{})
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		if last > 0 {
			have := count(t, s, `SELECT coalesce(max(n), 0) FROM number`)
			if have < last || have > last+1 {
				t.Errorf("round %d: %d was acknowledged, the store is at %d", round, last, have)
			}
			if bad := count(t, s, `SELECT count(*) FROM (SELECT n FROM number GROUP BY n HAVING count(*) != ? OR count(DISTINCT half) != ?)`, rowsPerCommit, rowsPerCommit); bad != 0 {
				t.Errorf("round %d: %d commits are there by half", round, bad)
			}
			if commits := count(t, s, `SELECT count(DISTINCT n) FROM number`); commits != have {
				t.Errorf("round %d: %d of %d commits", round, commits, have)
			}
			if b, err := s.Blob(t.Context(), "state"); err != nil || !bytes.Equal(b, content(have)) {
				t.Errorf("round %d: the state isn't that of commit %d: %v", round, have, err)
			}
			last = have
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if last < 20 {
		t.Errorf("only %d commits in 20 rounds: nothing was tested", last)
	}
	t.Logf("%d commits of %d rows survived 20 kills", last, rowsPerCommit)
}

// hold opens the folder, says so, and keeps it until its input ends.
func hold(dir string) error {
	s, err := store.Open(context.Background(), dir, store.Options{})
	if err != nil {
		return err
	}
	if err := s.SetAddress("http://127.0.0.1:8630"); err != nil {
		return err
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD=hold", "STORE_TEST_DIR="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("the owner said %q, %v", line, err)
	}
	for _, readOnly := range []bool{false, true} {
		_, err := store.Open(t.Context(), dir, store.Options{ReadOnly: readOnly})
		var busy *store.ErrBusy
		if !errors.As(err, &busy) {
			t.Fatalf("read only %v: %v", readOnly, err)
		}
		if busy.PID != cmd.Process.Pid || busy.Address != "http://127.0.0.1:8630" {
			t.Errorf("the refusal names %d at %q, the owner is %d", busy.PID, busy.Address, cmd.Process.Pid)
		}
		for _, words := range []string{busy.Error(), busy.Japanese()} {
			if !strings.Contains(words, strconv.Itoa(busy.PID)) || !strings.Contains(words, busy.Address) {
				t.Errorf("words: %s", words)
			}
		}
	}
	if owner, err := store.Owner(dir); err != nil || owner == nil || owner.PID != cmd.Process.Pid || owner.Address != "http://127.0.0.1:8630" {
		t.Errorf("the owner is said to be %+v, %v", owner, err)
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, free := range []string{dir, filepath.Join(dir, "none")} {
		if owner, err := store.Owner(free); err != nil || owner != nil {
			t.Errorf("%s is said to be %+v's, %v", free, owner, err)
		}
	}
	open(t, dir) // free again

	two := t.TempDir()
	s := open(t, two)
	if _, err := store.Open(t.Context(), two, store.Options{}); err == nil {
		t.Error("one process opened the folder twice")
	}
	_ = s.Close()
}
