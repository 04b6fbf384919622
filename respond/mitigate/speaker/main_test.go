package speaker_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/respond/mitigate/speaker"
	"sakimori/respond/mitigate/speakertest"
)

// child, in the environment, makes this program a speaker of its own, to be killed.
const child = "SAKIMORI_SPEAKER"

func TestMain(m *testing.M) {
	if c := os.Getenv(child); c != "" {
		if err := speak(c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // they wait for timers of BGP rather than work
	os.Exit(m.Run())
}

// speak announces what the tests announce, once all peers are there, and goes on until it is
// killed.
func speak(config string) error {
	var c speaker.Config
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	s, err := speaker.New(c, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return s.Run(context.Background(), func() {
		if len(c.Peers) == 0 {
			return
		}
		go func() {
			for {
				up := 0
				for _, p := range s.Peers() {
					if p.State == speaker.Established {
						up++
					}
				}
				if up == len(c.Peers) {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			for id, rules := range acts {
				if err := s.Announce(context.Background(), id, rules, later(time.Hour)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		}()
	})
}

// start starts such a process.
func start(t *testing.T, c speaker.Config) *exec.Cmd {
	t.Helper()
	c.AS, c.RouterID = ours, id
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), child+"="+string(b)), os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

const ours = 64500

var (
	us = netip.MustParseAddr("127.0.0.1")
	id = netip.MustParseAddr("192.0.2.100")
	as = map[speakertest.Kind]uint32{speakertest.GoBGP: 64501, speakertest.BIRD: 64502, speakertest.FRR: ours, speakertest.ExaBGP: 64503}
)

// routers starts one of each kind, and gives what we must know of them. ExaBGP calls us, the
// others are called.
func routers(t *testing.T, hold int) ([]*speakertest.Router, speaker.Config) {
	t.Helper()
	speakertest.Needs(t, speakertest.Kinds()...)
	var list []*speakertest.Router
	c := speaker.Config{Listen: daemon.Port(t, us)}
	for i, k := range speakertest.Kinds() {
		l := speakertest.Link{Us: netip.AddrPortFrom(us, 0), OurAS: ours, AS: as[k], Password: "of-" + string(k), Hold: hold}
		if k == speakertest.ExaBGP {
			l.Us = c.Listen
		}
		r := speakertest.New(t, k, daemon.Loopback(uint8(2+i)), l)
		list, c.Peers = append(list, r), append(c.Peers, neighbor(t, r))
	}
	return list, c
}

// neighbor is a router as we are told of it.
func neighbor(t *testing.T, r *speakertest.Router) speaker.Neighbor {
	t.Helper()
	n := speaker.Neighbor{
		Name: string(r.Kind), Address: r.Addr, Local: us, AS: r.Link.AS, Multihop: 8, Hold: time.Duration(r.Link.Hold) * time.Second,
		Families: speaker.Families(), NextHop4: netip.MustParseAddr("192.0.2.1"), NextHop6: netip.MustParseAddr("100::1"),
		Communities: []string{fmt.Sprintf("%d:13", r.Link.AS), fmt.Sprintf("%d:1:666", r.Link.AS)}, Passive: r.Link.Us.Port() != 0,
	}
	if r.Link.Password != "" {
		n.PasswordFile = secret(t, r.Link.Password)
	}
	return n
}

// secret writes a password to a file.
func secret(t *testing.T, word string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(word+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// run runs a speaker until the test ends, or stop is called.
func run(t *testing.T, c speaker.Config) (s *speaker.Speaker, stop func()) {
	t.Helper()
	c.AS, c.RouterID = ours, id
	s, err := speaker.New(c, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// connected waits until all peers are.
func connected(t *testing.T, s *speaker.Speaker) time.Duration {
	t.Helper()
	return daemon.Eventually(t, 25*time.Second, "the sessions come up", func() error {
		for _, p := range s.Peers() {
			if p.State != speaker.Established {
				return fmt.Errorf("%s is %s: %+v", p.Name, p.State, p.Error)
			}
		}
		return nil
	})
}

func later(d time.Duration) time.Time { return clock.System{}.Now().Add(d) }
