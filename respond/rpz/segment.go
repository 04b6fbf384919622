package rpz

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
)

// A zone is kept in segments. Each is a set (NUMBER.set), whose serial it begins with, and
// the journal of what changed after it (NUMBER.log): one frame a serial. A set becomes
// visible when it gets its name, a frame when its sum stands behind it. The journal of a
// segment that is over is compressed (NUMBER.log.zst).
//
// A frame is its length, its sum, then the publication as JSON behind its own length, and
// the rules that went and came.
const frameHead = 4 + 8

// frameMost bounds the length of a frame that is believed.
const frameMost = 1 << 30

type segment struct {
	dir    string
	number int
}

func (g segment) path(end string) string {
	return filepath.Join(g.dir, fmt.Sprintf("%08d%s", g.number, end))
}

// segments are those in a folder, in order.
func segments(dir string) (list []segment, err error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range all {
		if name, is := strings.CutSuffix(e.Name(), ".set"); is {
			n, err := strconv.Atoi(name)
			if err != nil {
				return nil, fmt.Errorf("%s isn't a file of this zone: take it away", filepath.Join(dir, e.Name()))
			}
			list = append(list, segment{dir, n})
		}
	}
	slices.SortFunc(list, func(a, b segment) int { return a.number - b.number })
	return list, err
}

// begin makes the segment's set, with the publication that it is.
func (g segment) begin(p *Publication, s *Set) error {
	return durably(g.path(".set"), func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return err
		}
		head, err := json.Marshal(p)
		if err == nil {
			_, err = z.Write(append(binary.AppendUvarint(nil, uint64(len(head))), head...))
		}
		if err == nil {
			err = s.write(z)
		}
		return errors.Join(err, z.Close())
	})
}

// durably writes a file that is there whole or not at all, also after a power cut.
func durably(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".new"))
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// unpacked reads a compressed file. Its sums are checked by the way.
func unpacked(path string, read func(*bufio.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer z.Close()
	if err := read(bufio.NewReaderSize(z, 1<<16)); err != nil {
		return fmt.Errorf("%s: %w: restore it from a backup", path, err)
	}
	return nil
}

// set reads what the segment begins with; only the publication where head is all that is
// wanted.
func (g segment) set(head bool) (p Publication, s *Set, err error) {
	err = unpacked(g.path(".set"), func(r *bufio.Reader) error {
		b, err := sized(r)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(b, &p); err != nil || head {
			return err
		}
		if s, err = readSet(r); err != nil {
			return err
		}
		if _, err := r.ReadByte(); err != io.EOF {
			return errors.Join(errSet, err)
		}
		return nil
	})
	return p, s, err
}

// sized reads a length and so many bytes.
func sized(r *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil || n > notesMost {
		return nil, errors.Join(errSet, err)
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return b, err
}

// frame is one serial of a journal.
type frame struct {
	Publication
	size int64
	body []byte // of the rules: see delta
}

func appendFrame(p *Publication, d *Delta) ([]byte, error) {
	head, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(make([]byte, frameHead))
	b.Write(binary.AppendUvarint(nil, uint64(len(head))))
	b.Write(head)
	for _, s := range []*Set{d.Removed, d.Added} {
		if err := s.write(b); err != nil {
			return nil, err
		}
	}
	raw := b.Bytes()
	binary.BigEndian.PutUint32(raw, uint32(len(raw)-frameHead)) // #nosec G115 -- bounded by what makes a new segment
	binary.BigEndian.PutUint64(raw[4:], xxhash.Sum64(raw[frameHead:]))
	return raw, nil
}

// errTorn is a frame that ends too early, or whose sum is wrong.
var errTorn = errors.New("the journal is torn")

// readFrame reads the next one; io.EOF at the end.
func readFrame(r io.Reader) (f frame, err error) {
	var head [frameHead]byte
	if n, err := io.ReadFull(r, head[:]); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return f, io.EOF
		}
		return f, errTorn
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > frameMost {
		return f, errTorn
	}
	var b bytes.Buffer // grows with what is there, not with what the length promises
	if m, err := io.CopyN(&b, r, int64(n)); err != nil || m != int64(n) || xxhash.Sum64(b.Bytes()) != binary.BigEndian.Uint64(head[4:]) {
		return f, errTorn
	}
	body := b.Bytes()
	l, k := binary.Uvarint(body)
	if k <= 0 || l > uint64(len(body)-k) { // #nosec G115 -- k is in it
		return f, errTorn
	}
	f.size, f.body = frameHead+int64(n), body[k+int(l):]       // #nosec G115 -- bounded
	return f, json.Unmarshal(body[k:k+int(l)], &f.Publication) // #nosec G115 -- bounded
}

// delta reads the rules of a frame.
func (f *frame) delta(from uint32) (*Delta, error) {
	d := Delta{From: from, To: f.Serial}
	r := bufio.NewReader(bytes.NewReader(f.body))
	for _, to := range []**Set{&d.Removed, &d.Added} {
		var err error
		if *to, err = readSet(r); err != nil {
			return nil, err
		}
	}
	return &d, nil
}

// frames reads the journal, packed or not, until use wants no more. sound is how many
// bytes are whole frames; a torn one behind them is an errTorn.
func (g segment) frames(use func(*frame) (more bool, err error)) (sound int64, err error) {
	all := func(r io.Reader) error {
		for {
			f, err := readFrame(r)
			if err == io.EOF { //nolint:errorlint // readFrame gives it as it is
				return nil
			}
			if err != nil {
				return err
			}
			more, err := use(&f)
			if err != nil || !more {
				return err
			}
			sound += f.size
		}
	}
	err = unpacked(g.path(".log.zst"), func(r *bufio.Reader) error { return all(r) })
	if !errors.Is(err, fs.ErrNotExist) {
		return sound, err
	}
	f, err := os.Open(g.path(".log"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return sound, all(bufio.NewReaderSize(f, 1<<16))
}

// pack compresses the journal of a segment that is over.
func (g segment) pack() error {
	in, err := os.Open(g.path(".log"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	err = durably(g.path(".log.zst"), func(w io.Writer) error {
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return err
		}
		_, err = io.Copy(z, in)
		return errors.Join(err, z.Close())
	})
	if err != nil {
		return err
	}
	return os.Remove(g.path(".log"))
}

// remove takes the segment away: its set last, so that what is left is no segment.
func (g segment) remove() error {
	for _, end := range []string{".log", ".log.zst", ".set"} {
		if err := os.Remove(g.path(end)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
