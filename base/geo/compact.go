package geo

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"sakimori/base/wire/packet"
)

// The compact file is one zstd frame. Inside, numbers are unsigned LEB128
// ("uvarint") unless said otherwise; a text is its length in bytes and UTF-8.
//
//	"sakigeo" and the version byte 1
//	sources: count; each: part (byte), name, licence, attribution, URL,
//	         built (seconds since 1970, 0 unknown), ranges
//	positions: count d; then columns of d: country (two bytes, zero unknown),
//	         located (byte 0/1), latitude, longitude (tenths of a degree, int16 little endian)
//	three layers (country, ASN, city); each:
//	         dictionary: count, then values, the most frequent first: two letters
//	             as a 16-bit number; AS number; 1 + index into positions; 0 is unknown
//	         spans: count n; the first starts at ::, and then columns of n-1:
//	             shift (byte): trailing zero bits of the distance to the span before,
//	                 plus 128 when the shifted distance needs more than 64 bits
//	             distance >> shift (low 64 bits; then the high ones when flagged)
//	         and a column of n: index into the dictionary
//	names:   count; then columns: AS number minus the one before; length in bytes;
//	         and all the names as one text
//	XXH3-64 of everything above, 8 bytes little endian
//
// Columns, because like stands beside like: zstd makes a quarter less of them.
const (
	magic   = "sakigeo\x01"
	maxFile = 64 << 20 // compressed
	maxRaw  = 96 << 20 // inside
)

// Encode writes the compact file.
func (b *Builder) Encode() ([]byte, error) {
	w := []byte(magic)
	w = appendSources(w, b.source)
	w = b.appendPositions(w)
	for p := range b.layers {
		w = b.layers[p].append(w)
	}
	w = appendNames(w, b.names)
	w = binary.LittleEndian.AppendUint64(w, xxh3.Hash(w))
	if len(w) > maxRaw {
		return nil, fmt.Errorf("the tables take %d bytes, more than the %d a compact file may hold", len(w), maxRaw)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.EncodeAll(w, nil), nil
}

func appendSources(w []byte, list []Source) []byte {
	w = binary.AppendUvarint(w, uint64(len(list)))
	for _, s := range list {
		w = append(w, byte(s.Part))
		for _, text := range []string{s.Name, s.Licence, s.Attribution, s.URL} {
			w = appendText(w, text)
		}
		var built uint64
		if !s.Built.IsZero() {
			built = uint64(max(0, s.Built.Unix()))
		}
		w = binary.AppendUvarint(w, built)
		w = binary.AppendUvarint(w, uint64(s.Ranges)) //nolint:gosec // a count
	}
	return w
}

func appendText(w []byte, s string) []byte {
	return append(binary.AppendUvarint(w, uint64(len(s))), s...)
}

func (b *Builder) appendPositions(w []byte) []byte {
	ps := b.spots[1:]
	w = binary.AppendUvarint(w, uint64(len(ps)))
	for _, p := range ps {
		w = append(w, byte(p.country>>8), byte(p.country&0xff))
	}
	for _, p := range ps {
		if p.located {
			w = append(w, 1)
		} else {
			w = append(w, 0)
		}
	}
	for _, p := range ps {
		w = binary.LittleEndian.AppendUint16(w, uint16(p.lat)) //nolint:gosec // its bits
	}
	for _, p := range ps {
		w = binary.LittleEndian.AppendUint16(w, uint16(p.lon)) //nolint:gosec // its bits
	}
	return w
}

func (l *layer) append(w []byte) []byte {
	count := map[uint32]int{}
	for _, v := range l.val {
		count[v]++
	}
	dict := slices.SortedFunc(maps.Keys(count), func(x, y uint32) int {
		return cmp.Or(cmp.Compare(count[y], count[x]), cmp.Compare(x, y))
	})
	index := make(map[uint32]uint64, len(dict))
	w = binary.AppendUvarint(w, uint64(len(dict)))
	for i, v := range dict {
		index[v] = uint64(i)
		w = binary.AppendUvarint(w, uint64(v))
	}

	w = binary.AppendUvarint(w, uint64(len(l.start)))
	var shifts, distances []byte
	for i := 1; i < len(l.start); i++ {
		d := sub(l.start[i], l.start[i-1])
		n := bits.TrailingZeros64(d.Lo)
		if d.Lo == 0 {
			n = 64 + bits.TrailingZeros64(d.Hi)
		}
		d = shiftRight(d, n)
		flag := byte(0)
		if d.Hi != 0 {
			flag = 128
		}
		shifts = append(shifts, byte(n&127)|flag)
		if distances = binary.AppendUvarint(distances, d.Lo); flag != 0 {
			distances = binary.AppendUvarint(distances, d.Hi)
		}
	}
	w = append(append(w, shifts...), distances...)
	for _, v := range l.val {
		w = binary.AppendUvarint(w, index[v])
	}
	return w
}

func shiftRight(a packet.Addr, n int) packet.Addr {
	if n >= 64 {
		return packet.Addr{Lo: a.Hi >> (n - 64)}
	}
	return packet.Addr{Hi: a.Hi >> n, Lo: a.Lo>>n | a.Hi<<(64-n)} // a shift by 64 gives 0
}

func shiftLeft(a packet.Addr, n int) packet.Addr {
	if n >= 64 {
		return packet.Addr{Hi: a.Lo << (n - 64)}
	}
	return packet.Addr{Hi: a.Hi<<n | a.Lo>>(64-n), Lo: a.Lo << n}
}

func appendNames(w []byte, m map[uint32]string) []byte {
	n := flatNames(m)
	w = binary.AppendUvarint(w, uint64(len(n.asn)))
	before := uint32(0)
	for _, asn := range n.asn {
		w = binary.AppendUvarint(w, uint64(asn-before))
		before = asn
	}
	before = 0
	for _, end := range n.end {
		w = binary.AppendUvarint(w, uint64(end-before))
		before = end
	}
	return appendText(w, n.text)
}

var errCompact = errors.New("the compact geography file is damaged: build it again with base/geo/compile")

// Decode reads a compact file. A file that is damaged or of another make gives an
// error. Every allocation is bounded by the bytes that are there to fill it: at
// most 7 bytes of memory for each byte inside, of which there may be 96 MiB.
func Decode(file []byte) (*Builder, error) {
	if len(file) > maxFile {
		return nil, fmt.Errorf("%w (%d bytes are more than it may have)", errCompact, len(file))
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxRaw))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := z.DecodeAll(file, nil)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errCompact, err)
	}
	return decodeRaw(raw)
}

