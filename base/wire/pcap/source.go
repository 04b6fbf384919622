package pcap

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// source is the decompressed stream of a capture.
type source struct {
	io.Reader
	packed   bool         // there is a decompressor
	consumed atomic.Int64 // bytes read of what is beneath it
	close    func()
	sum      *digester // of what was read; nil: not asked for
}

// open looks at the first bytes of r and puts the decompressor before it that
// they ask for. Gzip members and zstd frames may follow one another.
func open(r io.Reader, options ...Option) (*source, error) {
	s := &source{close: func() {}}
	counted := &counter{r, &s.consumed}
	magic, err := peek(counted)
	if err != nil {
		return nil, err
	}
	whole := io.MultiReader(bytes.NewReader(magic), counted)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bufio.NewReaderSize(whole, blockSize))
		if err != nil {
			return nil, fault(0, err, "gzip の見出しが壊れています（%v）", "the gzip header is damaged (%v)", err)
		}
		s.Reader, s.packed = z, true
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(whole, zstd.WithDecoderConcurrency(1),
			zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, fault(0, err, "zstd を展開できません（%v）", "zstd can't be decompressed (%v)", err)
		}
		s.Reader, s.packed, s.close = z, true, z.Close
	case bytes.HasPrefix(magic, []byte("BZh")), bytes.Equal(magic, []byte("\xfd7zX")), bytes.Equal(magic, []byte{0x04, 0x22, 0x4d, 0x18}):
		return nil, fault(0, nil, "bzip2・xz・lz4 は読めません。先に展開してください",
			"compressed with bzip2, xz or lz4; decompress it first")
	default:
		s.Reader = whole
	}
	for _, o := range options {
		o(s)
	}
	return s, nil
}

// peek reads the four bytes that tell formats apart.
func peek(r io.Reader) ([]byte, error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(r, magic)
	switch {
	case err == nil:
		return magic, nil
	case errors.Is(err, io.EOF):
		return nil, fault(0, io.ErrUnexpectedEOF, "空のファイルです", "the file is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fault(int64(n), err, "4 バイトに満たず、キャプチャではありません", "too short to be a capture")
	}
	return nil, broken(int64(n), err)
}

// broken is the Error for a stream that fails below the capture format.
func broken(at int64, err error) *Error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fault(at, err, "圧縮されたファイルが途中で切れています", "the compressed file ends too early")
	}
	return fault(at, err, "読み取りに失敗しました（%v）", "reading failed (%v)", err)
}

// counter counts what passes through.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n.Add(int64(n))
	return n, err //nolint:wrapcheck // io.Reader's own contract
}
