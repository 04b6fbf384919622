package mail_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	stdmail "net/mail"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/respond/notify"
	"sakimori/respond/notify/mail"
	"sakimori/respond/notify/notifytest"
	"sakimori/respond/notify/words"
)

// TestMain runs the program that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("NOTIFY_KILLED"); path != "" {
		if err := send(path, os.Getenv("NOTIFY_PORT")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// send recovers, and sends what is due, as a program that begins anew does.
func send(path, port string) error {
	ctx := context.Background()
	db, err := relation.Open(ctx, path)
	if err != nil {
		return err
	}
	p, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	cfg := mail.Config{Host: "127.0.0.1", Port: p, Security: mail.Plain, From: stdmail.Address{Address: "notice@isp.example"}, Idle: 1, Helo: "desk.isp.example"}
	c, err := mail.New(cfg)
	if err != nil {
		return err
	}
	secret := sha256.Sum256([]byte("a secret of tests"))
	refs, err := notify.NewReferences(secret[:])
	if err != nil {
		return err
	}
	house := notifytest.NewHouse(people)
	book, err := words.Load(words.Config{JA: notifytest.JA, EN: notifytest.EN, Zone: notifytest.Zone})
	if err != nil {
		return err
	}
	policy := notify.DefaultPolicy(notifytest.Zone)
	policy.Tries, policy.Most, policy.Again = 1000, 1000, 1000 // only the outbox keeps it from sending twice
	desk, err := notify.Open(ctx, notify.Deps{
		DB: db, Clock: house, People: house, Recorder: house, Writer: book, References: refs, Carriers: channels(c), Policy: policy,
	})
	if err != nil {
		return err
	}
	if _, err := desk.Recover(ctx); err != nil {
		return err
	}
	fmt.Println("begun")
	_, err = desk.SendDue(ctx, notify.Mail, house, "x")
	return err
}

const people = 120

// TestKill kills a sending program with SIGKILL at random moments, again and again
// until all is sent or in doubt. The receiving MTA counts by Message-ID: nothing comes
// twice, what is said to be sent has come, and what is neither sent nor in doubt
// hasn't. Once with a real Exim, once with a slow server that makes the moment of
// doubt long.
func TestKill(t *testing.T) {
	t.Run("exim", func(t *testing.T) {
		mta := notifytest.StartMTA(t)
		kill(t, mta.Port, func() map[string]int {
			// What was taken is in the spool or in the box; wait until the spool is empty.
			before := -1
			for range 100 {
				n := len(mta.Box(t, "home.example"))
				if n == before {
					break
				}
				before = n
				notifytest.Pause(t, 500*time.Millisecond)
			}
			return notifytest.MessageIDs(mta.Box(t, "home.example"))
		})
	})
	t.Run("slow", func(t *testing.T) {
		s := &slow{ids: make(chan string, 10*people)}
		port := serve(t, s)
		kill(t, port, func() map[string]int {
			notifytest.Pause(t, time.Second) // a session that was cut off may still end
			got := map[string]int{}
			for len(s.ids) > 0 {
				got[<-s.ids]++
			}
			return got
		})
	})
}

func kill(t *testing.T, port int, received func() map[string]int) {
	t.Helper()
	path := relationtest.Place(t, "sqlite")
	db := relationtest.Open(t, path)
	house := notifytest.NewHouse(people)
	desk := house.Desk(t, db, nil, nil)
	for i := range people {
		notifytest.Approved(t, desk, fmt.Sprintf("S-%d", i), notify.Mail)
	}
	kills := 0
	for round := 0; ; round++ {
		left, err := desk.List(t.Context(), notify.Query{State: notify.Approved})
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if round == 400 {
			t.Fatalf("%d notices are left", len(left))
		}
		c := exec.CommandContext(t.Context(), os.Args[0])
		c.Env = append(os.Environ(), "NOTIFY_KILLED="+path, "NOTIFY_PORT="+strconv.Itoa(port))
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "begun\n" {
			t.Fatalf("%q, %v", line, err)
		}
		notifytest.Pause(t, time.Duration(rand.IntN(120))*time.Millisecond)
		if c.Process.Kill() == nil {
			kills++
		}
		_ = c.Wait() // it was killed
	}
	if doubted, err := desk.Recover(t.Context()); err != nil {
		t.Fatal(err)
	} else if len(doubted) > 1 {
		t.Errorf("one program left %d notices in doubt", len(doubted))
	}
	got := received()
	all, err := desk.List(t.Context(), notify.Query{})
	if err != nil {
		t.Fatal(err)
	}
	count, came := map[notify.State]int{}, 0
	for _, n := range all {
		times := got[n.ID+"@isp.example"]
		count[n.State]++
		switch {
		case times > 1:
			t.Errorf("%s came %d times", n.ID, times)
		case n.State == notify.Sent && times != 1:
			t.Errorf("%s is said to be sent and didn't come", n.ID)
		case n.State != notify.Sent && n.State != notify.InDoubt:
			t.Errorf("%s is %s: %s", n.ID, n.State, n.Reason)
		case n.State == notify.InDoubt && times == 1:
			came++
		}
	}
	if kills < 5 || count[notify.Sent] == 0 {
		t.Errorf("nothing was tested: %d kills, %v", kills, count)
	}
	t.Logf("%d kills: %d sent, %d in doubt, of which %d had come; none twice", kills, count[notify.Sent], count[notify.InDoubt], came)
}

// serve runs a server until the test ends, and gives its port.
func serve(t testing.TB, s *slow) int {
	t.Helper()
	server := smtp.NewServer(s)
	server.Domain, server.ReadTimeout = "slow.example", patience
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close() // that is the end of it
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // a TCP listener has no other
}

// slow is a server that takes its time before and after it has a message.
type slow struct {
	ids   chan string
	quick bool
}

func (s *slow) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{s}, nil }

