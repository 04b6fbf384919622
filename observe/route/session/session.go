// Package session takes routes from BGP neighbours that call us (RFC 4271): a collector's
// side of a session.
//
// It announces nothing, and couldn't: it opens, keeps alive and ends sessions, and there is
// no code in it that writes an UPDATE. It keeps no routes either. What a neighbour sends is
// handed on as it came, byte for byte, in the form of BMP (RFC 7854): a Peer Up with both
// OPENs, a Route Monitoring message for each UPDATE, a Peer Down with the reason. So evidence
// is what was on the wire, attributes that nobody here knows included.
//
// A speaker with a table of its own was measured and is too dear for this: GoBGP 4.8 took 30
// CPU seconds and 1 GB for the million routes of one neighbour.
//
// Nothing is dropped: while the sink is busy the neighbour's TCP waits, and keepalives go on.
// Memory is bounded by 256 KiB a neighbour.
package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/bgp"
	"sakimori/lawful"
)

// Config says who we are, and who may call.
type Config struct {
	AS        uint32
	RouterID  netip.Addr // an IPv4 address that no neighbour uses as its own
	Listen    netip.AddrPort
	Neighbors []Neighbor
	// Pause is how long a neighbour that has announced too much is kept out; 0: 5 minutes.
	Pause time.Duration
	// Held is how many routes the table has of a feed, for Neighbor.Routes; nil: no limit is
	// kept. It is asked once a second and from any goroutine.
	Held func(feed string) int
}

// Neighbor is one that may call.
type Neighbor struct {
	Feed         string // its name
	Address      netip.Addr
	AS           uint32
	LocalAS      uint32        // as which we answer; 0: Config.AS
	PasswordFile string        // of TCP MD5 (RFC 2385); "" without
	Hold         time.Duration // silence after which the session is over, 3 s or more; 0: 90 s
	Only         string        // "ipv4" or "ipv6"; "": both
	AddPath      bool          // several paths of one prefix are taken (RFC 7911)
	Role         string        // what we are to it (RFC 9234): provider, customer, peer, rs, rs-client; "": not told
	Routes       int           // most routes, above which the session ends; 0: no limit
}

// ErrConfig is in every error about a Config.
var ErrConfig = errors.New("BGP sessions can't be taken so")

// Sink takes what neighbours send: BMP messages, each neighbour's in its order, and of
// several at once from several goroutines. msg is valid during the call. Heard says that a
// neighbour is alive though it has nothing to tell.
type Sink interface {
	BMP(feed string, router netip.Addr, msg []byte, at time.Time)
	Heard(feed string, at time.Time)
}

// Listener takes sessions. Its methods may be called from anywhere.
type Listener struct {
	cfg   Config
	sink  Sink
	clock clock.Clock
	log   *slog.Logger

	mu        sync.Mutex // of all below
	at        netip.AddrPort
	neighbors []*neighbor
	refused   []Refused
	strays    uint64
}

// complete fills in what was left out, and says what can't be.
func (c Config) complete() (Config, error) {
	bad := func(format string, args ...any) (Config, error) {
		return Config{}, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	switch {
	case c.AS == 0:
		return bad("say our own AS number")
	case !c.RouterID.Is4() || c.RouterID.IsUnspecified():
		return bad("say a router id: an IPv4 address that no neighbour uses as its own")
	case !c.Listen.IsValid():
		return bad("say where neighbours call, such as 192.0.2.1:179")
	case len(c.Neighbors) == 0:
		return bad("say who may call")
	}
	c.Pause = cmp.Or(c.Pause, 5*time.Minute)
	c.Neighbors = slices.Clone(c.Neighbors)
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		n.LocalAS, n.Hold, n.Address = cmp.Or(n.LocalAS, c.AS), cmp.Or(n.Hold, 90*time.Second), n.Address.Unmap()
		same := func(o Neighbor) bool { return o.Feed == n.Feed || o.Address == n.Address }
		_, role := roles[n.Role]
		switch {
		case n.Feed == "" || !n.Address.IsValid() || n.AS == 0:
			return bad("each neighbour needs a name, an address and an AS number: %q hasn't", n.Feed)
		case slices.ContainsFunc(c.Neighbors[:i], same):
			return bad("two neighbours have the name %q or the address %s", n.Feed, n.Address)
		case c.Listen.Addr().Is4() && !n.Address.Is4():
			return bad("neighbour %s can't call %s from %s: listen at [::]", n.Feed, c.Listen, n.Address)
		case n.Hold < 3*time.Second || n.Hold > 18*time.Hour || n.Hold%time.Second != 0:
			return bad("neighbour %s: a hold time of %s isn't whole seconds from 3 s on (RFC 4271)", n.Feed, n.Hold)
		case n.Only != "" && n.Only != "ipv4" && n.Only != "ipv6":
			return bad("neighbour %s: only ipv4 or ipv6, not %q", n.Feed, n.Only)
		case n.Role != "" && !role:
			return bad("neighbour %s: %q is no role: provider, customer, peer, rs, rs-client", n.Feed, n.Role)
		}
	}
	return c, nil
}

