package main

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"sync"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/dnstap"
	"sakimori/detect"
	"sakimori/detect/infected"
	resolved "sakimori/observe/dns"
	"sakimori/respond/subscriber"
	"sakimori/sim"
)

// callers are what the town asks its resolvers, as these tell it by dnstap: blocked for who
// consents, by the zones as they were published, and true for who declined. It is made up
// from hour to hour, and nobody is really asked.
type callers struct {
	*sample

	s         *station
	observer  *resolved.Observer
	clients   *consenting
	detector  *infected.Callers
	resolvers []sim.Resolver
	until     time.Time // so far it was told

	mu    sync.Mutex
	found []detect.Finding
}

// Of what people look at so many parts aren't told, so that two weeks are made up in a
// second or two; of what C&C servers are asked for all is.
const thinned = 10

func newCallers(s *station, x *sample) (*callers, error) {
	c := &callers{sample: x, s: s, clients: newConsenting(s.office), until: x.life.Start}
	c.clients.believe = 2 * sampleDays * 24 * time.Hour // of the data; what the register hears of counts at once
	for i, name := range resolverNames {
		c.resolvers = append(c.resolvers, sim.Resolver{Identity: name, Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(250 + i)})})
	}
	c.detector = infected.NewCallers(infected.CallersConfig{}, c)
	var err error
	c.observer, err = resolved.New(resolved.Config{}, c.clients, s.office.listed, c.detector, x.clock)
	return c, err
}

// Find takes a finding.
func (c *callers) Find(f detect.Finding) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.found = append(c.found, f)
}

// tell tells what was asked until a time, and what is made of it.
func (c *callers) tell(ctx context.Context, until time.Time) error {
	var files [len(resolverNames)]bytes.Buffer
	var writers [len(resolverNames)]*dnstap.Writer
	for i := range files {
		w, err := dnstap.NewWriter(&files[i], nil)
		if err != nil {
			return err
		}
		writers[i] = w
	}
	n, takes := 0, map[string]bool{}
	for x := range c.life.Lookups(c.until, until) {
		if n++; x.Family == "" && n%thinned != 0 {
			continue
		}
		zone, err := c.answered(ctx, &x, takes)
		if err != nil {
			return err
		}
		i := int(x.Line[len(x.Line)-len("1@example.jp")]) % len(files) // each line has its own
		if err := c.resolvers[i].Tell(writers[i], &x, zone); err != nil {
			return err
		}
	}
	c.until = until
	for i := range files {
		if err := writers[i].Close(); err != nil {
			return err
		}
		if _, err := c.observer.File(ctx, &files[i], resolved.FileOptions{Name: resolverNames[i]}); err != nil {
			return err
		}
	}
	c.detector.Tick(until)
	return c.keep(ctx)
}

// answered is the zone by which a question was answered, "" truly. takes remembers which
// lines consent.
func (c *callers) answered(ctx context.Context, x *sim.Lookup, takes map[string]bool) (string, error) {
	if x.Family == "" && !strings.HasSuffix(x.Name, listDomain) && x.Name != shop && x.Name != other {
		return "", nil
	}
	for _, z := range blockingZones {
		_, found, err := c.office.zones.Current(z).Answer(x.Name)
		if err != nil || !found {
			continue
		}
		consents, known := takes[x.Line]
		if !known {
			subject := subscriber.Subject(c.office.keys.Pseudonym(x.Line))
			if consents, err = c.office.consents.Valid(ctx, subject, purposeBlock, x.At); err != nil {
				return "", err
			}
			takes[x.Line] = consents
		}
		if consents {
			return string(z), nil
		}
		return "", nil
	}
	return "", nil
}

// keep puts counts on disk, and gives findings to their cases.
func (c *callers) keep(ctx context.Context) error {
	c.mu.Lock()
	list := c.found
	c.found = nil
	c.mu.Unlock()
	if len(list) > 0 {
		k := c.s.keeper
		if err := k.store.Tx(ctx, func(tx *store.Tx) error { return k.register.Write(tx, list) }); err != nil {
			return err
		}
	}
	for i := range list {
		c.s.live.Find(list[i])
		if err := c.office.finding(ctx, &list[i]); err != nil {
			return err
		}
	}
	return c.office.lookups.Keep(ctx, c.observer, nil)
}

// run tells what comes from then on, when it does.
func (c *callers) run(ctx context.Context, ready func()) error {
	ready()
	const every = 2 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			now := c.clock.Now()
			c.detector.Keep(func(client netip.Addr) bool {
				_, hits := c.clients.May(client, now)
				return hits
			})
			if err := c.tell(ctx, now); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}
