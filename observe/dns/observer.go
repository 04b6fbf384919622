package dns

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/sketch"
	"sakimori/base/wire/dns"
	"sakimori/observe"
)

// Observer counts what sources tell, and hands on what detectors may know. Its methods
// may be called from several goroutines; the Lookups is called under its lock and must
// not call back.
type Observer struct {
	cfg     Config
	clients Clients
	policy  Policy
	out     observe.Lookups
	clock   clock.Clock
	zones   zones

	mu        sync.Mutex
	rows      map[Key]*Tally // since they were last kept
	total     *Tally         // of hour and resolver below, in rows
	hour      int64
	resolver  string
	resolvers map[string]string // that are told apart
	misdated  uint64
	unkept    uint64 // counts for which there was no row
	reach     reach
	batch     []observe.Lookup
	words     []byte // the names of the batch, one after the other
	ends      []int  // of each of them
	buf       dns.Name
	first     int64
	last      int64
	missing   missing
	seen      sketch.Set   // hashes of all clients of what isn't live
	key       maphash.Seed // of these, never leaves the memory
}

// Key is whose a Tally is. Totals have neither zone nor family.
type Key struct {
	Hour     int64 // Unix seconds, its start
	Resolver string
	Zone     string
	Family   string
}

// New makes an observer. Without clients nobody's names are looked at; without a policy
// only what answers say of themselves counts; without out nobody hears of lookups.
func New(cfg Config, clients Clients, policy Policy, out observe.Lookups, c clock.Clock) (*Observer, error) {
	d := DefaultConfig()
	if cfg.Blocking == nil {
		cfg.Blocking = d.Blocking
	}
	if cfg.Passing == nil {
		cfg.Passing = d.Passing
	}
	cfg.Floor = cmp.Or(cfg.Floor, d.Floor)
	cfg.Names = cmp.Or(cfg.Names, d.Names)
	cfg.Rows = cmp.Or(cfg.Rows, d.Rows)
	cfg.Resolvers = cmp.Or(cfg.Resolvers, d.Resolvers)
	cfg.Batch = cmp.Or(cfg.Batch, d.Batch)
	z, err := newZones(cfg.Blocking, cfg.Passing)
	if err != nil {
		return nil, err
	}
	return &Observer{
		cfg: cfg, clients: clients, policy: policy, out: out, clock: c, zones: z, rows: map[Key]*Tally{}, resolvers: map[string]string{},
		reach: newReach(cfg.Floor, cfg.Names), buf: make(dns.Name, 0, dns.MaxName), key: maphash.MakeSeed(),
	}, nil
}

// Take takes exchanges in the order of their coming.
func (o *Observer) Take(list []Exchange) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.clock.Now().UnixNano()
	for i := range list {
		o.take(&list[i], now)
	}
	o.hand()
}

// How far a time may be from the machine's before it is mistaken.
const (
	early = int64(10 * time.Minute)
	late  = int64(24 * time.Hour)
)

func (o *Observer) take(e *Exchange, now int64) {
	if e.At == 0 || o.cfg.Live && (e.At > now+early || e.At < now-late) {
		if e.At != 0 {
			o.misdated++
		}
		e.At = now
	}
	if o.first == 0 || e.At < o.first {
		o.first = e.At
	}
	o.last = max(o.last, e.At)
	if !o.cfg.Live && e.Client.IsValid() {
		o.seen.Add(sketch.Exact, uint32(maphash.Comparable(o.key, e.Client))) //nolint:gosec // 32 bits of a hash
	}
	t := o.totals(e.At, e.Resolver)
	switch e.Kind {
	case Query:
		t.Queries++
		if !e.dropped {
			return
		}
	case Response:
		t.Responses++
		if e.Rcode == dns.NXDomain {
			t.NXDomain++
		}
	case Note:
	}
	if o.clients == nil || !e.Client.IsValid() || len(e.Name) == 0 {
		return
	}
	match, hits := o.clients.May(e.Client, time.Unix(0, e.At))
	if !match {
		return // it isn't even compared
	}
	if o.cfg.Missing != nil && e.Kind == Response && e.Rcode == dns.NXDomain {
		o.missed(e)
	}
	m := o.zones.read(e, o.buf)
	var l Listing
	listed := false
	if o.policy != nil {
		l, listed = o.policy.Match(e.Name)
	}
	contact := o.judge(e, &m, &l, listed)
	if o.cfg.Names > 0 && e.Kind == Response && (e.Rcode == dns.NoError || listed) {
		name := e.Name
		if listed && l.Owner != nil {
			name = l.Owner
		}
		o.reach.add(e.At, name, e.Client, &m, listed)
	}
	if hits && o.out != nil {
		o.lookup(e, &m, &l, contact)
	}
}

