package rpki

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
	"sakimori/observe"
)

// Config says where data come from.
type Config struct {
	Sources []Source
	SLURM   string         // a file of one's own exceptions (RFC 8416); "" without
	Own     []netip.Prefix // whose ROAs are watched for changes
	// Known is what Set.Own gave before the process ended, so that what changed meanwhile is
	// told; nil: not known, then the first data are no news.
	Known []ROA
	// Expiring is how long before a ROA of one's own expires that is told; 0: two hours.
	// Validators renew long before, so this is a sign that somebody doesn't.
	Expiring time.Duration
	// Shrink is the share of its ROAs, or of one trust anchor's, that a source may lose at
	// once before that is told; 0: a tenth.
	Shrink float64
}

// Source is a cache, or a file that somebody renews.
type Source struct {
	Name string
	RTR  string        // host:port of a cache
	TLS  *tls.Config   // of the cache, nil: plain TCP
	File string        // JSON or CSV, as Read takes it
	Age  time.Duration // after which a file's data are void, from when they were made on; 0: 24 h
}

// every is how often files are looked at, and how old a table may get after something of
// it has expired.
const every = time.Minute

// ErrConfig is in every error about a Config.
var ErrConfig = errors.New("RPKI data can't be taken so")

// Set follows its sources. Its methods may be called from anywhere at any time.
type Set struct {
	cfg     Config
	clock   clock.Clock
	log     *slog.Logger
	changed func([]Change)
	table   atomic.Pointer[Table] // nil while nothing that holds is known

	mu      sync.Mutex
	sources []*source
	slurm   *SLURM
	slurmAt time.Time    // when its file was written
	slurmNo error        // why it can't be read now: the one before holds
	warned  map[ROA]bool // of one's own that expire soon
	before  *Table       // Config.Known, until there are data
	live    []bool       // which sources were in the table
}

// source is one of them, as it stands.
type source struct {
	Source
	told    *Data // nil: never had any
	data    *Data // what one's own exceptions leave of it
	read    time.Time
	expires time.Time
	version uint8
	serial  uint32
	err     error     // of the last attempt
	mtime   time.Time // of the file that was read last
	size    int64
	stale   bool // it was told that its data are void
}

// New sets it up; nothing is known before Run. changed is told what a person should hear
// of, by one goroutine at a time, which may ask for verdicts and for nothing else of the Set
// meanwhile; nil: nobody is.
func New(cfg Config, clk clock.Clock, log *slog.Logger, changed func([]Change)) (*Set, error) {
	if cfg.Expiring == 0 {
		cfg.Expiring = 2 * time.Hour
	}
	if cfg.Shrink == 0 {
		cfg.Shrink = 0.1
	}
	if changed == nil {
		changed = func([]Change) {}
	}
	s := &Set{cfg: cfg, clock: clk, log: log, changed: changed, warned: map[ROA]bool{}}
	for i, src := range cfg.Sources {
		switch {
		case src.Name == "" || slices.ContainsFunc(cfg.Sources[:i], func(o Source) bool { return o.Name == src.Name }):
			return nil, fmt.Errorf("%w: each source needs a name of its own, %q isn't", ErrConfig, src.Name)
		case (src.RTR == "") == (src.File == ""):
			return nil, fmt.Errorf("%w: source %s is a cache (rtr) or a file, one of the two", ErrConfig, src.Name)
		}
		if src.Age == 0 {
			src.Age = 24 * time.Hour
		}
		s.sources = append(s.sources, &source{Source: src})
	}
	if _, err := s.exceptions(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.live = make([]bool, len(s.sources))
	if cfg.Known != nil {
		s.before = NewTable(time.Time{}, &Data{ROAs: arrangeROAs(slices.Clone(cfg.Known))})
	}
	return s, nil
}

// Run follows the sources until ctx ends. It is ready at once: until data come, nothing is
// known.
func (s *Set) Run(ctx context.Context, ready func()) error {
	var all sync.WaitGroup
	for i, src := range s.sources {
		if src.RTR != "" {
			c := newClient(src.RTR, src.TLS, s.clock, func(n clientNews) { s.heard(i, n) })
			all.Go(func() { c.run(ctx) })
		}
	}
	s.Look()
	ready()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for last := s.clock.Now(); ctx.Err() == nil; {
		select {
		case <-t.C:
			if now := s.clock.Now(); now.Sub(last) >= every {
				last = now
				s.Look()
			} else {
				s.void(now)
			}
		case <-ctx.Done():
		}
	}
	all.Wait()
	return nil
}

// heard takes what an RTR session tells.
func (s *Set) heard(i int, n clientNews) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[i]
	src.err, src.version, src.serial = n.err, n.version, n.serial
	if n.err != nil {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "no RPKI data from cache", slog.String("source", src.Name), slog.String("address", src.RTR), slog.Any("err", n.err))
		return
	}
	src.read, src.expires = n.at, n.expires
	if n.data != nil {
		s.take(i, n.data)
	} else if !s.live[i] {
		s.build(nil)
	}
}

