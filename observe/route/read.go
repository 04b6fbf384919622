package route

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"sakimori/base/wire/bgp"
	"sakimori/base/wire/mrt"
	"sakimori/observe"
)

// ReadOptions are how a file is read.
type ReadOptions struct {
	// Feed names the source: give all files of one collector the same, so that a dump and
	// the updates after it are of the same peers. "" is the file's name.
	Feed string
	// Progress is called now and then with the bytes of the file that were read, and how
	// many it has, 0 not known.
	Progress func(done, size int64)
	// Each is called with each later second (Unix) of the data, before what came in it is
	// taken and after what came before was handed on.
	Each func(second int64)
}

// File is what reading one came to.
type File struct {
	Form          string     `json:"form"`     // mrt, capture or ris: see the constants
	Messages      uint64     `json:"messages"` // records of dumps, and BGP messages
	Elements      uint64     `json:"elements"` // prefixes in them
	Announcements uint64     `json:"announcements"`
	Withdrawals   uint64     `json:"withdrawals"`
	States        uint64     `json:"states"`    // changes of sessions
	Skipped       uint64     `json:"skipped"`   // records and lines of kinds that aren't read, messages of the collector itself
	Malformed     uint64     `json:"malformed"` // messages and records that can't be read, or not all of them
	Lost          uint64     `json:"lost"`      // bytes of connections that the capture lacks, or that can't be read
	Faults        []Fault    `json:"faults"`    // the reasons
	First         int64      `json:"first"`     // Unix nanoseconds; 0 nothing
	Last          int64      `json:"last"`
	Peers         []FilePeer `json:"peers"` // those of whom anything came
}

// The forms of files.
const (
	FormMRT     = "mrt"
	FormCapture = "capture" // of connections with BMP or BGP
	FormRIS     = "ris"     // lines of RIS Live
)

// FilePeer is one peer and how many prefixes it told.
type FilePeer struct {
	Number   uint32            `json:"number"` // in the table
	Address  netip.Addr        `json:"address"`
	AS       uint32            `json:"as"`
	View     observe.RouteView `json:"-"`
	Elements uint64            `json:"elements"`
}

// Read takes all routes of a file: MRT, captures of BMP or BGP (pcap, pcapng), or lines of
// RIS Live; plain or compressed with gzip, bzip2 or zstd, which its content tells. "-" is
// standard input. What isn't as it should be is counted and passed over; where the file
// can't be read further the error says so, and from which byte. What stood before is kept.
func Read(ctx context.Context, t *Table, path string, o ReadOptions) (n File, err error) {
	if path == "-" {
		o.Feed = cmp.Or(o.Feed, "stdin")
		return ReadFrom(ctx, t, os.Stdin, 0, o)
	}
	f, err := os.Open(path)
	if err != nil {
		return n, fmt.Errorf("read routes: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size := int64(0)
	if s, err := f.Stat(); err == nil && s.Mode().IsRegular() {
		size = s.Size()
	}
	o.Feed = cmp.Or(o.Feed, filepath.Base(path))
	if n, err = ReadFrom(ctx, t, f, size, o); err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	return n, err
}

// ReadFrom is Read for a stream; size is how many bytes it has, 0 not known.
func ReadFrom(ctx context.Context, t *Table, r io.Reader, size int64, o ReadOptions) (n File, err error) {
	f := &reading{table: t, o: o, file: &n, size: size, before: t.Counts(), elements: map[uint32]uint64{}, peers: map[mrtPeer]uint32{}}
	t.Peers(func(p *observe.RoutePeer) { f.elements[p.Number] = p.Elements })
	defer f.finish()
	f.raw = &counted{ctx: ctx, Reader: r}
	b := bufio.NewReaderSize(f.raw, 1<<18)
	plain, closed, err := Unpack(b)
	if err != nil {
		return n, err
	}
	defer closed()
	b = bufio.NewReaderSize(plain, 1<<18)
	head, err := b.Peek(12)
	if len(head) == 0 {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file is empty")
		}
		return n, fmt.Errorf("read routes: %w", err)
	}
	switch {
	case looksCapture(head):
		n.Form = FormCapture
		err = f.capture(ctx, b)
	case bytes.IndexByte([]byte("{[ \t\r\n"), head[0]) >= 0:
		n.Form = FormRIS
		err = f.lines(ctx, b)
	default:
		n.Form = FormMRT
		err = f.mrt(ctx, b)
	}
	return n, err
}

// Unpack looks at the first bytes and puts before them what decompresses them.
func Unpack(b *bufio.Reader) (io.Reader, func(), error) {
	head, _ := b.Peek(4) // what is wrong shows when it is read
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, nil, fmt.Errorf("the gzip header is damaged: %w", err)
		}
		return z, func() {}, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(b), func() {}, nil
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd can't be decompressed: %w", err)
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte("\xfd7zX")), bytes.Equal(head, []byte{0x04, 0x22, 0x4d, 0x18}):
		return nil, nil, errors.New("compressed with xz or lz4: decompress it first")
	}
	return b, func() {}, nil
}

