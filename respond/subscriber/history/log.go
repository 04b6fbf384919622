package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// wal is the log of what isn't in a segment yet: lots, each with its length and its
// sum, so that one that a crash cut off is seen.
type wal struct {
	f    *os.File
	size int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// The kinds of things in a lot.
const (
	walRow    = 'r' // a row
	walSource = 's' // number and name of a source
	walReset  = 'z' // number of a source and when it began anew
)

func walName(n uint64) string { return fmt.Sprintf("%016x.log", n) }

func createWAL(dir string, n uint64) (*wal, error) {
	f, err := os.OpenFile(filepath.Join(dir, walName(n)), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("begin a log: %w", err)
	}
	return &wal{f: f}, syncDir(dir)
}

// append writes a lot and syncs it.
func (w *wal) append(lot []byte) error {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(lot))) //nolint:gosec // below 2^30
	head = binary.LittleEndian.AppendUint32(head, crc32.Checksum(lot, castagnoli))
	n, err := w.f.WriteAt(append(head, lot...), w.size)
	if err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	w.size += int64(n)
	return nil
}

// replay reads the lots of a log up to the first that isn't whole.
func replay(path string, do func(kind byte, thing []byte) error) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	for len(b) >= 8 {
		n, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if uint64(n) > uint64(len(b)-8) || crc32.Checksum(b[8:8+n], castagnoli) != sum { //nolint:gosec // at least 8
			return nil // it was never acknowledged
		}
		if err := things(b[8:8+n], do); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
		b = b[8+n:]
	}
	return nil
}

// things takes a lot apart.
func things(lot []byte, do func(kind byte, thing []byte) error) error {
	for len(lot) > 0 {
		if len(lot) < 3 {
			return io.ErrUnexpectedEOF
		}
		kind, n := lot[0], int(binary.LittleEndian.Uint16(lot[1:]))
		if len(lot)-3 < n {
			return io.ErrUnexpectedEOF
		}
		if err := do(kind, lot[3:3+n]); err != nil {
			return err
		}
		lot = lot[3+n:]
	}
	return nil
}

func appendThing(lot []byte, kind byte, thing []byte) []byte {
	lot = append(lot, kind)
	lot = binary.LittleEndian.AppendUint16(lot, uint16(len(thing))) //nolint:gosec // names are cut
	return append(lot, thing...)
}
