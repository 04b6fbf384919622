package forward

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/policy"
)

// Source is where the policy zones come from, and where they are kept: a file each, which
// Knot Resolver reads too. It is replaced as a whole.
type Source struct {
	Primaries []netip.AddrPort
	KeyName   string // of the TSIG key; "" none
	Algorithm string // hmac-sha256, hmac-sha512
	Secret    string // base64
	TLS       *tls.Config
	Folder    string
	Quick     time.Duration // how often the zones are asked for that can't wait; 0: 2 s
	Slow      time.Duration // and c2.; 0: 30 s
}

// Secondary keeps copies of the policy zones. What can't be had, read or kept leaves the
// last zone in force.
type Secondary struct {
	src   Source
	load  func(*policy.Set)
	clock clock.Clock
	log   *slog.Logger

	key   *wire.Key
	mu    sync.Mutex
	zones map[rpz.Zone]*held
	wake  map[rpz.Zone]chan struct{}
}

// NewSecondary reads the copies in the folder and puts them in force.
func NewSecondary(src Source, load func(*policy.Set), cl clock.Clock, log *slog.Logger) (*Secondary, error) {
	if len(src.Primaries) == 0 || !filepath.IsAbs(src.Folder) {
		return nil, fmt.Errorf("%w: give primaries, and a folder by its absolute path", ErrConfig)
	}
	if src.Quick == 0 {
		src.Quick = 2 * time.Second
	}
	if src.Slow == 0 {
		src.Slow = 30 * time.Second
	}
	s := &Secondary{src: src, load: load, clock: cl, log: log, zones: map[rpz.Zone]*held{}, wake: map[rpz.Zone]chan struct{}{}}
	if src.KeyName != "" {
		if err := s.readKey(); err != nil {
			return nil, err
		}
	}
	for _, z := range rpz.Zones() {
		h, err := read(z, s.file(z))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Error("a copy can't be read, the zone is taken anew", slog.String("zone", string(z)), slog.Any("error", err))
		}
		if err != nil {
			h = &held{Copy: Copy{Zone: z}, records: map[record]struct{}{}}
		}
		s.zones[z], s.wake[z] = h, make(chan struct{}, 1)
	}
	s.force()
	return s, nil
}

// readKey makes the key of what was configured.
func (s *Secondary) readKey() error {
	name, err := wire.ParseName(s.src.KeyName)
	if err != nil {
		return fmt.Errorf("%w: key: %w", ErrConfig, err)
	}
	secret, err := base64.StdEncoding.DecodeString(s.src.Secret)
	if err != nil {
		return fmt.Errorf("%w: the secret of key %s isn't base64", ErrConfig, name)
	}
	s.key = &wire.Key{Name: name, Algorithm: wire.Algorithm(s.src.Algorithm), Secret: secret}
	if err := s.key.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

func (s *Secondary) file(z rpz.Zone) string {
	return filepath.Join(s.src.Folder, strings.TrimSuffix(string(z), ".")+".rpz")
}

// Copies are the zones in order.
func (s *Secondary) Copies() (out []Copy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, z := range rpz.Zones() {
		out = append(out, s.zones[z].Copy)
	}
	return out
}

// Set is what is in force, for who begins later than it was loaded.
func (s *Secondary) Set() *policy.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set()
}

// force puts what is held in force.
func (s *Secondary) force() { s.load(s.set()) }

func (s *Secondary) set() *policy.Set {
	var zones []*policy.Zone
	for _, z := range rpz.Zones() {
		if c := s.zones[z].compiled; c != nil {
			zones = append(zones, c)
		}
	}
	return policy.NewSet(zones...)
}

// Run follows the primaries until ctx ends. It is ready at once: what was kept is in force.
func (s *Secondary) Run(ctx context.Context, ready func()) error {
	ready()
	var wg sync.WaitGroup
	for _, z := range rpz.Zones() {
		every := s.src.Quick
		if z == rpz.C2 {
			every = s.src.Slow
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				s.follow(ctx, z)
				pause := time.NewTimer(every)
				select {
				case <-ctx.Done():
				case <-pause.C:
				case <-s.wake[z]:
				}
				pause.Stop()
			}
		})
	}
	wg.Wait()
	return nil
}

// Notified takes a NOTIFY (RFC 1996): the zone is asked for at once. It is believed to no other
// effect, so the address alone must be a primary's. It gives the answer; nil: silence.
func (s *Secondary) Notified(from netip.Addr, raw []byte) []byte {
	var m wire.Message
	if m.Read(raw) != nil || m.Response || m.Opcode != wire.Notify || m.Counts[0] != 1 {
		return nil
	}
	if !slices.ContainsFunc(s.src.Primaries, func(p netip.AddrPort) bool { return p.Addr().Unmap() == from }) {
		return nil
	}
	q, err := m.Question(nil)
	if err != nil {
		return nil
	}
	a := wire.Message{ID: m.ID, Response: true, Opcode: wire.Notify, Authority: true, Rcode: wire.NotAuth, Counts: [4]uint16{1}}
	for z, wake := range s.wake {
		if string(z.Name()) == string(q.Name) {
			a.Rcode = wire.NoError
			select {
			case wake <- struct{}{}:
			default: // it is awake
			}
		}
	}
	return wire.AppendQuestion(a.AppendHeader(nil), q)
}

// follow asks the primaries in turn for a zone. What is new is in force at once, and kept then.
func (s *Secondary) follow(ctx context.Context, z rpz.Zone) {
	s.mu.Lock()
	h := s.zones[z]
	s.mu.Unlock()
	var errs []error
	for _, p := range s.src.Primaries {
		next, err := s.transfer(ctx, h, p)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
			continue
		}
		s.mu.Lock()
		if next != nil {
			h, s.zones[z] = next, next
			s.force()
		}
		h.Confirmed, h.Error, errs = s.clock.Now(), "", nil
		s.mu.Unlock()
		break
	}
	if h.unkept {
		if err := h.write(s.file(z)); err != nil {
			errs = append(errs, fmt.Errorf("it can't be kept: %w", err))
		} else {
			h.unkept = false
		}
	}
	if err := errors.Join(errs...); err != nil && ctx.Err() == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if h.Error == "" {
			s.log.ErrorContext(ctx, "a zone can't be had, or kept: the last one stays in force", slog.String("zone", string(z)), slog.Any("error", err))
		}
		h.Error = err.Error()
	}
}
