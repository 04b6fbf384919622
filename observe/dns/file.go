package dns

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"sakimori/base/wire/dnstap"
)

// FileOptions say what a file doesn't say itself.
type FileOptions struct {
	Name string         // for people, and of the resolver where none is told
	Zone *time.Location // of a log's times that don't tell theirs; nil UTC
}

// File reads a file to its end: a frame stream of dnstap, a capture of packets, or the
// log of BIND or Unbound, plain or compressed with gzip or zstd. What stood before an
// error counts. The names of clients and resolvers are the file's.
func (o *Observer) File(ctx context.Context, in io.Reader, opt FileOptions) (SourceStats, error) {
	s := o.source(opt.Name)
	err := s.file(bounded{ctx, in}, opt)
	return s.Stats(), err
}

// bounded ends a reader with its context.
type bounded struct {
	ctx context.Context
	io.Reader
}

func (b bounded) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	return b.Reader.Read(p)
}

func (s *Source) file(in io.Reader, opt FileOptions) error {
	r := bufio.NewReaderSize(in, 1<<16)
	magic, _ := r.Peek(4) // what is shorter is a log
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return fmt.Errorf("%s: %w", opt.Name, err)
		}
		r = bufio.NewReaderSize(z, 1<<16)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return fmt.Errorf("%s: %w", opt.Name, err)
		}
		defer z.Close()
		r = bufio.NewReaderSize(z, 1<<16)
	}
	magic, _ = r.Peek(4) // as above
	rd := s.reading()
	var err error
	switch {
	case bytes.Equal(magic, []byte{0, 0, 0, 0}):
		err = rd.whole(dnstap.NewFrames(r, nil), (*reading).dnstap)
	case isCapture(magic):
		err = rd.capture(r)
	default:
		err = rd.log(r, opt)
	}
	rd.flush()
	if err != nil {
		return fmt.Errorf("%s: %w", opt.Name, err)
	}
	return nil
}

// isCapture tells pcap, in its byte orders and resolutions, and pcapng.
func isCapture(magic []byte) bool {
	return slices.Contains([]string{"\xa1\xb2\xc3\xd4", "\xd4\xc3\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x4d\x3c\xb2\xa1", "\x0a\x0d\x0d\x0a"}, string(magic))
}

// ErrLog says that a text holds nothing of a log that is known.
var ErrLog = errors.New("neither dnstap, nor a capture, nor a log of BIND or Unbound: no line of it could be read")

// log reads a log, line by line.
func (r *reading) log(in *bufio.Reader, opt FileOptions) error {
	zone := opt.Zone
	if zone == nil {
		zone = time.UTC
	}
	lines := bufio.NewScanner(in)
	const longest = 64 << 10
	lines.Buffer(make([]byte, 4096), longest)
	read, wrong := 0, 0
	for lines.Scan() {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		switch ok, ours := r.line(line, zone); {
		case ok:
			read++
		case ours:
			r.add.Malformed++
			wrong++
		}
		r.add.Frames++
		if r.n == lot {
			r.flush()
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if read == 0 {
		if wrong == 0 {
			r.add = SourceStats{}
		}
		return ErrLog
	}
	return nil
}
