package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

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

// Copy is what is known of a zone.
type Copy struct {
	Zone      rpz.Zone  `json:"zone"`
	Serial    uint32    `json:"serial"`
	Records   int       `json:"records"`
	Confirmed time.Time `json:"confirmed"` // when a primary last said that it is the newest; zero never
	Error     string    `json:"error,omitempty"`
}

// Secondary keeps copies of the policy zones. What can't be had, read or kept leaves the
// last zone in force.
type Secondary struct {
	src   Source
	load  func(*policy.Set)
	clock clock.Clock
	log   *slog.Logger

	mu    sync.Mutex
	zones map[rpz.Zone]*held
}

// held is a zone in memory: its records by what they say, so that differences can be applied.
type held struct {
	Copy
	soa      *dns.SOA
	records  map[string]dns.RR
	compiled *policy.Zone
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
	s := &Secondary{src: src, load: load, clock: cl, log: log, zones: map[rpz.Zone]*held{}}
	for _, z := range rpz.Zones() {
		h, err := read(z, s.file(z))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Error("a copy can't be read, the zone is taken anew", slog.String("zone", string(z)), slog.Any("error", err))
		}
		if err != nil {
			h = &held{Copy: Copy{Zone: z}, records: map[string]dns.RR{}}
		}
		s.zones[z] = h
	}
	s.force()
	return s, nil
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

// force puts what is held in force.
func (s *Secondary) force() {
	var zones []*policy.Zone
	for _, z := range rpz.Zones() {
		if c := s.zones[z].compiled; c != nil {
			zones = append(zones, c)
		}
	}
	s.load(policy.NewSet(zones...))
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
				}
				pause.Stop()
			}
		})
	}
	wg.Wait()
	return nil
}

// follow asks the primaries in turn for a zone.
func (s *Secondary) follow(ctx context.Context, z rpz.Zone) {
	s.mu.Lock()
	old := s.zones[z]
	s.mu.Unlock()
	var errs []error
	for _, p := range s.src.Primaries {
		next, err := s.transfer(old, z, p)
		if err == nil && next != old {
			err = write(next, s.file(z))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p, err))
			continue
		}
		s.mu.Lock()
		next.Confirmed, next.Error = s.clock.Now(), ""
		s.zones[z] = next
		if next != old {
			s.force()
		}
		s.mu.Unlock()
		return
	}
	if err := errors.Join(errs...); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if old.Error == "" {
			s.log.ErrorContext(ctx, "a zone can't be had: the last one stays in force", slog.String("zone", string(z)), slog.Any("error", err))
		}
		old.Error = err.Error()
	}
}

// transfer asks for the difference to what is held, and gives that itself if there is none.
func (s *Secondary) transfer(old *held, z rpz.Zone, from netip.AddrPort) (*held, error) {
	q := new(dns.Msg)
	if old.soa == nil {
		q.SetAxfr(string(z))
	} else {
		q.SetIxfr(string(z), old.Serial, old.soa.Ns, old.soa.Mbox)
	}
	t := &dns.Transfer{DialTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, TLS: s.src.TLS}
	if s.src.KeyName != "" {
		name := dns.Fqdn(s.src.KeyName)
		t.TsigSecret = map[string]string{name: s.src.Secret}
		q.SetTsig(name, dns.Fqdn(s.src.Algorithm), 300, s.clock.Now().Unix())
	}
	envelopes, err := t.In(q, from.String())
	if err != nil {
		return nil, err
	}
	var all []dns.RR
	for e := range envelopes {
		if e.Error != nil {
			err = e.Error // the channel is read to its end
			continue
		}
		all = append(all, e.RR...)
	}
	if err != nil {
		return nil, err
	}
	return apply(old, z, all)
}

// apply makes a zone of a transfer: nothing new, differences (RFC 1995), or all of it.
func apply(old *held, z rpz.Zone, all []dns.RR) (*held, error) {
	broken := fmt.Errorf("the transfer of %s can't be read", z)
	if len(all) == 0 {
		return nil, broken
	}
	first, ok := all[0].(*dns.SOA)
	if !ok {
		return nil, broken
	}
	if old.soa != nil && first.Serial == old.Serial {
		return old, nil
	}
	if len(all) < 2 {
		return nil, fmt.Errorf("%s: the primary has serial %d and doesn't send it", z, first.Serial)
	}
	if last, ok := all[len(all)-1].(*dns.SOA); !ok || last.Serial != first.Serial {
		return nil, broken
	}
	next := &held{Copy: Copy{Zone: z, Serial: first.Serial}, soa: first, records: map[string]dns.RR{}}
	body := all[1 : len(all)-1]
	if _, differences := all[1].(*dns.SOA); differences && len(all) > 2 {
		maps.Copy(next.records, old.records)
		remove, at := false, old.Serial
		if all[1].(*dns.SOA).Serial != at {
			return nil, fmt.Errorf("%w: it differs from another serial than ours", broken)
		}
		for _, rr := range body {
			if soa, ok := rr.(*dns.SOA); ok {
				remove = !remove
				at = soa.Serial
				continue
			}
			k := says(rr)
			if _, have := next.records[k]; have != remove {
				return nil, fmt.Errorf("%w: it differs from another serial than ours", broken)
			}
			if remove {
				delete(next.records, k)
			} else {
				next.records[k] = rr
			}
		}
		if at != first.Serial {
			return nil, broken
		}
	} else {
		for _, rr := range body {
			next.records[says(rr)] = rr
		}
	}
	return next, compile(next)
}

// says is a record without the time it holds.
func says(rr dns.RR) string {
	c := dns.Copy(rr)
	c.Header().Ttl = 0
	return strings.ToLower(c.Header().Name) + c.String()[len(c.Header().Name):]
}

func compile(h *held) error {
	b, err := policy.NewBuilder(h.Zone)
	if err != nil {
		return err
	}
	for _, rr := range h.records {
		owner, err := wire.ParseName(rr.Header().Name)
		if err != nil {
			return err
		}
		data, err := rdata(rr)
		if err != nil {
			return err
		}
		if err := b.Record(owner, rr.Header().Rrtype, data); err != nil {
			return err
		}
	}
	h.Records, h.compiled = len(h.records), b.Zone(h.Serial)
	return nil
}

// rdata is a record's data on the wire, names of aliases in lower case.
func rdata(rr dns.RR) ([]byte, error) {
	if c, ok := rr.(*dns.CNAME); ok {
		return wire.ParseName(c.Target)
	}
	buf := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return nil, err
	}
	owner, err := wire.ParseName(rr.Header().Name)
	if err != nil {
		return nil, err
	}
	return buf[len(owner)+10 : end], nil
}

// write keeps a zone: its SOA first, and the file replaced by renaming.
func write(h *held, file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	var b strings.Builder
	fmt.Fprintln(&b, h.soa)
	keys := make([]string, 0, len(h.records))
	for k := range h.records {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintln(&b, h.records[k])
	}
	_, err = f.WriteString(b.String())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// read reads what write wrote.
func read(z rpz.Zone, file string) (*held, error) {
	f, err := os.Open(file) // #nosec G304 -- in the configured folder
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := &held{Copy: Copy{Zone: z}, records: map[string]dns.RR{}}
	p := dns.NewZoneParser(f, string(z), file)
	for rr, ok := p.Next(); ok; rr, ok = p.Next() {
		if soa, is := rr.(*dns.SOA); is {
			h.soa, h.Serial = soa, soa.Serial
			continue
		}
		h.records[says(rr)] = rr
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if h.soa == nil {
		return nil, fmt.Errorf("%s has no SOA record", file)
	}
	return h, compile(h)
}
