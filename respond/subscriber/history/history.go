package history

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sakimori/respond/subscriber"
)

// Options say how a history is kept.
type Options struct {
	// Pseudonym names a contract by a number that tells nothing of it.
	Pseudonym func(line string) [16]byte
	// Silence is how long a session of a source is believed after its last sign; nil
	// and 0 for ever. See subscriber.Limits.
	Silence func(source string) time.Duration
	// Skew is by how much a source's clock may be off; nil: by nothing.
	Skew func(source string) time.Duration
	// Rows is how many spans are in memory before they go into a file, some 250 bytes
	// each; 0: 524,288. There may be twice as many while a file is written.
	Rows int
}

// History is a folder of spans, and the newest ones in memory. It may be used by many
// goroutines, and belongs to one process.
type History struct {
	dir  string
	opts Options

	mu       sync.RWMutex
	table    *table
	frozen   *table // on its way into a file, nil none
	segments []*segment
	sources  map[string]uint16
	names    []string // of the sources, by number
	resets   map[uint16][]int64
	made     uint64    // number of the last segment
	broken   error     // of the background: nothing more is taken
	lengths  [129]bool // of prefixes, that there may be

	lock    *os.File
	log     *wal   // of commit alone
	logs    uint64 // its number
	waiting chan *lot
	tidy    sync.WaitGroup
	roomy   *sync.Cond // of mu: frozen is gone
	stop    chan struct{}
	ended   chan struct{}
	merging sync.Mutex // only one replaces segments; before saving and mu
	saving  sync.Mutex // only one replaces the manifest; before mu
}

// ErrBusy is what Open returns when another process has the history.
var ErrBusy = errors.New("another process has the history of addresses: ask that one, or stop it")

// lot is what one Take brings.
type lot struct {
	spans   []subscriber.Span // their sources not numbered yet
	sources []string          // of the spans
	resets  []restart
	done    chan error
}

// restart is that a source began anew.
type restart struct {
	source string
	at     int64
}

// manifest says what belongs to the history. It is replaced whole.
type manifest struct {
	Segments []string           `json:"segments"`
	Made     uint64             `json:"made"`
	Log      uint64             `json:"log"` // the first log that isn't in a segment
	Sources  []string           `json:"sources"`
	Resets   map[uint16][]int64 `json:"resets,omitempty"`
}

const manifestName = "manifest.json"

// Open opens the history in a folder, which is made when it isn't there.
func Open(dir string, o Options) (*History, error) {
	if o.Rows == 0 {
		o.Rows = 1 << 19
	}
	if o.Pseudonym == nil {
		return nil, errors.New("a history needs pseudonyms")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the history of addresses: %w", err)
	}
	h := &History{
		dir: dir, opts: o, table: newTable(o.Rows), sources: map[string]uint16{}, resets: map[uint16][]int64{},
		waiting: make(chan *lot), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	h.roomy = sync.NewCond(&h.mu)
	var err error
	if h.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("open the history of addresses: %w", err)
	}
	if err := unix.Flock(int(h.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(ErrBusy, h.lock.Close())
	}
	if err := h.load(); err != nil {
		return nil, errors.Join(err, h.unmap(), h.lock.Close())
	}
	go h.commit()
	return h, nil
}

func (h *History) load() error {
	var m manifest
	raw, err := os.ReadFile(filepath.Join(h.dir, manifestName))
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("open the history of addresses: %w", err)
	default:
		if err := json.Unmarshal(raw, &m); err != nil {
			return fmt.Errorf("%s is damaged: %w: restore it from a backup", manifestName, err)
		}
	}
	h.made = m.Made
	for i, n := range m.Sources {
		h.sources[n] = uint16(i)
	}
	h.names = m.Sources
	if m.Resets != nil {
		h.resets = m.Resets
	}
	for _, n := range m.Segments {
		s, err := openSegment(h.dir, n, false)
		if err != nil {
			return err
		}
		h.has(s)
	}
	if err := h.sweep(&m); err != nil {
		return err
	}
	// The logs that aren't in a segment are read again, and go into one.
	logs, err := filepath.Glob(filepath.Join(h.dir, "*.log"))
	if err != nil {
		return err
	}
	slices.Sort(logs)
	h.logs = m.Log
	for _, path := range logs {
		if err := replay(path, h.redo); err != nil {
			return err
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), ".log"), 16, 64)
		if err != nil {
			return fmt.Errorf("%s is no log of a history: put it elsewhere", filepath.Base(path))
		}
		h.logs = max(h.logs, n+1)
	}
	if len(h.table.rows) > 0 {
		if err := h.store(h.table); err != nil {
			return err
		}
		h.table = newTable(h.opts.Rows)
	} else if err := h.save(); err != nil {
		return err
	}
	h.log, err = createWAL(h.dir, h.logs)
	return err
}

// sweep removes files that a crash has left behind.
func (h *History) sweep(m *manifest) error {
	all, err := os.ReadDir(h.dir)
	if err != nil {
		return fmt.Errorf("open the history of addresses: %w", err)
	}
	for _, e := range all {
		n := e.Name()
		old := strings.HasSuffix(n, ".log") && n < walName(m.Log) || strings.HasSuffix(n, ".seg") && !slices.Contains(m.Segments, n) || strings.HasSuffix(n, ".new")
		if old {
			if err := os.Remove(filepath.Join(h.dir, n)); err != nil {
				return fmt.Errorf("open the history of addresses: %w", err)
			}
		}
	}
	return nil
}

