package feed

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path"

	"github.com/klauspost/compress/gzip"
)

const (
	mostEntries = 1000    // of an archive
	mostArchive = 1 << 30 // bytes: its directory is held in memory
)

// sized is what a zip can be read from.
type sized interface {
	io.ReaderAt
	Size() int64
}

// unpack puts the decompressor before r that its first bytes ask for, and reads.
func (j *job) unpack(r io.Reader) error {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err //nolint:wrapcheck // that of the reader that was handed in
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return unreadable(err, "gzip の見出しが壊れています", "the gzip header is damaged")
		}
		return j.read(&limited{z, j, true})
	case bytes.Equal(head, []byte("PK\x03\x04")):
		at, ok := r.(sized)
		if !ok {
			return unreadable(nil, "zip はストリームからは読めません。ファイルとして渡してください", "a zip can't be read from a stream: save it and give it as a file")
		}
		return j.archive(at)
	}
	return j.read(&limited{in, j, false})
}

// archive reads the entries of a zip in their order, each as a file of its own.
func (j *job) archive(at sized) error {
	if at.Size() > mostArchive {
		return unreadable(nil, "zip が大きすぎます。展開してから渡してください", "the zip is too large: unpack it first")
	}
	z, err := zip.NewReader(at, at.Size())
	if err != nil {
		return unreadable(err, "zip が壊れています", "the zip is damaged")
	}
	if len(z.File) > mostEntries {
		return unreadable(nil, "zip の中のファイルが多すぎます", "the zip holds too many files")
	}
	outer := j.Name
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		if f.Flags&1 != 0 {
			return unreadable(nil, "zip にパスワードがかかっています", "the zip is locked with a password: unpack it first")
		}
		e, err := f.Open()
		if err != nil {
			return unreadable(err, "zip の中のファイルを開けません", "a file in the zip can't be opened")
		}
		j.Name = path.Join(outer, path.Base(f.Name))
		err = j.read(&limited{e, j, true})
		_ = e.Close() // nothing was written
		if err != nil {
			return err
		}
	}
	j.Name = outer
	return nil
}

// limited bounds what comes out of a decompressor, and tells damage in it from
// other errors.
type limited struct {
	in     io.Reader
	j      *job
	packed bool
}

func (l *limited) Read(b []byte) (int, error) {
	if l.j.left <= 0 {
		return 0, unreadable(nil, "展開後のファイルが大きすぎます", "the file is too large after decompression")
	}
	n, err := l.in.Read(b[:min(int64(len(b)), l.j.left)])
	l.j.left -= int64(n)
	var file *os.PathError
	if err != nil && l.packed && !errors.Is(err, io.EOF) && !errors.As(err, &file) {
		err = unreadable(err, "圧縮されたファイルが壊れているか、途中で切れています", "the compressed file is damaged or ends too early")
	}
	return n, err //nolint:wrapcheck // io.Reader's own contract
}
