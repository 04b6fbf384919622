package pcap

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/zeebo/xxh3"
)

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
	src, err := open(f)
	if err != nil {
		return digest, 0, fmt.Errorf("%s: %w", path, err)
	}
	defer src.close()
	h := xxh3.New()
	buf := make([]byte, blockSize)
	for err == nil {
		var n int
		n, err = src.Read(buf)
		_, _ = h.Write(buf[:n])
		size += int64(n)
	}
	digest = h.Sum128().Bytes()
	if !errors.Is(err, io.EOF) {
		return digest, size, fmt.Errorf("%s: %w", path, broken(size, err))
	}
	return digest, size, nil
}