// exceptions reads one's own, if their file has changed.
func (s *Set) exceptions() (changed bool, err error) {
	if s.cfg.SLURM == "" {
		return false, nil
	}
	info, err := os.Stat(s.cfg.SLURM)
	if err != nil || info.ModTime().Equal(s.slurmAt) {
		return false, err
	}
	next, err := ReadSLURM(s.cfg.SLURM)
	if err != nil {
		return false, err
	}
	s.slurm, s.slurmAt = next, info.ModTime()
	return true, nil
}

// Look reads the files that have changed, and leaves out what has expired.
func (s *Set) Look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	other, err := s.exceptions()
	if err != nil && s.slurmNo == nil {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "the exceptions from RPKI data can't be read, those before hold", slog.Any("err", err))
	}
	if s.slurmNo = err; other {
		for _, src := range s.sources {
			if src.told != nil {
				src.data = s.slurm.apply(src.told)
			}
		}
		s.build(nil)
	}
	for i, src := range s.sources {
		if src.File != "" {
			s.look(i)
		}
	}
	now := s.clock.Now()
	if t := s.table.Load(); t != nil && t.expires != 0 && int64(t.expires) <= now.Unix() {
		s.build(nil)
	}
	s.voidLocked(now)
	s.expiring(now)
}

func (s *Set) look(i int) {
	src := s.sources[i]
	info, err := os.Stat(src.File)
	if err == nil && info.ModTime().Equal(src.mtime) && info.Size() == src.size {
		return
	}
	var d *Data
	if err == nil {
		d, err = ReadFile(src.File)
	}
	if src.err = err; err != nil {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "no RPKI data from file", slog.String("source", src.Name), slog.Any("err", err))
		return
	}
	src.mtime, src.size, src.read = info.ModTime(), info.Size(), s.clock.Now()
	built := d.Built
	if built.IsZero() || built.After(src.read.Add(time.Hour)) { // or its maker's clock is wrong
		built = src.mtime.UTC()
	}
	src.expires = built.Add(src.Age)
	if d.Malformed > 0 {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "RPKI data with entries that can't be read", slog.String("source", src.Name), slog.Int("entries", d.Malformed), slog.Any("first", d.Error))
	}
	s.take(i, d)
}

// take puts new data of a source in force.
func (s *Set) take(i int, d *Data) {
	src := s.sources[i]
	was := src.data
	src.told, src.data = d, s.slurm.apply(d)
	var list []Change
	if was != nil && s.live[i] {
		list = s.losses(src, was, src.data)
	}
	s.build(list)
}

// build makes the table anew of the sources whose data hold, and tells changes of it after
// those in list.
func (s *Set) build(list []Change) {
	now := s.clock.Now()
	var data []*Data
	live := make([]bool, len(s.sources))
	for i, src := range s.sources {
		if src.data != nil && now.Before(src.expires) {
			data, live[i], src.stale = append(data, src.data), true, false
		}
	}
	was, same := s.table.Load(), slices.Equal(live, s.live)
	s.live = live
	if len(data) == 0 {
		s.table.Store(nil)
	} else {
		if s.slurm != nil {
			data = append(data, &s.slurm.assertions)
		}
		t := NewTable(now, data...)
		s.table.Store(t)
		switch {
		case s.before != nil && !slices.Contains(live, false): // as long as a source is missing, more may be known
			list = append(list, s.diff(s.before, t, now)...)
			s.before = nil
		case was != nil && same && s.before == nil: // else they come and go with a source, not with their holders
			list = append(list, s.diff(was, t, now)...)
		}
	}
	if len(list) > 0 {
		s.changed(list)
	}
	s.expiring(now)
}

// void takes sources out whose data nobody has renewed.
func (s *Set) void(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.voidLocked(now)
}

func (s *Set) voidLocked(now time.Time) {
	var list []Change
	for i, src := range s.sources {
		if src.data != nil && !src.stale && !now.Before(src.expires) {
			src.stale = true
			if s.live[i] {
				list = append(list, s.staled(src, now))
			}
		}
	}
	if len(list) > 0 {
		s.build(list)
	}
}