func looksCapture(head []byte) bool {
	if len(head) < 4 {
		return false
	}
	for _, magic := range [...]string{"\xd4\xc3\xb2\xa1", "\xa1\xb2\xc3\xd4", "\x4d\x3c\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x34\xcd\xb2\xa1", "\xa1\xb2\xcd\x34", "\x0a\x0d\x0d\x0a"} {
		if string(head[:4]) == magic {
			return true
		}
	}
	return false
}

// counted counts what was read, and ends when nobody wants it any more.
type counted struct {
	io.Reader
	ctx context.Context
	n   int64
}

func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// reading is a file that is being read.
type reading struct {
	table    *Table
	o        ReadOptions
	file     *File
	raw      *counted
	size     int64
	told     int64 // bytes of the last progress
	second   int64
	before   Counts
	elements map[uint32]uint64 // of peers, before

	peers  map[mrtPeer]uint32
	index  []uint32 // of the dump's table of peers: numbers
	dumped [2]bool  // the dump that is being read has routes of the family
}

type mrtPeer struct {
	addr netip.Addr
	as   uint32
}

// at says that the data's time has come so far.
func (f *reading) at(at int64) {
	if f.file.First == 0 || at < f.file.First {
		f.file.First = at
	}
	f.file.Last = max(f.file.Last, at)
	if s := at / 1e9; s > f.second {
		f.second = s
		f.table.Tick(s * 1e9)
		if f.o.Each != nil {
			f.o.Each(s)
		}
	}
	if f.o.Progress != nil && f.raw.n-f.told >= 1<<18 {
		f.told = f.raw.n
		f.o.Progress(f.raw.n, f.size)
	}
}

// wrong counts what can't be read and is no message of a peer.
func (f *reading) wrong(err error) { f.table.malformed(err) }

// finish hands on what is left, and counts what the file came to.
func (f *reading) finish() {
	t, n := f.table, f.file
	t.Flush()
	t.judge()
	c := t.Counts()
	n.Messages, n.Elements = c.Messages-f.before.Messages, c.Elements-f.before.Elements
	n.Announcements, n.Withdrawals = c.Announcements-f.before.Announcements, c.Withdrawals-f.before.Withdrawals
	n.Malformed = c.Malformed - f.before.Malformed
	n.Faults = slices.DeleteFunc(c.Faults, func(x Fault) bool { return slices.Contains(f.before.Faults, x) })
	for i := range n.Faults {
		for _, b := range f.before.Faults {
			if b.Reason == n.Faults[i].Reason {
				n.Faults[i].Count -= b.Count
			}
		}
	}
	t.Peers(func(p *observe.RoutePeer) {
		if some := p.Elements - f.elements[p.Number]; some > 0 {
			n.Peers = append(n.Peers, FilePeer{p.Number, p.Address, p.AS, p.View, some})
		}
	})
	if f.o.Progress != nil {
		f.o.Progress(f.raw.n, f.size)
	}
}

// mrt reads an MRT file.
func (f *reading) mrt(ctx context.Context, r io.Reader) error {
	records := mrt.NewReader(r)
	var rec mrt.Record
	for i := 0; ; i++ {
		if i&1023 == 0 && ctx.Err() != nil {
			return fmt.Errorf("read routes: %w", ctx.Err())
		}
		if err := records.Next(&rec); err != nil {
			if errors.Is(err, io.EOF) {
				f.dumpEnded(f.file.Last)
				return nil
			}
			return fmt.Errorf("read routes: %w", err)
		}
		if err := f.record(&rec); err != nil {
			f.wrong(err)
		}
	}
}

