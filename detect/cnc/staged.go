package cnc

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"sakimori/observe"
)

// A reading waits in the store as blocks of indicators, one behind the other: strings with
// their lengths, times as Unix nanoseconds. A block holds those of one part of all keys.

// parts are of equal size: keys are sums, so each holds as many as the other. The one
// behind them is of the keys that a reading doesn't have any more.
const parts = 256

func partOf(key int64) int { return int(key >> 55) } // of 63 bits

// What blocks hold.
const (
	asSaid  = iota // indicators
	asGone         // keys: the reading doesn't have them
	asEnded        // keys: it says that they are over
)

// blockOf is the number of a part's block.
func blockOf(part int, n int64) int64 { return int64(part)<<32 | n }

// staged are a part's blocks.
func (w *work) staged(ctx context.Context, reading int64, part int, how int64) (bodies [][]byte, err error) {
	rows, err := w.tx.Query(ctx, `SELECT body FROM cnc_staged WHERE reading = $1 AND n >= $2 AND n < $3 AND gone = $4 ORDER BY n`, reading, blockOf(part, 0), blockOf(part+1, 0), how)
	if err != nil {
		return nil, fmt.Errorf("read a reading: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, fmt.Errorf("read a reading: %w", err)
		}
		bodies = append(bodies, body)
	}
	return bodies, rows.Err()
}

// unpacked is what a part holds, in the order of the keys.
type unpacked struct {
	list []brought
	err  error
}

// ahead reads a part, and unpacks it while another one is dealt with.
func (w *work) ahead(ctx context.Context, reading int64, part int) <-chan unpacked {
	done := make(chan unpacked, 1)
	bodies, err := w.staged(ctx, reading, part, asSaid)
	go func() {
		u := unpacked{err: err}
		for _, body := range bodies {
			if u.err == nil {
				u.list, u.err = readBrought(u.list, body)
			}
		}
		u.list = inOrder(u.list)
		done <- u
	}()
	return done
}

// inOrder sorts by the key. The indicators are moved once: they are large.
func inOrder(list []brought) []brought {
	type place struct {
		key int64
		at  int
	}
	places := make([]place, len(list))
	for i := range list {
		places[i] = place{list[i].key, i}
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Compare(a.key, b.key) })
	out := make([]brought, len(list))
	for i, p := range places {
		out[i] = list[p.at]
	}
	return out
}

// brought is an indicator with its key, and more of the same sum.
type brought struct {
	observe.Indicator
	key  int64
	more uint64
	free bool // see bitFree
}

func readBrought(list []brought, packed []byte) ([]brought, error) {
	plain, err := unpack(packed)
	if err != nil {
		return nil, err
	}
	for body := string(plain); len(body) > 0; { // one string, of which the values are parts
		var b brought
		rest, err := readIndicator(body, &b.Indicator)
		if err != nil {
			return nil, err
		}
		b.free = body[len(body)-len(rest)-1]&bitFree != 0
		body = rest
		b.key, b.more = keyOf(b.Kind, b.Value)
		list = append(list, b)
	}
	return list, nil
}

func appendIndicator(b []byte, i *observe.Indicator) []byte {
	for _, s := range []string{string(i.Kind), i.Value, string(i.Role), i.Family, i.Evidence} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(i.Confidence))
	for _, t := range []time.Time{i.First, i.Last, i.Until} {
		b = binary.BigEndian.AppendUint64(b, uint64(nano(t))) //nolint:gosec // its bits
	}
	if i.Sinkholed {
		return append(b, bitSinks)
	}
	return append(b, 0)
}

// The bits of an indicator's last byte. That it is on no list isn't what its source says,
// and no part of its digest.
const (
	bitSinks = 1 << iota
	bitFree  // it was on no list of what isn't listed when it was read
)

var errStaged = errors.New("a block of a reading is damaged: refuse the reading, and read the source again")

// readIndicator reads one, and gives what is left.
func readIndicator(b string, i *observe.Indicator) (rest string, err error) {
	*i = observe.Indicator{}
	text := func() (s string) {
		n, used := uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) { //nolint:gosec // used is at most len(b)
			err = errStaged
			return ""
		}
		s, b = b[used:used+int(n)], b[used+int(n):] //nolint:gosec // at most len(b)
		return s
	}
	i.Kind, i.Value = observe.IndicatorKind(text()), text()
	i.Role, i.Family, i.Evidence = observe.Role(text()), text(), text()
	const fixed = 4*8 + 1
	if err != nil || len(b) < fixed {
		return "", errStaged
	}
	number := func() (n uint64) {
		for _, x := range []byte(b[:8]) {
			n = n<<8 | uint64(x)
		}
		b = b[8:]
		return n
	}
	i.Confidence = math.Float64frombits(number())
	i.First, i.Last, i.Until = when(int64(number())), when(int64(number())), when(int64(number())) //nolint:gosec // as they were written
	i.Sinkholed = b[0]&bitSinks != 0
	return b[1:], nil
}

// uvarint is binary.Uvarint of a string.
func uvarint(s string) (n uint64, used int) {
	var room [binary.MaxVarintLen64]byte
	return binary.Uvarint(room[:copy(room[:], s)])
}

// A block is packed: a reading is written twice and cleared away again.
var (
	packer, _   = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)) // the options are right
	unpacker, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<28))
)

func unpack(b []byte) ([]byte, error) {
	out, err := unpacker.DecodeAll(b, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errStaged, err)
	}
	return out, nil
}

func appendKeys(b []byte, keys []int64) []byte {
	for _, k := range keys {
		b = binary.BigEndian.AppendUint64(b, uint64(k)) //nolint:gosec // 63 bits
	}
	return b
}

func readKeys(b []byte) (keys []int64, err error) {
	if len(b)%8 != 0 {
		return nil, errStaged
	}
	for ; len(b) > 0; b = b[8:] {
		keys = append(keys, int64(binary.BigEndian.Uint64(b))) //nolint:gosec // as before
	}
	return keys, nil
}