// Own are the ROAs around and inside one's own space, for Config.Known of the next process;
// nil while nothing is known.
func (s *Set) Own() []ROA {
	t := s.table.Load()
	if t == nil {
		return nil
	}
	list := []ROA{}
	for _, own := range s.cfg.Own {
		list = append(list, around(t, own)...)
	}
	return arrangeROAs(list)
}

// Table is what holds now: for many questions that are to be answered alike. It is nil, and
// answers as if nothing were known, while there is nothing.
func (s *Set) Table() *Table { return s.table.Load() }

// Origin is Table.Origin of now.
func (s *Set) Origin(p netip.Prefix, as uint32) observe.ROV { return s.table.Load().Origin(p, as) }

// Path is Table.Path of now.
func (s *Set) Path(ases []uint32, set bool, from observe.ASRelation) observe.ASPA {
	return s.table.Load().Path(ases, set, from)
}

// Hop is Table.Hop of now.
func (s *Set) Hop(customer, provider uint32) Hop { return s.table.Load().Hop(customer, provider) }

// ROAs is Table.ROAs of now.
func (s *Set) ROAs(p netip.Prefix) []ROA { return s.table.Load().ROAs(p) }

// Inside is Table.Inside of now.
func (s *Set) Inside(p netip.Prefix) []ROA { return s.table.Load().Inside(p) }

// Providers is Table.Providers of now.
func (s *Set) Providers(as uint32) ([]uint32, bool) { return s.table.Load().Providers(as) }

// Exceptions is why the file of one's own exceptions can't be read now; nil: it can, or
// there is none.
func (s *Set) Exceptions() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.slurmNo
}

// State is how a source fares, in the words of the API.
type State string

// The states.
const (
	OK     State = "ok"
	Stale  State = "stale"  // what it told last is void
	Down   State = "down"   // it has never told anything, or can't be reached; what it told still holds
	Faulty State = "faulty" // parts of what it tells can't be read
)

// Status is how it stands with one source.
type Status struct {
	Name      string       `json:"name"`
	Kind      string       `json:"kind"` // rtr, json, csv; file while it hasn't been read
	State     State        `json:"state"`
	Words     lawful.Text  `json:"words"`
	Version   *uint8       `json:"version"` // of RTR
	Serial    *uint32      `json:"serial"`
	ROAs      int          `json:"vrps"`
	ASPAs     int          `json:"aspas"`
	Refreshed *time.Time   `json:"refreshed"` // when data came last
	Expires   *time.Time   `json:"expires"`   // when they are void if nobody renews them
	Error     *lawful.Text `json:"error"`
}

// Status is how it stands with all sources, in their order.
func (s *Set) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	list := make([]Status, 0, len(s.sources))
	for _, src := range s.sources {
		list = append(list, src.status(now))
	}
	return list
}

func (src *source) status(now time.Time) Status {
	st := Status{Name: src.Name, Kind: "file", State: OK, Words: lawful.Text{JA: "正常", EN: "fine"}}
	if src.RTR != "" {
		st.Kind = "rtr"
		if src.data != nil {
			version, serial := src.version, src.serial
			st.Version, st.Serial = &version, &serial
		}
	}
	if src.data != nil {
		st.Kind = cmp.Or(src.data.Form, st.Kind)
		read, expires := src.read, src.expires
		st.ROAs, st.ASPAs, st.Refreshed, st.Expires = len(src.data.ROAs), len(src.data.ASPAs), &read, &expires
	}
	if src.err != nil {
		st.Error = &lawful.Text{JA: "直近の取得に失敗しました: " + src.err.Error(), EN: "the last attempt failed: " + src.err.Error()}
	}
	switch {
	case src.data == nil && src.err == nil:
		st.State, st.Words = Down, lawful.Text{JA: "まだ応答がありません", EN: "it hasn't answered yet"}
	case src.data == nil:
		st.State, st.Words = Down, lawful.Text{JA: "まだ一度も取得できていません", EN: "it has never told anything"}
	case !now.Before(src.expires):
		st.State, st.Words = Stale, lawful.Text{
			JA: "期限が切れたため使っていません。配信元（キャッシュ、または書き出す側）を確認してください",
			EN: "its data are too old and not used: look at the cache, or at whoever writes the file",
		}
	case src.err != nil:
		st.State, st.Words = Down, lawful.Text{JA: "今は取得できません。前回の内容を期限まで使います", EN: "it can't be had now; what it told last is used until it expires"}
	case src.data.Malformed > 0:
		st.State, st.Words = Faulty, lawful.Text{
			JA: fmt.Sprintf("読めない項目が %d 件あります", src.data.Malformed), EN: fmt.Sprintf("%d entries can't be read", src.data.Malformed),
		}
	}
	return st
}
