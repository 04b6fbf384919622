package pcap

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"sakimori/base/wire/packet"
)

const snaplen = 262144 // libpcap's own maximum

// Writer writes a pcap file: nanoseconds, little-endian, snapshot length
// 262,144. It buffers: Flush it before the file is closed.
type Writer struct {
	w      *bufio.Writer
	record [16]byte
}

// NewWriter writes the file header.
func NewWriter(w io.Writer, link packet.LinkType) (*Writer, error) {
	out := &Writer{w: bufio.NewWriterSize(w, blockSize)}
	var h [24]byte
	binary.LittleEndian.PutUint32(h[0:], magicNano)
	binary.LittleEndian.PutUint16(h[4:], 2)
	binary.LittleEndian.PutUint16(h[6:], 4)
	binary.LittleEndian.PutUint32(h[16:], snaplen)
	binary.LittleEndian.PutUint32(h[20:], uint32(link))
	if _, err := out.w.Write(h[:]); err != nil {
		return nil, fmt.Errorf("write capture: %w", err)
	}
	return out, nil
}

// WriteFrame writes one whole frame, captured at ts (Unix nanoseconds).
func (w *Writer) WriteFrame(ts int64, data []byte) error {
	return w.WriteCut(ts, data, uint32(len(data))) //nolint:gosec // WriteCut refuses long frames
}

// WriteCut writes what was captured of a frame of orig bytes. pcap holds times
// from 1970 to 2106 and frames of up to 262,144 bytes; others are refused.
func (w *Writer) WriteCut(ts int64, data []byte, orig uint32) error {
	if ts < 0 || ts/1e9 > math.MaxUint32 {
		return fmt.Errorf("write capture: time %d ns lies outside of what pcap can hold (1970 to 2106)", ts)
	}
	if len(data) > snaplen {
		return fmt.Errorf("write capture: a frame of %d bytes; pcap holds %d", len(data), snaplen)
	}
	h := w.record[:]
	binary.LittleEndian.PutUint32(h[0:], uint32(ts/1e9))
	binary.LittleEndian.PutUint32(h[4:], uint32(ts%1e9))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(data))) //nolint:gosec // checked above
	binary.LittleEndian.PutUint32(h[12:], orig)
	if _, err := w.w.Write(h); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	if _, err := w.w.Write(data); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}

// Flush writes out what is buffered.
func (w *Writer) Flush() error {
	if err := w.w.Flush(); err != nil {
		return fmt.Errorf("write capture: %w", err)
	}
	return nil
}
