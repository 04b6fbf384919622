package route

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/bgp"
	"sakimori/observe"
)

// Kind is how a feed comes.
type Kind string

// The kinds.
const (
	KindBMP    Kind = "bmp"      // a router's monitoring
	KindBGP    Kind = "bgp"      // a session of our own, handed over as BMP
	KindRIS    Kind = "ris-live" // RIPE's stream
	KindFile   Kind = "file"
	KindSample Kind = "sample"
)

// Source is a feed as it is configured.
type Source struct {
	Name    string
	Kind    Kind
	Address string // for people
	Peers   int    // that it should tell of, 0 not known
}

// Live hands what sources say on the network to a table. Its methods may be called from
// any goroutine: whoever is called waits until it is taken, and so does the connection
// behind.
type Live struct {
	mu    sync.Mutex
	table *Table
	clock clock.Clock
	feeds map[string]*feed
}

// feed is a source, with how it fares.
type feed struct {
	Source
	since, last time.Time // when it was first and last heard of
	hush        hush
	clock       offset // of who isn't a router with one of its own
	delay       float64
	timed       bool // delay is known
	dropped     uint64
	off         uint64 // times that can't be right
	messages    uint64
}

// NewLive takes the sources that are configured; others that come are added as they do.
func NewLive(t *Table, c clock.Clock, sources ...Source) *Live {
	l := &Live{table: t, clock: c, feeds: map[string]*feed{}}
	for _, s := range sources {
		l.feeds[s.Name] = &feed{Source: s}
	}
	return l
}

// heard notes that a feed told something.
func (l *Live) heard(name string, kind Kind, at time.Time) *feed {
	f := l.feeds[name]
	if f == nil {
		f = &feed{Source: Source{Name: name, Kind: kind}}
		l.feeds[name] = f
	}
	if f.since.IsZero() {
		f.since = at
	}
	f.hush.take(at)
	f.last = at
	return f
}

// BMP takes a whole BMP message of a router of a feed. What is wrong with it is counted.
func (l *Live) BMP(name string, router netip.Addr, message []byte, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.heard(name, KindBMP, at)
	f.messages++
	_ = l.table.bmp(name, router, message, at.UnixNano(), f.Kind == KindBGP) // counted there
}

// Message takes a BGP message with its header, of a peer that k names; sent is when its
// source says that it came, arrival when it came here.
func (l *Live) Message(k Key, message []byte, as4 bool, sent, arrival time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.dated(l.heard(k.Feed, KindRIS, arrival), sent, arrival)
	var m bgp.Message
	n := l.table.PeerOf(k, at)
	if _, err := bgp.Cut(message, bgp.MaxExtended, &m); err != nil {
		if p := l.table.peer(n); p != nil {
			_ = l.table.fault(p, err) // counted
		}
		return
	}
	o := bgp.Options{AS4: as4}
	_ = l.table.either(n, &o, &m, at) // counted there
}

// State takes what a source says of a peer's session.
func (l *Live) State(k Key, up bool, sent, arrival time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.dated(l.heard(k.Feed, KindRIS, arrival), sent, arrival)
	n := l.table.PeerOf(k, at)
	if up {
		l.table.Up(n, at, netip.Addr{})
	} else {
		l.table.Down(n, at)
	}
}

// dated is when a message was sent by this machine's clock.
func (l *Live) dated(f *feed, sent, arrival time.Time) int64 {
	f.messages++
	if sent.IsZero() {
		return arrival.UnixNano()
	}
	if d := arrival.Sub(sent); d > time.Duration(farOff) || d < -time.Duration(farOff) {
		f.off++
		return arrival.UnixNano()
	}
	at := f.clock.take(arrival.UnixNano(), sent.UnixNano())
	late := float64(arrival.UnixNano() - at)
	if !f.timed {
		f.delay, f.timed = late, true
	}
	f.delay += (late - f.delay) / 64
	return at
}

// Heard says that a feed is there, although it may have told nothing: its connection
// stands, or it sent something that is no message.
func (l *Live) Heard(name string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard(name, "", at)
}

// Dropped counts messages that a source couldn't hand over.
func (l *Live) Dropped(name string, n uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard(name, "", at).dropped += n
}

