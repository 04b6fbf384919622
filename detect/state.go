package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// AppendTable writes fixed-size rows after b, their number first: the tables of
// a detector's State.
func AppendTable[T any](b []byte, rows []T) ([]byte, error) {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(rows))) //nolint:gosec // bounded by Config
	return binary.Append(b, binary.LittleEndian, rows)
}

// TakeTable reads from the front of b what AppendTable wrote. The memory that it
// takes is bounded by len(*b).
func TakeTable[T any](b *[]byte, rows *[]T) error {
	if len(*b) < 4 {
		return errors.New("a table is missing")
	}
	n := int(binary.LittleEndian.Uint32(*b))
	*b = (*b)[4:]
	size := binary.Size(make([]T, 1))
	if n > len(*b)/size {
		return fmt.Errorf("a table of %d rows is cut off", n)
	}
	*rows = make([]T, n)
	used, err := binary.Decode(*b, binary.LittleEndian, *rows)
	*b = (*b)[used:]
	return err
}