type session struct{ s *slow }

func (*session) Mail(string, *smtp.MailOptions) error { return nil }
func (*session) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (*session) Reset()                               {}
func (*session) Logout() error                        { return nil }

func (x *session) Data(r io.Reader) error {
	x.s.pause(15)
	m, err := stdmail.ReadMessage(r)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, m.Body); err != nil {
		return err // cut off before the dot: not taken
	}
	x.s.ids <- strings.Trim(m.Header.Get("Message-ID"), "<>")
	x.s.pause(25)
	return nil
}

func (s *slow) pause(most int) {
	if s.quick {
		return
	}
	ctx, end := context.WithTimeout(context.Background(), time.Duration(rand.IntN(most))*time.Millisecond)
	<-ctx.Done()
	end()
}

func BenchmarkMail(b *testing.B) {
	run := func(b *testing.B, cfg mail.Config) {
		b.Helper()
		list, _ := keys(b)
		cfg.Keys = list[:1]
		c := carrier(b, cfg)
		house := notifytest.NewHouse(b.N)
		desk := house.Desk(b, relationtest.Open(b, relationtest.Place(b, "sqlite")), channels(c), nil)
		var ids []string
		for i := range b.N {
			ids = append(ids, notifytest.Approved(b, desk, fmt.Sprintf("S-%d", i), notify.Mail).ID)
		}
		b.ResetTimer()
		for i := range b.N {
			if _, err := desk.Send(b.Context(), ids[i], house.Grant(b, fmt.Sprintf("S-%d", i)), "x"); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
	}
	b.Run("exim", func(b *testing.B) { run(b, config(notifytest.StartMTA(b))) })
	b.Run("swallow", func(b *testing.B) { // our own part: a server that takes no time
		s := &slow{ids: make(chan string, b.N), quick: true}
		port := serve(b, s)
		run(b, mail.Config{Host: "127.0.0.1", Port: port, Security: mail.Plain, From: stdmail.Address{Address: "notice@isp.example"}, Idle: 1, Helo: "desk.isp.example"})
	})
}

// TestStaleLine: a kept connection that the server has closed meanwhile costs nothing:
// another one is made, and the notice goes out once.
func TestStaleLine(t *testing.T) {
	s := &slow{ids: make(chan string, 10), quick: true}
	c := carrier(t, mail.Config{Host: "127.0.0.1", Port: serve(t, s), Security: mail.Plain, From: stdmail.Address{Address: "notice@isp.example"}, Idle: 1, Helo: "desk.isp.example"})
	house := notifytest.NewHouse(1)
	desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), channels(c), nil)
	for i := range 3 {
		n := notifytest.Approved(t, desk, "S-0", notify.Mail)
		if got, err := desk.Send(t.Context(), n.ID, house.Grant(t, "S-0"), "x"); err != nil || got.State != notify.Sent || got.Attempts != 1 {
			t.Fatalf("%d: %s %s, %v", i, got.State, got.Reason, err)
		}
		if id := <-s.ids; id != n.ID+"@isp.example" || len(s.ids) > 0 {
			t.Errorf("%s came, and %d more", id, len(s.ids))
		}
		notifytest.Pause(t, 3*patience)
	}
}

// patience is how long the server waits for a command.
const patience = 100 * time.Millisecond