// judge counts what came of a lookup, and says what it means.
func (o *Observer) judge(e *Exchange, m *mark, l *Listing, listed bool) observe.Contact {
	if m.pass || m.foreign && m.zone == "" {
		return observe.NoContact
	}
	enforced := listed && l.Contact == observe.Blocked && !l.Shadow
	empty := e.Rcode == dns.NXDomain || e.Rcode == dns.NoError && m.records == 0
	blocked := m.zone != "" || enforced && (m.blocked || e.infer && empty)
	if !blocked && !listed {
		return observe.NoContact
	}
	if m.zone == "" {
		m.zone = l.Zone
	}
	count := func() *Tally { return o.row(Key{o.hour, e.Resolver, m.zone, l.Family}) }
	switch {
	case blocked:
		count().Blocked++
		return observe.Blocked
	case l.Contact == observe.Sinkholed:
		count().Sinkholed++
		return observe.Sinkholed
	case l.Shadow:
		count().Would++
	case enforced && e.Rcode == dns.NoError && m.records > 0:
		count().Reached++
		return observe.Reached
	}
	return observe.NoContact
}

// totals are those of a resolver at a time. Mostly they are the last ones.
func (o *Observer) totals(at int64, resolver string) *Tally {
	const hour = int64(time.Hour / time.Second)
	h := at / int64(time.Second) / hour * hour
	if o.total == nil || h != o.hour || resolver != o.resolver {
		o.hour, o.resolver = h, resolver
		o.total = o.row(Key{Hour: h, Resolver: resolver})
	}
	return o.total
}

func (o *Observer) row(k Key) *Tally {
	t := o.rows[k]
	if t == nil {
		if len(o.rows) >= o.cfg.Rows {
			o.unkept++
			return &Tally{}
		}
		t = &Tally{}
		o.rows[k] = t
	}
	return t
}

// resolverOf gives a resolver's name, as one of not too many.
func (o *Observer) resolverOf(name string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, is := o.resolvers[name]; is {
		return s
	}
	const other, longest = "other", 100
	if len(o.resolvers) >= o.cfg.Resolvers || len(name) > longest {
		return other
	}
	name = strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), "?")
	o.resolvers[name] = name
	return name
}

// Lost counts what a source lost at a time.
func (o *Observer) Lost(at time.Time, resolver string, what *Tally) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.totals(at.UnixNano(), resolver).Add(what)
}

// lookup puts one into the batch.
func (o *Observer) lookup(e *Exchange, m *mark, l *Listing, c observe.Contact) {
	zone := m.zone
	if m.pass || c == observe.NoContact {
		zone = ""
	}
	o.batch = append(o.batch, observe.Lookup{
		At: time.Unix(0, e.At).UTC(), Resolver: e.Resolver, Client: e.Client, Type: e.Type, Rcode: e.Rcode, Zone: zone, Contact: c, Form: m.form,
	})
	if c != observe.NoContact {
		at := &o.batch[len(o.batch)-1]
		at.Entry, at.Family = l.Entry, l.Family
	}
	o.words = e.Name.Append(o.words)
	o.ends = append(o.ends, len(o.words))
	if len(o.batch) >= o.cfg.Batch {
		o.hand()
	}
}

// hand hands the batch on. Its names share one string.
func (o *Observer) hand() {
	if len(o.batch) == 0 {
		return
	}
	all, from := string(o.words), 0
	for i, end := range o.ends {
		o.batch[i].Name = all[from:end]
		from = end
	}
	o.out.Look(o.batch)
	clear(o.batch)
	o.batch, o.words, o.ends = o.batch[:0], o.words[:0], o.ends[:0]
}

// Row is a Tally with its key.
type Row struct {
	Key
	Tally
}

// take gives what was counted since the last time.
func (o *Observer) taken() []Row {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]Row, 0, len(o.rows))
	for k, t := range o.rows {
		if *t != (Tally{}) {
			list = append(list, Row{k, *t})
		}
	}
	clear(o.rows)
	o.total = nil
	slices.SortFunc(list, func(a, b Row) int { return a.compare(&b.Key) })
	return list
}

func (k *Key) compare(o *Key) int {
	return cmp.Or(cmp.Compare(k.Hour, o.Hour), strings.Compare(k.Resolver, o.Resolver), strings.Compare(k.Zone, o.Zone), strings.Compare(k.Family, o.Family))
}

// Pending is what was counted and isn't kept yet.
func (o *Observer) Pending() []Row {
	rows := o.taken()
	o.giveBack(rows)
	return rows
}

// giveBack puts back what couldn't be kept.
func (o *Observer) giveBack(rows []Row) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range rows {
		o.row(rows[i].Key).Add(&rows[i].Tally)
	}
	o.total = nil
}

// Span is when the first and the last exchange were; zero when there was none.
func (o *Observer) Span() (first, last time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.first == 0 {
		return first, last
	}
	return time.Unix(0, o.first).UTC(), time.Unix(0, o.last).UTC()
}

// Seen is how many distinct clients there were of what isn't live: consenting or not,
// as it says nothing of any of them.
func (o *Observer) Seen() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.seen.Count()
}

// Stats are what the observer gave up.
type Stats struct {
	Misdated  uint64 // times that were mistaken: the machine's was taken
	Unkept    uint64 // counts for which there was no row
	Forgotten uint64 // names whose clients aren't counted any more
	Names     int    // whose clients are counted
}

// Stats is what was given up so far.
func (o *Observer) Stats() Stats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return Stats{o.misdated, o.unkept, o.reach.forgotten, len(o.reach.names)}
}