// Gone says that a router, or the whole feed where it is zero, tells nothing any more: its
// sessions are down.
func (l *Live) Gone(name string, router netip.Addr, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard(name, "", at)
	if router.IsValid() {
		l.table.Lost(name, router, at.UnixNano())
		return
	}
	for _, p := range l.table.peers.list {
		if p.Feed == name {
			l.table.Down(p.Number, at.UnixNano())
		}
	}
}

// Do calls f with the table, all that came before applied and handed on, and nothing
// coming in meanwhile: for questions, and for the checkpoint.
func (l *Live) Do(f func(t *Table)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Flush()
	f(l.table)
}

// Run hands on what waits five times a second, and lets time go on where nothing comes.
func (l *Live) Run(ctx context.Context, ready func()) error {
	const often = 200 * time.Millisecond
	tick := time.NewTicker(often)
	defer tick.Stop()
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			l.mu.Lock()
			l.table.Tick(l.clock.Now().UnixNano())
			l.mu.Unlock()
		}
	}
}

// hush is how long somebody usually says nothing: the longest silence of the last hour or
// two.
type hush struct {
	last        time.Time
	now, before time.Duration
	until       time.Time
}

func (h *hush) take(at time.Time) {
	if !h.last.IsZero() {
		h.now = max(h.now, at.Sub(h.last))
	}
	h.last = at
	if h.until.IsZero() {
		h.until = at.Add(time.Hour)
	} else if at.After(h.until) {
		h.before, h.now, h.until = h.now, 0, at.Add(time.Hour)
	}
}

// most is how long a silence may be before it is one: three times the usual one, at least
// 90 seconds (the hold time of BGP as most configure it), at most a quarter of an hour.
func (h *hush) most() time.Duration {
	return min(max(90*time.Second, 3*h.now, 3*h.before), 15*time.Minute)
}

// Health is how feeds fare, by their names.
func (l *Live) Health(now time.Time) []Health {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.table.Flush()
	list := make([]Health, 0, len(l.feeds))
	for _, f := range l.feeds {
		list = append(list, l.health(f, now))
	}
	slices.SortFunc(list, func(a, b Health) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func (l *Live) health(f *feed, now time.Time) Health {
	h := Health{
		Name: f.Name, Kind: f.Kind, Address: f.Address, Expected: f.Source.Peers, Dropped: f.dropped, Messages: f.messages,
		ClockIgnored: f.off, Silence: f.hush.most(),
	}
	if !f.since.IsZero() {
		h.Since, h.Last = &f.since, &f.last
	}
	skew, wrong := f.clock.skew(), faults{}
	for k, r := range l.table.routers.list {
		if k.feed != f.Name {
			continue
		}
		wrong.join(r.faults)
		if s := r.clock.skew(); max(s, -s) > max(skew, -skew) {
			skew = s
		}
	}
	if skew != 0 {
		ms := skew / 1e6
		h.Skew = &ms
	}
	if f.timed {
		ms := int64(f.delay / 1e6)
		h.Delay = &ms
	}
	for _, p := range l.table.peers.list {
		if p.Feed != f.Name {
			continue
		}
		h.Peers++
		if p.Up {
			h.Up++
		}
		if p.ServesAll {
			h.Whole++
		}
		h.Routes += p.Routes
		h.Elements += p.Elements
		wrong.join(p.faults)
		h.Resets += p.Resets
		s := PeerHealth{
			Number: p.Number, AS: p.AS, Address: text(p.Address), View: p.View.String(), Up: p.Up, Last: p.Last, Routes: p.Routes, Elements: p.Elements,
			Malformed: p.Malformed, Resets: p.Resets, Whole: p.ServesAll, Damped: p.Damped, Weight: Weight(&p.RoutePeer),
			Silent: p.Up && p.keeps && now.Sub(p.Last) > p.hush.most(),
		}
		if s.Silent {
			h.Silent++
		}
		h.List = append(h.List, s)
	}
	h.Malformed = wrong.list()
	h.State, h.Advice = h.judge(now)
	h.Words = stateWords[h.State]
	return h
}

// text is an address for people, "" for none.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Weight is how far a peer is believed where it is alone, 0 to 1: nothing of who flaps;
// half where more than a thousandth of its messages is damaged, or where its session
// ended ten times or more.
func Weight(p *observe.RoutePeer) float64 {
	w := 1.0
	if p.Damped {
		return 0
	}
	if p.Malformed > 0 && p.Malformed*1000 >= p.Elements {
		w /= 2
	}
	if p.Resets >= 10 {
		w /= 2
	}
	return w
}
