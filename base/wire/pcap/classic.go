package pcap

import (
	"encoding/binary"
	"io"
	"math/bits"

	"sakimori/base/wire/packet"
)

// The magic numbers of pcap as a little-endian reader sees its own kind.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Kuznetzov's: 8 more bytes in each record header
)

// startClassic reads the rest of the 24-byte file header: magic 4, version 2 and
// 2, reserved 8, snapshot length 4, FCS bits and link type 4.
func (r *Reader) startClassic(magic []byte) error {
	number := binary.LittleEndian.Uint32(magic)
	r.header, r.unit = 16, 1000
	for range 2 {
		switch number {
		case magicMicro:
		case magicNano:
			r.unit = 1
		case magicModified:
			r.header = 24
		default:
			number, r.big = bits.ReverseBytes32(number), !r.big
			continue
		}
		return r.readHeader(magic)
	}
	if magic[0] == 0x1f && magic[1] == 0x8b {
		return fault(0, nil, "二重に圧縮されています。先に展開してください", "compressed twice; decompress it first")
	}
	return fault(0, nil, "pcap でも pcapng でもありません（先頭 %x）", "neither pcap nor pcapng (begins with %x)", magic)
}

func (r *Reader) readHeader(magic []byte) error {
	var h [24]byte
	copy(h[:], magic)
	if n, err := io.ReadFull(r.src, h[4:]); err != nil {
		return fault(int64(n)+4, io.ErrUnexpectedEOF, "ファイルの見出しの途中で切れています", "the file ends inside its header")
	}
	snaplen, link := r.u32(h[16:]), r.u32(h[20:])
	r.link = packet.LinkType(link & 0xffff)
	r.addInterface(Interface{Link: r.link, Snaplen: snaplen})
	r.rest, r.base = r.rest[:0], int64(len(h))
	r.offset.Store(r.base)
	return nil
}

func (r *Reader) u32(b []byte) uint32 {
	if r.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (r *Reader) u16(b []byte) uint16 {
	if r.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

// walkClassic appends to b the frames that lie whole in b.Buf[at:n]. It returns
// where the first that doesn't begins, and how many bytes that takes as far as
// is known. A record is: seconds 4, fraction 4, captured 4, original 4, frame.
func (r *Reader) walkClassic(b *packet.Block, n, at int) (next, need int, err *Error) {
	buf, frames := b.Buf[:n], b.Frames
	defer func() { b.Frames = frames }()
	for len(frames) < blockFrames {
		if n-at < r.header {
			return at, r.header, nil
		}
		h := buf[at : at+16]
		sec, frac := binary.LittleEndian.Uint32(h), binary.LittleEndian.Uint32(h[4:])
		size, orig := binary.LittleEndian.Uint32(h[8:]), binary.LittleEndian.Uint32(h[12:])
		if r.big {
			sec, frac = bits.ReverseBytes32(sec), bits.ReverseBytes32(frac)
			size, orig = bits.ReverseBytes32(size), bits.ReverseBytes32(orig)
		}
		if size > MaxFrame {
			return at, 0, fault(r.base+int64(at), nil,
				"フレームの長さが %d バイトと書かれており、ここから壊れています", "a frame claims %d bytes: the file is damaged from here on", size)
		}
		start := at + r.header
		end := start + int(size)
		if end > n {
			return at, end - at, nil
		}
		frames = append(frames, packet.Frame{
			Time: int64(sec)*1e9 + int64(frac)*r.unit,
			Off:  uint32(start), //nolint:gosec // within a block
			Len:  size, Orig: orig, Link: r.link,
		})
		at = end
	}
	return at, 0, nil
}
