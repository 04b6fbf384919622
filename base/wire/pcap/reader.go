package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"sakimori/base/wire/packet"
)

// Reader reads one capture. ReadBlock and Skip belong to one goroutine; the
// counters and Interfaces may be asked by any.
type Reader struct {
	src  *source
	file io.Closer // nil when the stream is the caller's

	walk func(b *packet.Block, n, at int) (next, need int, err *Error)
	big  bool // the file, or the section, is big-endian

	// pcap
	header int   // bytes of a record header
	unit   int64 // nanoseconds in a unit of the fraction
	link   packet.LinkType

	// pcapng
	first  int     // the section's interface 0, in faces
	clocks []clock // of faces, one each

	mu    sync.Mutex
	faces []Interface

	rest    []byte // read, but not yet delivered
	base    int64  // where rest begins in the stream
	discard int64  // bytes of a skipped record that are still to come
	skip    uint64 // frames still to leave out
	ended   error  // what the stream ended with
	err     error  // what every further ReadBlock answers

	offset atomic.Int64
	frames atomic.Uint64
}

// Open opens a capture file.
func Open(path string, options ...Option) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	r, err := NewReader(f, options...)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.file = f
	return r, nil
}

// NewReader reads a capture from a stream, for example standard input. It reads
// the file header, so it may block; its errors are an *Error.
func NewReader(stream io.Reader, options ...Option) (*Reader, error) {
	src, err := open(stream, options...)
	if err != nil {
		return nil, err
	}
	r := &Reader{src: src}
	if err := r.start(); err != nil {
		src.close()
		return nil, err
	}
	return r, nil
}

// start reads the format's own header.
func (r *Reader) start() error {
	magic, err := peek(r.src)
	if err != nil {
		return err
	}
	r.rest = append(r.rest, magic...)
	if [4]byte(magic) == sectionMagic {
		r.walk = r.walkNG
		return nil
	}
	if err := r.startClassic(magic); err != nil {
		return err
	}
	r.walk = r.walkClassic
	return nil
}

// Close frees the decompressor and closes the file that Open opened.
func (r *Reader) Close() error {
	r.src.close()
	if r.err == nil {
		r.err = os.ErrClosed
	}
	if r.file == nil {
		return nil
	}
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("close capture: %w", err)
	}
	return nil
}

// ReadBlock fills b with the next frames, at least one, reusing its memory. At
// the end of the capture it answers io.EOF, at damage an *Error; b is then
// empty. It returns what a pipe has so far rather than wait for a full block.
func (r *Reader) ReadBlock(b *packet.Block) error {
	if cap(b.Frames) < blockFrames {
		b.Frames = make([]packet.Frame, 0, blockFrames)
	}
	b.Frames = b.Frames[:0]
	if r.err != nil {
		return r.err
	}
	b.Buf = b.Buf[:cap(b.Buf)]
	if want := max(blockSize, len(r.rest)); len(b.Buf) < want {
		b.Buf = make([]byte, want)
	}
	n, at := copy(b.Buf, r.rest), 0
	for idle := 0; ; {
		next, need, bad := r.walk(b, n, at)
		at = next
		if full := len(b.Frames) == blockFrames; r.skip > 0 {
			r.leaveOut(b)
			if full && len(b.Frames) < blockFrames {
				continue
			}
		}
		switch {
		case bad != nil:
			r.err = bad
		case r.ended != nil && len(b.Frames) < blockFrames:
			r.err = r.end(at < n, at, n)
		}
		// A decompressor gives little at a time: fill the block. A file gives
		// all that was asked for, and a pipe what it has.
		enough := !r.src.packed || n > blockSize/2 || r.discard > 0 || at+need > len(b.Buf)
		if r.err != nil || len(b.Frames) == blockFrames || len(b.Frames) > 0 && enough {
			break
		}
		if len(b.Frames) == 0 && at > 0 {
			n = copy(b.Buf, b.Buf[at:n])
			r.base += int64(at)
			at = 0
		}
		if need > len(b.Buf) {
			b.Buf = append(b.Buf, make([]byte, need-len(b.Buf))...)
		}
		m, err := r.src.Read(b.Buf[n:])
		if m > 0 {
			idle = 0
		} else if idle++; idle > 100 && err == nil {
			err = io.ErrNoProgress
		}
		r.ended = err
		if r.discard > 0 { // the buffer was empty
			gone := min(int64(m), r.discard)
			r.discard -= gone
			r.base += gone
			m = copy(b.Buf, b.Buf[gone:m])
		}
		n += m
	}
	r.rest = append(r.rest[:0], b.Buf[at:n]...)
	r.base += int64(at)
	r.offset.Store(r.base)
	r.frames.Add(uint64(len(b.Frames)))
	b.Buf = b.Buf[:n]
	if len(b.Frames) > 0 {
		return nil
	}
	return r.err
}

// end says how the stream ended, with rest telling that a record is incomplete.
func (r *Reader) end(rest bool, at, n int) error {
	switch {
	case !errors.Is(r.ended, io.EOF):
		return broken(r.base+int64(n), r.ended)
	case rest:
		return fault(r.base+int64(at), io.ErrUnexpectedEOF,
			"レコードの途中でファイルが切れています（あと %d バイトで終わり）", "the file ends inside a record, %d bytes after its start", n-at)
	case r.discard > 0:
		return fault(r.base, io.ErrUnexpectedEOF,
			"ブロックの途中でファイルが切れています（%d バイト不足）", "the file ends inside a block, %d bytes too early", r.discard)
	}
	return io.EOF
}

// Skip leaves out the next n frames: a resumed reading goes on where Frames
// stood. It reads nothing by itself; on a capture with fewer frames the next
// ReadBlock answers io.EOF.
func (r *Reader) Skip(n uint64) { r.skip += n }

func (r *Reader) leaveOut(b *packet.Block) {
	n := min(r.skip, uint64(len(b.Frames)))
	r.skip -= n
	r.frames.Add(n)
	b.Frames = slices.Delete(b.Frames, 0, int(n)) //nolint:gosec // at most blockFrames
}

// Offset is how many bytes of the decompressed stream lie behind the last frame
// delivered, file header included.
func (r *Reader) Offset() int64 { return r.offset.Load() }

// Consumed is how many bytes of the file itself have been read, for a progress
// bar: it runs ahead of the frames by up to a block.
func (r *Reader) Consumed() int64 { return r.src.consumed.Load() }

// Packed tells whether the capture is compressed.
func (r *Reader) Packed() bool { return r.src.packed }

// Frames is how many frames have been delivered or skipped.
func (r *Reader) Frames() uint64 { return r.frames.Load() }

// Interfaces are those described so far.
func (r *Reader) Interfaces() []Interface {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.faces)
}

func (r *Reader) addInterface(i Interface) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faces = append(r.faces, i)
}