// record takes one record. What the table has counted already gives no error.
func (f *reading) record(rec *mrt.Record) error {
	t := f.table
	f.at(rec.At)
	kind := rec.Kind()
	if len(f.index) > 0 && (rec.Type != mrt.TypeTableDumpV2 || kind == mrt.KindPeers) {
		f.dumpEnded(rec.At)
	}
	switch kind {
	case mrt.KindMessage:
		var m mrt.Message
		if err := rec.Message(&m); err != nil {
			return err
		}
		if m.Sent {
			f.file.Skipped++
			return nil
		}
		// Their errors are counted by the table, with the peer's.
		_ = t.body(f.peer(m.Peer, m.PeerAS, rec.At), m.Options, m.Type, m.Body, m.Raw, rec.At)
	case mrt.KindState:
		var s mrt.State
		if err := rec.State(&s); err != nil {
			return err
		}
		f.file.States++
		switch n := f.peer(s.Peer, s.PeerAS, rec.At); {
		case s.To == mrt.Established:
			t.Up(n, rec.At, netip.Addr{})
		case s.From == mrt.Established:
			t.Down(n, rec.At)
		}
	case mrt.KindPeers:
		var p mrt.Peers
		if err := rec.Peers(&p); err != nil {
			return err
		}
		f.index = f.index[:0]
		for i := range p.List {
			n := f.peer(p.List[i].Address, p.List[i].AS, rec.At)
			if q := t.peer(n); q != nil {
				q.BGPID = p.List[i].BGPID
				if q.Routes > 0 && !slices.Contains(f.index, n) { // it tells its table anew
					t.begin(q, rec.At)
				}
			}
			f.index = append(f.index, n)
		}
	case mrt.KindRIB:
		return f.rib(rec)
	case mrt.KindTable:
		var d mrt.Table
		if err := rec.Table(&d); err != nil {
			return err
		}
		t.counts.Messages++
		_ = t.Entry(f.peer(d.Peer, d.PeerAS, rec.At), &d.Prefix, 0, d.Attributes, d.Options, rec.At)
	case mrt.Unread:
		f.file.Skipped++
	}
	return nil
}

var errIndex = errors.New("mrt: a route of a peer that the dump's table of peers doesn't have")

// rib takes what several peers say of one prefix.
func (f *reading) rib(rec *mrt.Record) error {
	var d mrt.RIB
	if err := rec.RIB(&d); err != nil {
		return err
	}
	f.table.counts.Messages++
	f.dumped[familyOf(d.Prefix.Family)] = true
	for e := (mrt.Entry{}); d.Next(&e); {
		if e.Peer >= len(f.index) {
			return errIndex
		}
		_ = f.table.Entry(f.index[e.Peer], &d.Prefix, e.ID, e.Attributes, d.Options, rec.At)
	}
	return d.Err()
}

// dumpEnded ends a dump: what its peers told before and don't any more goes, of families
// that it has.
func (f *reading) dumpEnded(at int64) {
	t := f.table
	t.Flush()
	for family := range f.dumped {
		var list []*peer
		for _, n := range f.index {
			if p := t.peer(n); p != nil && p.first[family].on {
				p.first[family].on = false
				list = append(list, p)
			}
		}
		if f.dumped[family] {
			t.ended(family, at, list...)
		}
	}
	f.index, f.dumped = f.index[:0], [2]bool{}
}

// peer is the number of a peer of a collector's file.
func (f *reading) peer(a netip.Addr, as uint32, at int64) uint32 {
	k := mrtPeer{a, as}
	n, ok := f.peers[k]
	if !ok {
		n = f.table.PeerOf(Key{Feed: f.o.Feed, Address: a, AS: as}, at)
		f.peers[k] = n
	}
	return n
}

// either takes an UPDATE of which it isn't known whether its AS numbers have two bytes or
// four: the latter, unless only the former can be read.
func (t *Table) either(n uint32, o *bgp.Options, m *bgp.Message, at int64) error {
	if m.Type == bgp.TypeUpdate && o.AS4 {
		u := &t.update
		if u.Parse(m.Body, *o); u.Fault >= bgp.Withdraw {
			two := bgp.Options{AddPath: o.AddPath}
			if u.Parse(m.Body, two); u.Fault < bgp.Withdraw {
				o.AS4 = false
			}
		}
	}
	return t.body(n, *o, m.Type, m.Body, m.Raw, at)
}
