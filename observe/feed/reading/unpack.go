package reading

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

// Unreadable says why a file as a whole couldn't be read, or not to its end. What
// was read before counts.
type Unreadable struct {
	JA, EN string
	Err    error // may be nil
}

// Error is the English sentence.
func (u *Unreadable) Error() string { return u.EN }

// Unwrap gives what caused it.
func (u *Unreadable) Unwrap() error { return u.Err }

// Damaged says it in both languages; cause may be nil.
func Damaged(cause error, ja, en string) *Unreadable { return &Unreadable{ja, en, cause} }

// sized is what a zip can be read from.
type sized interface {
	io.ReaderAt
	Size() int64
}

// Unpack puts the decompressor before r that its first bytes ask for, and has read
// what comes out: once, or once for each file in an archive, in their order. gzip is
// understood anywhere, zip where r is an io.ReaderAt that knows its Size. More than
// most bytes in all, and damage, are an *Unreadable.
func Unpack(r io.Reader, name string, most int64, read func(name string, r io.Reader) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return err //nolint:wrapcheck // that of the reader that was handed in
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return Damaged(err, "gzip の見出しが壊れています", "the gzip header is damaged")
		}
		return read(name, &limited{z, &most, true})
	case bytes.Equal(head, []byte("PK\x03\x04")):
		at, ok := r.(sized)
		if !ok {
			return Damaged(nil, "zip はストリームからは読めません。ファイルとして渡してください", "a zip can't be read from a stream: save it and give it as a file")
		}
		return archive(at, name, &most, read)
	}
	return read(name, &limited{in, &most, false})
}

// archive reads the entries of a zip in their order, each as a file of its own.
func archive(at sized, outer string, left *int64, read func(string, io.Reader) error) error {
	if at.Size() > mostArchive {
		return Damaged(nil, "zip が大きすぎます。展開してから渡してください", "the zip is too large: unpack it first")
	}
	z, err := zip.NewReader(at, at.Size())
	if err != nil {
		return Damaged(err, "zip が壊れています", "the zip is damaged")
	}
	if len(z.File) > mostEntries {
		return Damaged(nil, "zip の中のファイルが多すぎます", "the zip holds too many files")
	}
	for _, f := range z.File {
		if f.FileInfo().IsDir() {
			continue
		}
		if f.Flags&1 != 0 {
			return Damaged(nil, "zip にパスワードがかかっています", "the zip is locked with a password: unpack it first")
		}
		e, err := f.Open()
		if err != nil {
			return Damaged(err, "zip の中のファイルを開けません", "a file in the zip can't be opened")
		}
		err = read(path.Join(outer, path.Base(f.Name)), &limited{e, left, true})
		_ = e.Close() // nothing was written
		if err != nil {
			return err
		}
	}
	return nil
}

// limited bounds what comes out of a decompressor, and tells damage in it from
// other errors.
type limited struct {
	in     io.Reader
	left   *int64 // bytes that may still come, of all files of an archive
	packed bool
}

func (l *limited) Read(b []byte) (int, error) {
	if *l.left <= 0 {
		return 0, Damaged(nil, "展開後のファイルが大きすぎます", "the file is too large after decompression")
	}
	n, err := l.in.Read(b[:min(int64(len(b)), *l.left)])
	*l.left -= int64(n)
	var file *os.PathError
	if err != nil && l.packed && !errors.Is(err, io.EOF) && !errors.As(err, &file) {
		err = Damaged(err, "圧縮されたファイルが壊れているか、途中で切れています", "the compressed file is damaged or ends too early")
	}
	return n, err //nolint:wrapcheck // io.Reader's own contract
}
