package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/rogpeppe/go-internal/testscript"
)

// mta is a mail server of a script: what it takes lies in the folder mails, one file
// each. Whoever is called slow is taken, and the answer never comes; whoever is called
// refused isn't taken.
type mta struct {
	dir  string
	over chan struct{} // closed at the end of the script
	mu   sync.Mutex
	n    int
}

// startMTA is the script's command mta: it sets MTA to the port.
func startMTA(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: mta")
	}
	m := &mta{dir: ts.MkAbs("mails"), over: make(chan struct{})}
	ts.Check(os.MkdirAll(m.dir, 0o700))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s := smtp.NewServer(m)
	s.Domain = "mta.example"
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	ts.Defer(func() {
		close(m.over)
		_ = s.Close() // that is the end of it
		<-done
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ts.Setenv("MTA", port)
}

// arrived is the script's command that waits until so many mails have come, and no more.
func arrived(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: arrived NUMBER")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	for range 600 {
		list, _ := filepath.Glob(filepath.Join(ts.MkAbs("mails"), "*.eml"))
		if got = len(list); got >= want {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got != want {
		ts.Fatalf("%d mails arrived, not %d", got, want)
	}
}

func (m *mta) NewSession(*smtp.Conn) (smtp.Session, error) { return &letterbox{m: m}, nil }

type letterbox struct {
	m  *mta
	to string
}

func (*letterbox) Mail(string, *smtp.MailOptions) error { return nil }

func (b *letterbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	if b.to = to; strings.HasPrefix(to, "refused@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody of that name"}
	}
	return nil
}
func (*letterbox) Reset()        {}
func (*letterbox) Logout() error { return nil }

func (b *letterbox) Data(r io.Reader) error {
	var all bytes.Buffer
	if _, err := all.ReadFrom(r); err != nil {
		return err
	}
	b.m.mu.Lock()
	b.m.n++
	err := os.WriteFile(filepath.Join(b.m.dir, fmt.Sprintf("%d.part", b.m.n)), all.Bytes(), 0o600)
	if err == nil {
		err = os.Rename(filepath.Join(b.m.dir, fmt.Sprintf("%d.part", b.m.n)), filepath.Join(b.m.dir, fmt.Sprintf("%d.eml", b.m.n)))
	}
	b.m.mu.Unlock()
	if err == nil && strings.HasPrefix(b.to, "slow@") {
		<-b.m.over
	}
	return err
}
