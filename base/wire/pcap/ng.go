package pcap

import (
	"encoding/binary"

	"sakimori/base/wire/packet"
)

// sectionMagic is the type of a section header block; it reads the same in both
// byte orders.
var sectionMagic = [4]byte{0x0a, 0x0d, 0x0d, 0x0a}

// Block types of pcapng.
const (
	ngSection   = 0x0a0d0d0a
	ngInterface = 1
	ngPacket    = 2 // obsolete, still found
	ngSimple    = 3
	ngEnhanced  = 6
)

// walkNG appends to b the frames of the blocks that lie whole in b.Buf[at:n]; it
// returns as walkClassic does. A block is: type 4, length 4, body, length 4.
func (r *Reader) walkNG(b *packet.Block, n, at int) (next, need int, err *Error) {
	for len(b.Frames) < blockFrames {
		if n-at < 12 {
			return at, 12, nil
		}
		h := b.Buf[at:n]
		if [4]byte(h) == sectionMagic && !r.order(h[8:]) {
			return at, 0, r.bad(at, "セクションの見出しが壊れています", "the section header is damaged")
		}
		kind, size := r.u32(h), r.u32(h[4:])
		if size < 12 || size%4 != 0 {
			return at, 0, r.bad(at, "ブロックの長さ %d は誤りです", "a block has the impossible length %d", size)
		}
		switch kind {
		case ngSection, ngInterface, ngPacket, ngSimple, ngEnhanced:
			if size > maxBlock {
				return at, 0, r.bad(at, "ブロックの長さが %d バイトと書かれており、ここから壊れています",
					"a block claims %d bytes: the file is damaged from here on", size)
			}
		default:
			// Name resolution, statistics, secrets, custom: nothing for us, and
			// of any length, so they needn't fit the buffer.
			if int64(size) > int64(len(h)) {
				r.discard = int64(size) - int64(len(h))
				return n, 0, nil
			}
		}
		if int(size) > len(h) {
			return at, int(size), nil
		}
		block := h[:size]
		if again := r.u32(block[size-4:]); again != size {
			return at, 0, r.bad(at, "ブロックの前後の長さ（%d と %d）が合いません",
				"a block's two lengths, %d and %d, differ", size, again)
		}
		if err := r.block(b, kind, block, at); err != nil {
			return at, 0, err
		}
		at += int(size)
	}
	return at, 0, nil
}

func (r *Reader) bad(at int, ja, en string, args ...any) *Error {
	return fault(r.base+int64(at), nil, ja, en, args...)
}

// order sets the section's byte order by its byte-order magic.
func (r *Reader) order(b []byte) bool {
	const magic = 0x1a2b3c4d
	r.big = binary.BigEndian.Uint32(b) == magic
	return r.big || binary.LittleEndian.Uint32(b) == magic
}

// block takes one whole block that begins at b.Buf[at].
func (r *Reader) block(b *packet.Block, kind uint32, block []byte, at int) *Error {
	short := func(least int) *Error {
		if len(block) >= least {
			return nil
		}
		return r.bad(at, "種類 %d のブロックが %d バイトしかありません", "a block of type %d has only %d bytes", kind, len(block))
	}
	switch kind {
	case ngSection:
		// byte-order magic 4, version 2 and 2, section length 8, options
		if err := short(28); err != nil {
			return err
		}
		if major := r.u16(block[12:]); major != 1 {
			return r.bad(at, "pcapng の版 %d には対応していません", "pcapng version %d isn't known", major)
		}
		r.first = len(r.clocks)
	case ngInterface:
		if err := short(20); err != nil {
			return err
		}
		return r.describe(block, at)
	case ngPacket, ngEnhanced:
		// interface 4 (obsolete: interface 2, drops 2), time 8, captured 4, original 4, frame, options
		if err := short(32); err != nil {
			return err
		}
		face := r.u32(block[8:])
		if kind == ngPacket {
			face = uint32(r.u16(block[8:]))
		}
		time := uint64(r.u32(block[12:]))<<32 | uint64(r.u32(block[16:]))
		size := r.u32(block[20:])
		if int64(size) > int64(len(block)-32) {
			return r.bad(at, "フレーム（%d バイト）がブロック（%d バイト）に収まりません",
				"a frame of %d bytes doesn't fit its block of %d", size, len(block))
		}
		return r.frame(b, face, &time, packet.Frame{Off: uint32(at + 28), Len: size, Orig: r.u32(block[24:])}, at) //nolint:gosec // within a block
	case ngSimple:
		// original 4, frame, cut to the snapshot length; no time
		if err := short(16); err != nil {
			return err
		}
		orig := r.u32(block[8:])
		size := min(orig, uint32(len(block)-16)) //nolint:gosec // within a block
		if r.first < len(r.clocks) {
			if most := r.clocks[r.first].snaplen; most > 0 {
				size = min(size, most)
			}
		}
		return r.frame(b, 0, nil, packet.Frame{Off: uint32(at + 12), Len: size, Orig: orig}, at) //nolint:gosec // within a block
	}
	return nil
}

// frame completes f by what its interface says and appends it.
func (r *Reader) frame(b *packet.Block, face uint32, time *uint64, f packet.Frame, at int) *Error {
	if int64(face) >= int64(len(r.clocks)-r.first) {
		return r.bad(at, "記述のないインターフェース %d のフレームです", "a frame of interface %d, which the file doesn't describe", face)
	}
	if f.Len > MaxFrame {
		return r.bad(at, "フレームの長さが %d バイトと書かれており、ここから壊れています", "a frame claims %d bytes: the file is damaged from here on", f.Len)
	}
	i := r.first + int(face)
	c := &r.clocks[i]
	if time != nil {
		f.Time = c.unix(*time)
	}
	f.Link, f.Iface = c.link, uint16(i) //nolint:gosec // at most maxInterfaces
	b.Frames = append(b.Frames, f)
	return nil
}

// describe takes an interface description block: link type 2, reserved 2,
// snapshot length 4, options (code 2, length 2, value padded to 4).
func (r *Reader) describe(block []byte, at int) *Error {
	if len(r.clocks) == maxInterfaces {
		return r.bad(at, "インターフェースが %d を超えました", "more than %d interfaces", maxInterfaces)
	}
	face := Interface{Link: packet.LinkType(r.u16(block[8:])), Snaplen: r.u32(block[12:])}
	resolution, offset := byte(6), int64(0)
	for o := block[16 : len(block)-4]; len(o) >= 4; {
		code, size := r.u16(o), int(r.u16(o[2:]))
		padded := (size + 3) &^ 3
		if code == 0 {
			break
		}
		if 4+padded > len(o) {
			return r.bad(at, "インターフェースの付加情報（%d 番）がはみ出しています", "an interface's option %d doesn't fit its block", code)
		}
		value := o[4 : 4+size]
		switch {
		case code == 2:
			face.Name = string(value[:min(size, maxName)])
		case code == 9 && size == 1:
			resolution = value[0]
		case code == 14 && size == 8:
			offset = int64(r.u64(value)) //nolint:gosec // the format has it signed
		}
		o = o[4+padded:]
	}
	c := newClock(resolution, offset)
	c.link, c.snaplen = face.Link, face.Snaplen
	r.clocks = append(r.clocks, c)
	r.addInterface(face)
	return nil
}

func (r *Reader) u64(b []byte) uint64 {
	if r.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}
