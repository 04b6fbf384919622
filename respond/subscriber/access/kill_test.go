package access_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	oracle "layeh.com/radius"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// The test binary runs itself as the server that is to be killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("ACCESS_TEST_FILE"); path != "" {
		fmt.Fprintln(os.Stderr, child(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// file keeps the sessions of records in a file, a line each.
type file struct {
	mu sync.Mutex
	*os.File
}

func (f *file) Take(_ context.Context, list []subscriber.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, r := range list {
		b.WriteString(r.Session + "\n")
	}
	if _, err := f.WriteString(b.String()); err != nil {
		return err
	}
	return f.Sync()
}

func child(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s, err := access.NewServer(access.ServerConfig{Listen: []string{"127.0.0.1:0"}, Clients: loopback()}, &file{File: f}, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return s.Run(context.Background(), func() { fmt.Println(s.Addresses()[0]) })
}

// flood sends Starts, at most window of them without an answer, until the server is
// dead and nothing comes any more, and gives the sessions that were answered.
func flood(t *testing.T, c net.Conn, dead <-chan struct{}, prefix string, window int) (answered []string) {
	t.Helper()
	var waiting [256]string
	answer := make([]byte, 100)
	sent, out := 0, 0
	for {
		for out < window {
			p := oracle.New(oracle.CodeAccountingRequest, []byte(secret))
			p.Identifier = byte(sent)
			session := fmt.Sprintf("%s-%d", prefix, sent)
			p.Add(status, []byte(start))
			p.Add(sessionID, []byte(session))
			p.Add(framed, []byte(one))
			b, err := p.Encode()
			if err != nil {
				t.Error(err)
				return answered
			}
			_, _ = c.Write(b) // a dead server refuses: as good as lost
			waiting[byte(sent)] = session
			sent, out = sent+1, out+1
		}
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.Read(answer)
		if err != nil {
			select {
			case <-dead:
				return answered
			default:
				continue
			}
		}
		if n >= 20 && answer[0] == 5 {
			answered = append(answered, waiting[answer[1]])
			out--
		}
	}
}

// TestKill kills a server ten times while it works: whatever it acknowledged was in the
// sink by then.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	total := 0
	for round := range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "ACCESS_TEST_FILE="+path)
		cmd.Stderr = os.Stderr
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		where, err := bufio.NewReader(pipe).ReadString('\n')
		if err != nil {
			t.Fatal("the child gave up; its error is above")
		}
		var wg sync.WaitGroup
		got, dead := make([][]string, 4), make(chan struct{})
		for i := range got {
			c, err := net.Dial("udp", strings.TrimSpace(where))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			wg.Go(func() { got[i] = flood(t, c, dead, fmt.Sprintf("%d-%d", round, i), 100) })
		}
		time.Sleep(time.Duration(30+rand.IntN(150)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed: never a success
		close(dead)
		wg.Wait()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept := map[string]bool{}
		for line := range strings.Lines(string(b)) {
			kept[strings.TrimSpace(line)] = true
		}
		for _, list := range got {
			total += len(list)
			for _, session := range list {
				if !kept[session] {
					t.Fatalf("round %d: session %s was acknowledged, and isn't kept", round, session)
				}
			}
		}
	}
	if total < 100 {
		t.Errorf("only %d acknowledged in ten rounds: nothing was tested", total)
	}
	t.Logf("%d acknowledged requests survived ten kills", total)
}