// roles are ours, and what the neighbour must be then (RFC 9234, 4.2).
var roles = map[string]struct{ ours, its bgp.Role }{
	"provider": {bgp.Provider, bgp.Customer}, "customer": {bgp.Customer, bgp.Provider}, "peer": {bgp.Peer, bgp.Peer},
	"rs": {bgp.RouteServer, bgp.RouteServerClient}, "rs-client": {bgp.RouteServerClient, bgp.RouteServer},
}

// password reads the shared secret of a session.
func (n *Neighbor) password() (string, error) {
	if n.PasswordFile == "" {
		return "", nil
	}
	b, err := os.ReadFile(n.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("%w: the password of neighbour %s: %w", ErrConfig, n.Feed, err)
	}
	p := strings.TrimRight(string(b), "\r\n")
	if p == "" || len(p) > 80 {
		return "", fmt.Errorf("%w: the password of neighbour %s has %d bytes, and TCP MD5 takes 1 to 80: see %s", ErrConfig, n.Feed, len(p), n.PasswordFile)
	}
	return p, nil
}

// New checks the configuration, and reads the passwords; it opens nothing yet.
func New(cfg Config, sink Sink, clk clock.Clock, log *slog.Logger) (*Listener, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	l := &Listener{cfg: cfg, sink: sink, clock: clk, log: log}
	for _, c := range cfg.Neighbors {
		word, err := c.password()
		if err != nil {
			return nil, err
		}
		l.neighbors = append(l.neighbors, &neighbor{Listener: l, Neighbor: c, password: word, seen: Status{Since: clk.Now()}})
	}
	return l, nil
}

// Run takes sessions until ctx ends, then it ends them.
func (l *Listener) Run(ctx context.Context, ready func()) error {
	network := "tcp"
	if l.cfg.Listen.Addr().Is4() {
		network = "tcp4"
	}
	listen := net.ListenConfig{Control: prepare}
	listen.SetMultipathTCP(false) // which knows no MD5
	socket, err := listen.Listen(ctx, network, l.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("BGP neighbours can't call: %w", err)
	}
	defer socket.Close()
	for _, n := range l.neighbors {
		if n.password == "" {
			continue
		}
		if err := sign(socket.(*net.TCPListener), n.Address, n.password); err != nil {
			return fmt.Errorf("the kernel takes no TCP MD5 password for neighbour %s: %w", n.Feed, err)
		}
	}
	l.mu.Lock()
	l.at = socket.Addr().(*net.TCPAddr).AddrPort()
	l.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	ready()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := socket.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many files, for example: it passes
			l.log.LogAttrs(ctx, slog.LevelWarn, "a BGP neighbour's call couldn't be taken", slog.Any("err", err))
			t := time.NewTimer(100 * time.Millisecond)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			continue
		}
		addr := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
		i := slices.IndexFunc(l.neighbors, func(n *neighbor) bool { return n.Address == addr })
		if i < 0 {
			l.refuse(addr)
			_ = conn.Close()
			continue
		}
		all.Go(func() { l.neighbors[i].called(ctx, conn.(*net.TCPConn)) })
	}
}

// Addr is where it listens, once it does.
func (l *Listener) Addr() netip.AddrPort {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

const maxRefused = 64 // addresses

// Refused is somebody who called and isn't configured.
type Refused struct {
	Address netip.Addr `json:"address"`
	Count   uint64     `json:"count"`
	Last    time.Time  `json:"last"`
}

func (l *Listener) refuse(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	i := slices.IndexFunc(l.refused, func(r Refused) bool { return r.Address == addr })
	switch {
	case i >= 0:
		l.refused[i].Count++
		l.refused[i].Last = now
	case len(l.refused) < maxRefused:
		l.refused = append(l.refused, Refused{addr, 1, now})
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "a BGP call refused: no neighbour of ours", slog.String("address", addr.String()))
	default:
		l.strays++
	}
}

// Refused are those who called and aren't configured, and how many calls there were of
// others.
func (l *Listener) Refused() (list []Refused, others uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.refused), l.strays
}

// State is that of a neighbour.
type State string

// The states.
const (
	Established State = "established"
	Waiting     State = "waiting" // to be called
	Held        State = "held"    // kept out for a while: it announced too much
)

// Status is how it stands with a neighbour.
type Status struct {
	Feed       string       `json:"feed"`
	Address    netip.Addr   `json:"address"`
	AS         uint32       `json:"as"`
	State      State        `json:"state"`
	Words      lawful.Text  `json:"words"`
	Since      time.Time    `json:"since"` // it is in this state
	Last       *time.Time   `json:"last"`  // message, keepalives included
	BGPID      netip.Addr   `json:"bgp_id,omitzero"`
	Role       string       `json:"role,omitempty"` // what it says it is to us (RFC 9234)
	Updates    uint64       `json:"updates"`
	Bytes      uint64       `json:"bytes"`  // of them
	Resets     uint64       `json:"resets"` // sessions that ended
	Collisions uint64       `json:"collisions"`
	Error      *lawful.Text `json:"error"` // why the last session ended, or didn't come to be
}

// Neighbors is how it stands with all of them, in their order.
func (l *Listener) Neighbors() []Status {
	list := make([]Status, 0, len(l.neighbors))
	for _, n := range l.neighbors {
		list = append(list, n.status())
	}
	return list
}
