package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"
)

// Option is something that a reader does beside reading.
type Option func(*source)

// Summed has a reader take the digest of what it reads, for Sum.
func Summed(s *source) {
	s.sum = &digester{Reader: s.Reader}
	s.Reader = s.sum
}

// digester takes the digest of what passes through.
type digester struct {
	io.Reader
	hash xxh3.Hasher
	size int64
	err  error // what the stream ended with
}

func (d *digester) Read(b []byte) (int, error) {
	n, err := d.Reader.Read(b)
	_, _ = d.hash.Write(b[:n]) // never fails
	d.size += int64(n)
	d.err = err
	return n, err //nolint:wrapcheck // io.Reader's own contract
}

// end reads what is left, and gives the digest of all.
func (d *digester) end() (digest [16]byte, size int64, err error) {
	buf := make([]byte, blockSize)
	for d.err == nil {
		_, _ = d.Read(buf) // it is in d.err
	}
	if !errors.Is(d.err, io.EOF) {
		err = broken(d.size, d.err)
	}
	return d.hash.Sum128().Bytes(), d.size, err
}

// Sum is what Digest says of the capture, for a reader that was opened with
// Summed. It reads what is left of it, so there are no more frames then.
func (r *Reader) Sum() (digest [16]byte, size int64, err error) {
	if r.src.sum == nil {
		return digest, 0, errors.New("the capture was opened without Summed")
	}
	if r.err == nil {
		r.err = io.EOF
	}
	return r.src.sum.end()
}

// Digest is the XXH3-128 of a capture's bytes after decompression, and how many
// there are: a renamed or recompressed copy has the same. A file that can't be
// decompressed to its end gives an error beside the digest of what came before,
// which is as good a name for it as long as it stays damaged in the same way.
func Digest(path string) (digest [16]byte, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return digest, 0, fmt.Errorf("digest capture: %w", err)
	}
	defer f.Close()
	src, err := open(f, Summed)
	if err != nil {
		return digest, 0, fmt.Errorf("%s: %w", path, err)
	}
	defer src.close()
	if digest, size, err = src.sum.end(); err != nil {
		return digest, size, fmt.Errorf("%s: %w", path, err)
	}
	return digest, size, nil
}