// redo takes a thing of a log.
func (h *History) redo(kind byte, thing []byte) error {
	switch kind {
	case walRow:
		if len(thing) != rowBytes {
			return errors.New("a row of another form")
		}
		var r [1]row
		copy(bytesOf(r[:]), thing)
		s := r[0].span()
		if int(s.Source) >= len(h.names) || s.Bits > 128 {
			return errors.New("a row of an unknown source")
		}
		h.add(&s)
	case walSource:
		h.name(string(thing))
	case walReset:
		if len(thing) != 10 {
			return errors.New("a reset of another form")
		}
		h.reset(binary.LittleEndian.Uint16(thing), int64(binary.LittleEndian.Uint64(thing[2:]))) //nolint:gosec // the same bits
	default:
		return fmt.Errorf("an unknown thing %q", kind)
	}
	return nil
}

func (h *History) add(s *subscriber.Span) {
	h.lengths[s.Bits] = true
	h.table.add(s)
}

// has adds a segment.
func (h *History) has(s *segment) {
	h.segments = append(h.segments, s)
	for _, b := range s.bits {
		h.lengths[b] = true
	}
}

func (h *History) name(source string) uint16 {
	n, known := h.sources[source]
	if !known {
		n = uint16(len(h.names)) //nolint:gosec // see most
		h.sources[source], h.names = n, append(h.names, source)
	}
	return n
}

func (h *History) reset(source uint16, at int64) {
	list := h.resets[source]
	if i, known := slices.BinarySearch(list, at); !known {
		h.resets[source] = slices.Insert(list, i, at)
	}
}

func (h *History) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken == nil {
		h.broken = fmt.Errorf("the history of addresses can't be written: %w", err)
	}
	h.roomy.Broadcast()
}

// store writes a table into a segment; the logs that it came from aren't needed any more.
func (h *History) store(t *table) error {
	h.mu.Lock()
	h.made++
	name := fmt.Sprintf("%016x.seg", h.made)
	h.mu.Unlock()
	if _, err := writeSegment(h.dir, name, t.sorted()); err != nil {
		return err
	}
	s, err := openSegment(h.dir, name, false)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.has(s)
	if h.frozen == t {
		h.frozen = nil
	}
	h.roomy.Broadcast()
	h.mu.Unlock()
	return h.save()
}

// save replaces the manifest, and removes the logs that it doesn't need.
func (h *History) save() error {
	h.saving.Lock()
	defer h.saving.Unlock()
	h.mu.RLock()
	m := manifest{Made: h.made, Log: h.logs, Sources: slices.Clone(h.names), Resets: map[uint16][]int64{}}
	if h.frozen != nil {
		m.Log-- // of the table that isn't in a segment yet
	}
	for _, s := range h.segments {
		m.Segments = append(m.Segments, s.name)
	}
	for n, list := range h.resets {
		m.Resets[n] = slices.Clone(list)
	}
	h.mu.RUnlock()
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	tmp := filepath.Join(h.dir, manifestName+".new")
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep the history of addresses: %w", err)
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keep the history of addresses: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(h.dir, manifestName)); err != nil {
		return fmt.Errorf("keep the history of addresses: %w", err)
	}
	if err := syncDir(h.dir); err != nil {
		return err
	}
	for n := m.Log; n > 0; n-- {
		if err := os.Remove(filepath.Join(h.dir, walName(n-1))); errors.Is(err, os.ErrNotExist) {
			break
		} else if err != nil {
			return fmt.Errorf("keep the history of addresses: %w", err)
		}
	}
	return nil
}

// Dir is its folder.
func (h *History) Dir() string { return h.dir }

// Close ends it. What was taken is on disk.
func (h *History) Close() error {
	close(h.stop)
	<-h.ended
	h.tidy.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.log.f.Close(), h.unmap(), h.lock.Close())
}

func (h *History) unmap() (err error) {
	for _, s := range h.segments {
		err = errors.Join(err, s.close())
	}
	h.segments = nil
	return err
}

// Who says who had an address and port between two moments, both included. Port and
// protocol 0 aren't told.
func (h *History) Who(addr netip.Addr, port uint16, proto uint8, from, to time.Time) subscriber.Decision {
	h.mu.RLock()
	defer h.mu.RUnlock()
	const usual = 64 // of an address, in some months
	spans := h.spans(make([]subscriber.Span, 0, usual), addr.As16(), port, proto)
	return subscriber.Decide(spans, port, nano(from), nano(to), h.limits)
}

func nano(t time.Time) int64 {
	if t.Year() < 1970 || t.Year() > 2200 {
		return math.MinInt64 + 1
	}
	return t.UnixNano()
}

// spans are all that an address and a port may belong to.
func (h *History) spans(list []subscriber.Span, a [16]byte, port uint16, proto uint8) []subscriber.Span {
	for bits, there := range h.lengths {
		if !there {
			continue
		}
		b := uint8(bits)
		masked := subscriber.Masked(a, b)
		list = h.table.find(list, masked, b, port, proto)
		if h.frozen != nil {
			list = h.frozen.find(list, masked, b, port, proto)
		}
		for _, s := range h.segments {
			if slices.Contains(s.bits, b) {
				list = s.find(list, masked, b, port, proto)
			}
		}
	}
	return list
}

func (h *History) limits(source uint16) subscriber.Limits {
	l := subscriber.Limits{Resets: h.resets[source]}
	if int(source) >= len(h.names) {
		return l
	}
	if h.opts.Silence != nil {
		l.Silence = h.opts.Silence(h.names[source])
	}
	if h.opts.Skew != nil {
		l.Skew = h.opts.Skew(h.names[source])
	}
	return l
}

// Source is the name of a source.
func (h *History) Source(n uint16) string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if int(n) >= len(h.names) {
		return ""
	}
	return h.names[n]
}
