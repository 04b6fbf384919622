package main

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
	"sakimori/detect/cnc"
	"sakimori/detect/ddos"
	"sakimori/observe"
	"sakimori/observe/flow/record"
)

// What those who look at flows ask of other rooms.

// customers says whose an own address is.
type customers struct{ names bart.Table[string] }

func customersOf(cfg *ddos.Config) record.Customers {
	c := &customers{}
	for _, p := range cfg.Own {
		c.names.Insert(p.Masked(), "")
	}
	for _, x := range cfg.Thresholds.Customers {
		for _, p := range x.Prefixes {
			c.names.Insert(p.Masked(), x.Name)
		}
	}
	return c
}

func (c *customers) Customer(a packet.Addr) (name string, ours bool) {
	return c.names.Lookup(a.Netip())
}

// owners says where an address is, as flows are kept.
type owners struct{ table *geo.Table }

func (o owners) Place(a packet.Addr) (country string, asn uint32) {
	c, as := o.table.Owner(a)
	if c != [2]byte{} {
		country = string(c[:])
	}
	return country, as
}

// bots are addresses whose packets to dark space bear the mark of a malware, as the
// telescope saw them in the last day.
type bots struct {
	mu   sync.Mutex
	seen map[packet.Addr]int64 // Unix seconds
}

const (
	botsMost = 1 << 20 // 32 MB; then who was seen longest ago goes
	botsLast = 24 * 60 * 60
)

// sight notes those in a batch.
func (b *bots) sight(batch []observe.Sighting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range batch {
		if s := &batch[i]; s.Tool == observe.Mirai {
			if b.seen == nil {
				b.seen = map[packet.Addr]int64{}
			}
			if len(b.seen) >= botsMost {
				b.forget(s.Minute)
			}
			b.seen[s.Source] = s.Minute
		}
	}
}

// forget drops who was seen before the last day; and when that are few, everybody.
func (b *bots) forget(now int64) {
	for a, at := range b.seen {
		if now-at > botsLast {
			delete(b.seen, a)
		}
	}
	if len(b.seen) > botsMost*3/4 {
		clear(b.seen)
	}
}

func (b *bots) has(a netip.Addr) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, is := b.seen[packet.FromNetip(a)]
	return is
}

// endpoints are the addresses on the list of C&C servers that are enforced, as of the
// last minute.
type endpoints struct {
	list *cnc.List
	now  atomic.Pointer[endpointTable]
}

type endpointTable struct {
	hosts    map[netip.Addr]listedAddress
	services map[netip.AddrPort]listedAddress
}

type listedAddress struct {
	entry, family string
	contact       observe.Contact
}

// read reads the list anew.
func (e *endpoints) read(ctx context.Context) error {
	t := &endpointTable{hosts: map[netip.Addr]listedAddress{}, services: map[netip.AddrPort]listedAddress{}}
	_, err := e.list.Enforced(ctx, func(part []cnc.Entry) error {
		for i := range part {
			x := listedAddress{entry: part[i].ID, family: part[i].Family, contact: observe.Reached}
			if part[i].Sinkholed {
				x.contact = observe.Sinkholed
			}
			switch part[i].Kind {
			case observe.IndicatorAddress:
				if a, err := netip.ParseAddr(part[i].Value); err == nil {
					t.hosts[a] = x
				}
			case observe.IndicatorEndpoint:
				if a, err := netip.ParseAddrPort(part[i].Value); err == nil {
					t.services[a] = x
				}
			default: // a name has no address of its own, and a prefix accuses too many
			}
		}
		return nil
	})
	if err == nil {
		e.now.Store(t)
	}
	return err
}

// run reads it each minute.
func (e *endpoints) run(ctx context.Context, ready func()) error {
	if err := e.read(ctx); err != nil {
		return err
	}
	ready()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := e.read(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (e *endpoints) listed(a netip.Addr, port uint16, _ time.Time) (entry, family string, contact observe.Contact, ok bool) {
	t := e.now.Load()
	if t == nil {
		return "", "", 0, false
	}
	x, ok := t.services[netip.AddrPortFrom(a, port)]
	if !ok {
		x, ok = t.hosts[a]
	}
	return x.entry, x.family, x.contact, ok
}
