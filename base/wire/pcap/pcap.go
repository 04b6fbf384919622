// Package pcap reads and writes capture files: pcap in all its byte orders and
// resolutions (draft-ietf-opsawg-pcap) and pcapng with any number of sections
// and interfaces (draft-ietf-opsawg-pcapng), plain or compressed with gzip or
// zstd.
//
// A Reader hands out blocks of a quarter of a mebibyte and up to 4,096 frames
// that lie in them where they lay in the file: no frame is copied. What a
// damaged file holds before the damage is delivered first; then comes an *Error
// with the place. Memory is bounded whatever a file claims: a block grows to at
// most MaxFrame and 64 KiB, the interface table to 65,535 entries, and the zstd
// window to 128 MiB.
package pcap

import (
	"fmt"

	"sakimori/base/wire/packet"
)

// MaxFrame is the longest frame that is read, in bytes: four times the largest
// snapshot length of libpcap. A record that claims more is damaged.
const MaxFrame = 1 << 20

const (
	blockSize     = 256 << 10         // bytes read at once
	blockFrames   = 4096              // frames in a block at most
	maxBlock      = MaxFrame + 64<<10 // a pcapng block that has to be seen whole
	maxInterfaces = 1<<16 - 1         // packet.Frame.Iface has 16 bits
	maxName       = 256               // bytes kept of an interface's name
	zstdWindow    = 128 << 20         // what `zstd --ultra -22` uses at most
)

// Interface is one interface that a capture was made on. Its place in
// Reader.Interfaces is packet.Frame.Iface: sections of a file are numbered
// through. A pcap file has one, without a name.
type Interface struct {
	Name    string
	Link    packet.LinkType
	Snaplen uint32 // 0 for no limit; files understate it
}

// Error says where a capture can't be read further and why. It wraps
// io.ErrUnexpectedEOF when the file ends inside a record, and otherwise the
// error of the file or decompressor beneath, if there was one.
type Error struct {
	Offset   int64  // of the bad record, in bytes of the decompressed stream
	Reason   string // English
	ReasonJA string // Japanese
	Err      error  // may be nil
}

// Error is the English sentence.
func (e *Error) Error() string {
	return fmt.Sprintf("capture unreadable from byte %d: %s", e.Offset, e.Reason)
}

// JA is the Japanese sentence.
func (e *Error) JA() string {
	return fmt.Sprintf("%d バイト目から読めません: %s", e.Offset, e.ReasonJA)
}

// Unwrap gives what caused it.
func (e *Error) Unwrap() error { return e.Err }

// fault makes an Error; both languages take the same arguments.
func fault(at int64, cause error, ja, en string, args ...any) *Error {
	return &Error{at, fmt.Sprintf(en, args...), fmt.Sprintf(ja, args...), cause}
}
