package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"sakimori/base/clock"
	"sakimori/observe/route/stream"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "12") // they wait for timers rather than work
	os.Exit(m.Run())
}

// server plays RIS Live: each connection is the test's to serve.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	calls int
}

// newServer serves connection number n, from 0 on, once it has subscribed.
func newServer(t *testing.T, subscriptions int, serve func(ctx context.Context, n int, c *websocket.Conn)) *server {
	t.Helper()
	s := &server{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		s.mu.Lock()
		n := s.calls
		s.calls++
		s.mu.Unlock()
		for range subscriptions {
			_, b, err := c.Read(ctx)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.asked = append(s.asked, string(b))
			s.mu.Unlock()
		}
		serve(ctx, n, c)
	}))
	t.Cleanup(func() { cancel(); s.CloseClientConnections(); s.Close() })
	return s
}

// say sends lines, and tells whether it could.
func say(ctx context.Context, c *websocket.Conn, lines ...[]byte) bool {
	for _, l := range lines {
		if c.Write(ctx, websocket.MessageText, l) != nil {
			return false
		}
	}
	return true
}

// stay answers pings until the client is gone.
func stay(ctx context.Context, c *websocket.Conn) { _, _, _ = c.Read(ctx) }

// sink keeps what is handed on.
type sink struct {
	mu    sync.Mutex
	list  []string
	block chan struct{} // not nil: it takes nothing until it is closed
}

func (s *sink) add(format string, args ...any) {
	if s.block != nil {
		<-s.block
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, fmt.Sprintf(format, args...))
}

func (s *sink) Message(p stream.Peer, msg []byte, as4 bool, sent, arrival time.Time) {
	s.add("%s %s AS%d type %d of %d bytes at %s", p.Host, p.Address, p.AS, msg[18], len(msg), sent.Format(time.RFC3339Nano))
	if !as4 || arrival.Before(sent) {
		s.add("as4 %t, arrival %s", as4, arrival)
	}
}

func (s *sink) State(p stream.Peer, up bool, _, _ time.Time) {
	s.add("%s %s up %t", p.Host, p.Address, up)
}

func (s *sink) Gap(from, to time.Time) { s.add("gap %t", from.Before(to)) }

func (s *sink) waits(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "it is handed on", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !slices.Equal(s.list, want) {
			return fmt.Errorf("%q, want %q", s.list, want)
		}
		return nil
	})
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for range 500 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never: %s: %v", what, err)
}

