package record

import (
	"cmp"
	"math/bits"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// key is what rows of a bucket differ in, without a pointer or a gap, so that two are
// compared and hashed as seven words.
type key struct {
	src, dst   packet.Addr
	ends       uint64 // exporter<<32 | src port<<16 | dst port
	interfaces uint64 // in<<32 | out
	rest       uint64 // folded<<32 | marks<<24 | TOS<<16 | TCP flags<<8 | protocol
}

func keyOf(f *observe.Flow) key {
	return key{
		src: f.Src, dst: f.Dst,
		ends:       uint64(f.Exporter)<<32 | uint64(f.SrcPort)<<16 | uint64(f.DstPort),
		interfaces: uint64(f.In)<<32 | uint64(f.Out),
		rest:       uint64(f.Marks)<<24 | uint64(f.TOS)<<16 | uint64(f.TCPFlags)<<8 | uint64(f.Proto),
	}
}

func (k *key) exporter() uint32       { return uint32(k.ends >> 32) }
func (k *key) srcPort() uint16        { return uint16(k.ends >> 16) } //nolint:gosec // its part of the word
func (k *key) dstPort() uint16        { return uint16(k.ends) }       //nolint:gosec // its part of the word
func (k *key) in() uint32             { return uint32(k.interfaces >> 32) }
func (k *key) out() uint32            { return uint32(k.interfaces) }         //nolint:gosec // its part of the word
func (k *key) proto() uint8           { return uint8(k.rest) }                //nolint:gosec // its part of the word
func (k *key) flags() uint8           { return uint8(k.rest >> 8) }           //nolint:gosec // its part of the word
func (k *key) tos() uint8             { return uint8(k.rest >> 16) }          //nolint:gosec // its part of the word
func (k *key) marks() uint8           { return uint8(k.rest >> 24) }          //nolint:gosec // its part of the word
func (k *key) folded() observe.Folded { return observe.Folded(k.rest >> 32) } //nolint:gosec // its part of the word

// same is ==, without a call.
func (k *key) same(o *key) bool {
	return k.src.Hi^o.src.Hi|k.src.Lo^o.src.Lo|k.dst.Hi^o.dst.Hi|k.dst.Lo^o.dst.Lo|k.ends^o.ends|k.interfaces^o.interfaces|k.rest^o.rest == 0
}

// compare puts rows of one destination side by side: so they take least room.
func (k *key) compare(o *key) int {
	return cmp.Or(k.dst.Compare(o.dst), k.src.Compare(o.src), cmp.Compare(k.ends, o.ends), cmp.Compare(k.interfaces, o.interfaces), cmp.Compare(k.rest, o.rest))
}

// seed makes a hash that nobody outside can aim at.
type seed [6]uint64

// known is the seed of what is kept: the same for ever.
var known = seed{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93, 0xa0761d6478bd642f, 0xe7037ed1a0b428db}

func (k *key) hash(s *seed) uint64 {
	x := mix(k.src.Hi^s[0], k.src.Lo^s[1])
	y := mix(k.dst.Hi^s[2], k.dst.Lo^s[3])
	z := mix(k.ends^s[4], k.interfaces^s[5])
	return mix(x^bits.RotateLeft64(y, 32)^s[1], z^k.rest^s[2])
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// row is what a bucket has of a key.
type row struct {
	key

	packets, bytes, flows, seen uint64
	packetsVariance             float64 // of packets that were sampled, packets²
	bytesVariance               float64 // bytes²
	srcAS, dstAS                uint32  // as the exporter says, 0 not told

	_ [16]byte // two lines of the processor's memory
}

// weight is by what rows are kept: as rankings are by bytes or by packets, and packets
// are some 512 bytes long, both count about as much.
func (r *row) weight() uint64 { return r.bytes + packetWeight*r.packets }

const packetWeight = 512

func (r *row) add(o *row) {
	r.packets += o.packets
	r.bytes += o.bytes
	r.flows += o.flows
	r.seen += o.seen
	r.packetsVariance += o.packetsVariance
	r.bytesVariance += o.bytesVariance
}

// table holds the rows of a bucket by their key: open addressing, at most half full.
type table struct {
	seed  *seed
	slots []uint64 // upper half of the hash<<32 | index of the row + 1; 0 free
	rows  []row
}

const smallest = 1 << 10 // slots

// at is the row of a key, a new one where it isn't there.
func (t *table) at(k *key, hash uint64) *row {
	mask := uint64(len(t.slots) - 1) //nolint:gosec // a power of two
	if t.slots == nil {
		t.slots, mask = make([]uint64, smallest), smallest-1
	}
	tag := hash &^ 0xffffffff
	for i := hash & mask; ; i = (i + 1) & mask {
		s := t.slots[i]
		if s == 0 {
			break
		}
		if s&^0xffffffff == tag {
			if r := &t.rows[uint32(s)-1]; r.key.same(k) { //nolint:gosec // the lower half is the index
				return r
			}
		}
	}
	if 2*(len(t.rows)+1) > len(t.slots) {
		t.grow()
		mask = uint64(len(t.slots) - 1) //nolint:gosec // a power of two
	}
	t.rows = append(t.rows, row{key: *k})
	t.put(hash, mask)
	return &t.rows[len(t.rows)-1]
}

// put notes the last row at its hash.
func (t *table) put(hash, mask uint64) {
	i := hash & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = hash&^0xffffffff | uint64(len(t.rows))
}

// grow doubles the slots.
func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint64, 2*len(old))
	mask := uint64(len(t.slots) - 1) //nolint:gosec // a power of two
	for _, s := range old {
		if s == 0 {
			continue
		}
		h := t.rows[uint32(s)-1].hash(t.seed) //nolint:gosec // the lower half is the index
		i := h & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = s
	}
}

// clear empties the table and keeps its memory.
func (t *table) clear() {
	clear(t.slots)
	t.rows = t.rows[:0]
}
