package pcap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// ng builds pcapng files in either byte order.
type ng struct{ binary.AppendByteOrder }

func (o ng) block(kind uint32, body ...[]byte) []byte {
	b := bytes.Join(body, nil)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	size := uint32(len(b) + 12)
	out := o.AppendUint32(o.AppendUint32(nil, kind), size)
	return o.AppendUint32(append(out, b...), size)
}

func (o ng) words(v ...uint32) (b []byte) {
	for _, w := range v {
		b = o.AppendUint32(b, w)
	}
	return b
}

func (o ng) section() []byte {
	return o.block(0x0a0d0d0a, o.words(0x1a2b3c4d), o.AppendUint16(o.AppendUint16(nil, 1), 0), o.AppendUint64(nil, math.MaxUint64))
}

func (o ng) option(code uint16, value []byte) []byte {
	b := append(o.AppendUint16(o.AppendUint16(nil, code), uint16(len(value))), value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (o ng) face(link uint16, snaplen uint32, options ...[]byte) []byte {
	return o.block(1, o.AppendUint16(o.AppendUint16(nil, link), 0), o.words(snaplen), bytes.Join(options, nil))
}

func (o ng) enhanced(face uint32, ts uint64, data string, orig uint32) []byte {
	return o.block(6, o.words(face, uint32(ts>>32), uint32(ts), uint32(len(data)), orig), []byte(data))
}

// TestSectionsInterfacesAndBlocks reads a file with all that pcapng may hold.
func TestSectionsInterfacesAndBlocks(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		o := ng{order}
		other := ng{binary.BigEndian}
		if order == binary.AppendByteOrder(binary.BigEndian) {
			other = ng{binary.LittleEndian}
		}
		file := bytes.Join([][]byte{
			o.section(),
			o.face(1, 0, o.option(2, []byte("eth0"))),
			o.face(101, 8, o.option(9, []byte{9}), o.option(14, o.AppendUint64(nil, 1000)), o.option(0, nil)),
			o.enhanced(0, 1_500_000, "one", 60),
			o.block(5, make([]byte, 100)),        // statistics
			o.block(0x0bad, make([]byte, 3<<20)), // a custom block longer than any buffer
			o.enhanced(1, 7, "two", 3),
			o.block(3, o.words(9), []byte("simple123")), // no time, interface 0
			o.block(2, o.AppendUint16(o.AppendUint16(nil, 1), 5), o.words(0, 8, 3, 3), []byte("old")),
			other.section(), // in the other byte order, with its own interfaces
			other.face(113, 5, other.option(9, []byte{0x80 | 10})),
			other.enhanced(0, 3<<10|512, "three", 5),
			other.block(3, other.words(100), []byte("cut by snaplen")),
			other.block(0x0bad, make([]byte, 2<<20)),
		}, nil)
		want := []seen{
			{1_500_000_000, 60, 1, 0, "one"},
			{1000_000_000_007, 3, 101, 1, "two"},
			{0, 9, 1, 0, "simple123"},
			{1000_000_000_008, 3, 101, 1, "old"},
			{3_500_000_000, 5, 113, 2, "three"},
			{0, 100, 113, 2, "cut b"},
		}
		got, r, err := readAll(file)
		if err != nil {
			t.Fatalf("%v: %v", order, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%v: %s", order, d)
		}
		if r.Offset() != int64(len(file)) {
			t.Errorf("%v: offset %d of %d", order, r.Offset(), len(file))
		}
		faces := []pcap.Interface{{Name: "eth0", Link: 1}, {Link: 101, Snaplen: 8}, {Link: 113, Snaplen: 5}}
		if d := cmp.Diff(faces, r.Interfaces()); d != "" {
			t.Errorf("%v: %s", order, d)
		}
	}
}

// TestResolutions turns timestamps of every unit into nanoseconds; what lies
// beyond the year 2262 becomes that.
func TestResolutions(t *testing.T) {
	o := ng{binary.LittleEndian}
	for _, c := range []struct {
		resolution byte
		offset     int64
		ts         uint64
		want       int64
	}{
		{6, 0, 1_479_549_735_000_001, 1_479_549_735_000_001_000},
		{9, 0, 1_479_549_735_000_000_001, 1_479_549_735_000_000_001},
		{0, 0, 1_479_549_735, 1_479_549_735_000_000_000},
		{2, 0, 150, 1_500_000_000},
		{12, 0, 1_500_000_000_999, 1_500_000_000},
		{19, 0, math.MaxUint64, 1_844_674_407},
		{28, 0, math.MaxUint64, 1},
		{127, 0, math.MaxUint64, 0},
		{0x80, 0, 3, 3_000_000_000},
		{0x80 | 32, 0, 5<<32 | 1<<31, 5_500_000_000},
		{0x80 | 63, 0, 1 << 63, 1_000_000_000},
		{0x80 | 64, 0, 1 << 63, 500_000_000},
		{0x80 | 127, 0, math.MaxUint64, 0},
		{6, 0, math.MaxUint64, math.MaxInt64},
		{0, 0, math.MaxUint64, math.MaxInt64},
		{9, 0, 9_223_372_036_854_775_807, math.MaxInt64},
		{6, -10, 4_000_000, -6_000_000_000},
		{6, math.MaxInt64, 1, math.MaxInt64},
		{6, math.MinInt64, 0, math.MinInt64},
	} {
		file := bytes.Join([][]byte{
			o.section(),
			o.face(1, 0, o.option(9, []byte{c.resolution}), o.option(14, o.AppendUint64(nil, uint64(c.offset)))),
			o.enhanced(0, c.ts, "x", 1),
		}, nil)
		got, _, err := readAll(file)
		if err != nil || len(got) != 1 || got[0].Time != c.want {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
}

// TestDamagedBlocks: each fault is named, at its place, after the frame before.
func TestDamagedBlocks(t *testing.T) {
	o := ng{binary.LittleEndian}
	good := bytes.Join([][]byte{o.section(), o.face(1, 0), o.enhanced(0, 1, "good", 4)}, nil)
	altered := func(b []byte, at int, v uint32) []byte {
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	version := o.section()
	version[12] = 2
	magic := altered(o.section(), 8, 0x12345678)
	for name, c := range map[string]struct {
		block []byte
		says  string
	}{
		"length 0":          {altered(o.enhanced(0, 1, "x", 1), 4, 0), "impossible length 0"},
		"length uneven":     {altered(o.enhanced(0, 1, "x", 1), 4, 33), "impossible length 33"},
		"length 4 GB":       {altered(o.enhanced(0, 1, "x", 1), 4, 0xfffffffc), "claims 4294967292 bytes"},
		"lengths differ":    {altered(o.enhanced(0, 1, "x", 1), 32, 40), "36 and 40, differ"},
		"frame too long":    {altered(o.enhanced(0, 1, "x", 1), 20, 1<<32-1), "doesn't fit its block"},
		"no such interface": {o.enhanced(1, 1, "x", 1), "interface 1"},
		"short block":       {o.block(6, make([]byte, 8)), "has only 20 bytes"},
		"section version":   {version, "version 2"},
		"section magic":     {magic, "section header is damaged"},
		"option":            {o.face(1, 0, altered(o.option(2, []byte("ab")), 0, 0xfff00002)), "option 2 doesn't fit"},
		"skipped, cut":      {o.block(0x0bad, make([]byte, 1<<20))[:1<<19], "too early"},
		"frame, cut":        {o.enhanced(0, 1, "x", 1)[:30], "ends inside a record"},
	} {
		got, _, err := readAll(append(bytes.Clone(good), c.block...))
		var bad *pcap.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) || len(got) != 1 {
			t.Errorf("%s: %d frames, %v; want %q", name, len(got), err, c.says)
			continue
		}
		if name != "skipped, cut" && bad.Offset != int64(len(good)) {
			t.Errorf("%s: at byte %d, want %d", name, bad.Offset, len(good))
		}
		if strings.Contains(name, "cut") != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: wraps %v", name, bad.Err)
		}
	}
}

// FuzzReader: no stream crashes the reader, makes it hand out bytes that aren't
// in its buffer or use more memory than it states, or is read without an end.
func FuzzReader(f *testing.F) {
	raw, _ := written(f, 5)
	f.Add(raw)
	f.Add(zipped(f, raw))
	f.Add(zstandard(f, raw))
	for _, o := range []ng{{binary.LittleEndian}, {binary.BigEndian}} {
		f.Add(bytes.Join([][]byte{
			o.section(), o.face(1, 0, o.option(9, []byte{9}), o.option(14, make([]byte, 8))), o.enhanced(0, 1, "frame", 5),
			o.block(3, o.words(4), []byte("data")), o.block(2, o.words(0, 0, 8, 3, 3), []byte("old")), o.block(5, o.words(0, 1)),
		}, nil))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := pcap.NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		defer r.Close()
		var b packet.Block
		n := uint64(0)
		for read := 0; ; read += len(b.Buf) {
			if err = r.ReadBlock(&b); err != nil {
				break
			}
			if len(b.Frames) == 0 {
				t.Fatal("a block without a frame and without an error")
			}
			for i := range b.Frames {
				if len(b.Bytes(i)) > pcap.MaxFrame {
					t.Fatalf("a frame of %d bytes", len(b.Bytes(i)))
				}
			}
			n += uint64(len(b.Frames))
			if cap(b.Buf) > 2*(pcap.MaxFrame+64<<10) {
				t.Fatalf("the buffer holds %d bytes", cap(b.Buf))
			}
			if read > 64<<20 { // a decompression bomb is endless, and that is fine
				return
			}
		}
		if n != r.Frames() {
			t.Fatalf("%d frames delivered, %d counted", n, r.Frames())
		}
		var bad *pcap.Error
		if !errors.Is(err, io.EOF) && !errors.As(err, &bad) {
			t.Fatalf("neither io.EOF nor *pcap.Error: %v", err)
		}
		if again := r.ReadBlock(&b); !errors.Is(again, err) {
			t.Fatalf("after %v came %v", err, again)
		}
	})
}