// follow runs a stream until the test ends.
func follow(t *testing.T, c stream.Config, url string, to stream.Sink) *stream.Stream {
	t.Helper()
	c.Name, c.URL = "ris", strings.Replace(url, "http", "ws", 1)
	s, err := stream.New(c, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

const (
	first     = "rrc00 72.22.223.9 AS11708 type 2 of 91 bytes at 2019-03-26T19:19:47.89Z"
	down      = "rrc01 195.66.224.59 up false"
	opened    = "rrc00 94.177.122.251 AS60474 type 1 of 53 bytes at 2019-03-26T18:29:55.84Z"
	notified  = "rrc01 2001:7f8:4::73ab:1 AS29611 type 3 of 21 bytes at 2019-03-26T18:30:16.83Z"
	keepalive = "rrc03 80.249.210.89 AS31042 type 4 of 19 bytes at 2019-03-26T18:30:34.06Z"
)

// The sample, over two connections: what is asked for, what is handed on, and the gap.
func TestFollow(t *testing.T) {
	t.Parallel()
	lines := sample(t)
	server := newServer(t, 2, func(ctx context.Context, n int, c *websocket.Conn) {
		if n == 0 {
			say(ctx, c, append([][]byte{[]byte(`{"type":"ris_subscribe_ok","data":{}}`), []byte("nonsense")}, lines...)...)
			_ = c.Close(websocket.StatusPolicyViolation, "too slow")
			return
		}
		say(ctx, c, lines[0])
		stay(ctx, c)
	})
	no := false
	out := &sink{}
	s := follow(t, stream.Config{Subscriptions: []stream.Subscription{{Host: "rrc06", Prefix: netip.MustParsePrefix("192.0.2.0/24"), MoreSpecific: &no, LessSpecific: true}, {Path: "^64500", Peer: "192.0.2.1"}}}, server.URL, out)
	out.waits(t, first, down, opened, notified, keepalive, "gap true", first)
	server.mu.Lock()
	var got []any
	for _, a := range server.asked {
		var v any
		if err := json.Unmarshal([]byte(a), &v); err != nil {
			t.Error(err)
		}
		got = append(got, v)
	}
	server.mu.Unlock()
	options := map[string]any{"includeRaw": true, "acknowledge": true}
	want := []any{
		map[string]any{"type": "ris_subscribe", "data": map[string]any{"host": "rrc06", "prefix": "192.0.2.0/24", "moreSpecific": false, "lessSpecific": true, "socketOptions": options}},
		map[string]any{"type": "ris_subscribe", "data": map[string]any{"path": "^64500", "peer": "192.0.2.1", "socketOptions": options}},
	}
	if g, w := fmt.Sprint(got), fmt.Sprint(append(want, want...)); g != w {
		t.Errorf("asked\n%s\nwant\n%s", g, w)
	}
	eventually(t, "the status says so", func() error {
		if st := s.Status(); !st.Connected || st.Resets != 1 || st.Gaps != 1 || st.Malformed != 2 || st.Messages != 6 || st.Received != 10 || st.Dropped != 0 || st.Last == nil || st.Words != 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// A sink that is busy doesn't slow the reader: what there is no room for is counted.
func TestBusy(t *testing.T) {
	t.Parallel()
	lines := sample(t)
	server := newServer(t, 1, func(ctx context.Context, _ int, c *websocket.Conn) {
		for range 100 {
			say(ctx, c, lines[0])
		}
		stay(ctx, c)
	})
	out := &sink{block: make(chan struct{})}
	s := follow(t, stream.Config{Queue: 10}, server.URL, out)
	eventually(t, "all are read", func() error {
		if st := s.Status(); st.Received != 100 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	close(out.block)
	eventually(t, "what had room is handed on", func() error {
		if st := s.Status(); st.Dropped+st.Messages != 100 || st.Dropped < 80 || st.Messages < 10 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	if st := s.Status(); st.Resets != 0 {
		t.Errorf("%+v", st)
	}
}

// A server that hangs is left, one that refuses is asked again, and one that complains is
// heard.
func TestTrouble(t *testing.T) {
	t.Parallel()
	lines := sample(t)
	server := newServer(t, 1, func(ctx context.Context, n int, c *websocket.Conn) {
		switch n {
		case 0:
			say(ctx, c, lines[0])
			<-ctx.Done() // it answers no ping
		case 1:
			say(ctx, c, []byte(`{"type":"ris_message","data":"`+strings.Repeat("x", 3<<20)+`"}`)) // more than is taken
			stay(ctx, c)
		default:
			say(ctx, c, lines[2], lines[0])
			stay(ctx, c)
		}
	})
	out := &sink{}
	s := follow(t, stream.Config{Silence: 2 * time.Second}, server.URL, out)
	out.waits(t, first, "gap true", first)
	eventually(t, "the status says so", func() error {
		if st := s.Status(); !st.Connected || st.Resets < 1 || st.Error == nil || !strings.Contains(st.Error.EN, "this is a test error message") || st.Error.JA == "" {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	gone := follow(t, stream.Config{}, "http://127.0.0.1:1", &sink{})
	eventually(t, "nobody answers", func() error {
		if st := gone.Status(); st.Connected || st.Error == nil || st.Resets != 0 {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]stream.Config{
		"name":    {},
		"address": {Name: "a", URL: "http://example.com"},
		"silence": {Name: "a", Silence: time.Millisecond},
		"prefix":  {Name: "a", Subscriptions: []stream.Subscription{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}}},
	} {
		if _, err := stream.New(c, &sink{}, clock.System{}, slog.New(slog.DiscardHandler)); !errors.Is(err, stream.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := stream.New(stream.Config{Name: "a"}, &sink{}, clock.System{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}