func decodeRaw(raw []byte) (*Builder, error) {
	body := len(raw) - 8
	if body < len(magic) || string(raw[:len(magic)-1]) != magic[:len(magic)-1] {
		return nil, fmt.Errorf("%w (it does not begin as one)", errCompact)
	}
	if v := raw[len(magic)-1]; v != magic[len(magic)-1] {
		return nil, fmt.Errorf("the compact geography file is of format %d, this program reads format %d: build it again with base/geo/compile",
			v, magic[len(magic)-1])
	}
	if binary.LittleEndian.Uint64(raw[body:]) != xxh3.Hash(raw[:body]) {
		return nil, fmt.Errorf("%w (its checksum is wrong)", errCompact)
	}
	r := reader{b: raw[len(magic):body]}
	b := NewBuilder()
	b.source = r.sources()
	r.positions(b)
	for p := range b.layers {
		b.layers[p] = r.layer(Part(p), len(b.spots))
	}
	r.names(b.names)
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w (its inside contradicts itself)", errCompact)
	}
	return b, nil
}

// reader takes the fields off the front of b; after the first bad one it gives
// zeros, so that callers check once at the end.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

func (r *reader) number() uint64 {
	if len(r.b) > 0 && r.b[0] < 128 { // most are that short
		v := uint64(r.b[0])
		r.b = r.b[1:]
		return v
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// number32 is a number of at most 32 bits.
func (r *reader) number32() uint32 {
	v := r.number()
	if v>>32 != 0 {
		r.fail()
		return 0
	}
	return uint32(v)
}

// count is the number of things that follow, each of which takes at least size
// bytes: so what is allocated for them is bounded by the file.
func (r *reader) count(size int) int {
	n := r.number()
	if n > uint64(len(r.b)/size) { //nolint:gosec // a length
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // below the length of a slice
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) text() string {
	b := r.bytes(r.count(1))
	if !utf8.Valid(b) {
		r.fail()
	}
	return string(b)
}

func (r *reader) sources() []Source {
	var out []Source
	for range r.count(7) {
		if r.bad {
			return nil
		}
		s := Source{}
		if p := r.bytes(1); len(p) == 1 && Part(p[0]) < parts {
			s.Part = Part(p[0])
		} else {
			r.fail()
		}
		s.Name, s.Licence, s.Attribution, s.URL = r.text(), r.text(), r.text(), r.text()
		if at := r.number(); at > 1<<40 {
			r.fail()
		} else if at != 0 {
			s.Built = time.Unix(int64(at), 0).UTC()
		}
		s.Ranges = int(r.number32())
		out = append(out, s)
	}
	return out
}

func (r *reader) positions(b *Builder) {
	d := r.count(7)
	country, located, lat, lon := r.bytes(2*d), r.bytes(d), r.bytes(2*d), r.bytes(2*d)
	if r.bad {
		return
	}
	b.spots = append(make([]position, 0, d+1), position{})
	for i := range d {
		p := position{
			country: binary.BigEndian.Uint16(country[2*i:]),
			lat:     int16(binary.LittleEndian.Uint16(lat[2*i:])), //nolint:gosec // its bits
			lon:     int16(binary.LittleEndian.Uint16(lon[2*i:])), //nolint:gosec // its bits
			located: located[i] == 1,
		}
		if located[i] > 1 || p.lat < -900 || p.lat > 900 || p.lon < -1800 || p.lon > 1800 || !validCountry(p.country) {
			r.fail()
			return
		}
		b.spotAt[p] = uint32(i + 1)
		b.spots = append(b.spots, p)
	}
}

func validCountry(cc uint16) bool {
	a, b := byte(cc>>8), byte(cc&0xff)
	return cc == 0 || a >= 'A' && a <= 'Z' && b >= 'A' && b <= 'Z'
}

func (r *reader) layer(p Part, positions int) layer {
	dict := make([]uint32, r.count(1))
	for i := range dict {
		dict[i] = r.number32()
		if p == Country && (dict[i]>>16 != 0 || !validCountry(uint16(dict[i]))) || p == City && dict[i] >= uint32(positions) { //nolint:gosec // bounded by the file
			r.fail()
		}
	}
	n := r.count(3)
	if n == 0 || len(dict) == 0 {
		if n != 0 {
			r.fail()
		}
		return layer{}
	}
	shifts := r.bytes(n - 1)
	l := layer{start: make([]packet.Addr, n), val: make([]uint32, n)}
	at := packet.Addr{}
	for i, s := range shifts {
		d := packet.Addr{Lo: r.number()}
		if s&128 != 0 {
			d.Hi = r.number()
		}
		shift := int(s & 127)
		moved := shiftLeft(d, shift)
		whole := d != (packet.Addr{}) && shiftRight(moved, shift) == d
		var ok bool
		if at, ok = plus(at, moved); !ok || !whole {
			r.fail()
			return layer{}
		}
		l.start[i+1] = at
	}
	for i := range l.val {
		v := r.number()
		if v >= uint64(len(dict)) {
			r.fail()
			return layer{}
		}
		l.val[i] = dict[v]
	}
	return l
}

func (r *reader) names(m map[uint32]string) {
	n := r.count(2)
	asn, length := make([]uint32, n), make([]uint32, n)
	before := uint32(0)
	for i := range asn {
		d := r.number32()
		if i > 0 && d == 0 || before+d < before {
			r.fail()
		}
		before += d
		asn[i] = before
	}
	for i := range length {
		length[i] = r.number32()
	}
	text := r.text()
	for i, a := range asn {
		if uint64(length[i]) > uint64(len(text)) {
			r.fail()
			return
		}
		m[a] = text[:length[i]]
		text = text[length[i]:]
	}
	if text != "" {
		r.fail()
	}
}
