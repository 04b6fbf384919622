package cnc

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"sakimori/observe"
)

// A reading waits in the store as blocks of indicators, one behind the other: strings with
// their lengths, times as Unix nanoseconds.

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
		return append(b, 1)
	}
	return append(b, 0)
}

var errStaged = errors.New("a block of a reading is damaged: refuse the reading, and read the source again")

// readIndicator reads one, and gives what is left.
func readIndicator(b []byte, i *observe.Indicator) (rest []byte, err error) {
	*i = observe.Indicator{}
	text := func() string {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) { //nolint:gosec // used is at most len(b)
			err = errStaged
			return ""
		}
		s := string(b[used : used+int(n)]) //nolint:gosec // at most len(b)
		b = b[used+int(n):]                //nolint:gosec // as before
		return s
	}
	i.Kind, i.Value = observe.IndicatorKind(text()), text()
	i.Role, i.Family, i.Evidence = observe.Role(text()), text(), text()
	const fixed = 4*8 + 1
	if err != nil || len(b) < fixed {
		return nil, errStaged
	}
	number := func() uint64 {
		n := binary.BigEndian.Uint64(b)
		b = b[8:]
		return n
	}
	i.Confidence = math.Float64frombits(number())
	i.First, i.Last, i.Until = when(int64(number())), when(int64(number())), when(int64(number())) //nolint:gosec // as they were written
	i.Sinkholed = b[0] == 1
	return b[1:], nil
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
