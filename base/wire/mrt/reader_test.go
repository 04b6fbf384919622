package mrt_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"sakimori/base/wire/mrt"
)

// read reads all records of a stream: their bodies and where they began.
func read(src io.Reader) (bodies [][]byte, offsets []int64, err error) {
	r := mrt.NewReader(src)
	var rec mrt.Record
	for err = r.Next(&rec); err == nil; err = r.Next(&rec) {
		bodies, offsets = append(bodies, bytes.Clone(rec.Body)), append(offsets, rec.Offset)
	}
	if again := r.Next(&rec); !errors.Is(again, err) {
		err = errors.Join(err, again)
	}
	return bodies, offsets, err
}

// TestReader: a stream gives the same records however it comes in.
func TestReader(t *testing.T) {
	t.Parallel()
	data := slices.Concat(sample(), record(5, mrt.TypeBGP4MP, 4, make([]byte, 3<<20)), sample())
	want, at, err := read(bytes.NewReader(data))
	if !errors.Is(err, io.EOF) || len(want) != 2*19+1 || at[0] != 0 || at[1] != int64(12+len(peers)) {
		t.Fatalf("%d records, %v, %v", len(want), at[:2], err)
	}
	for name, src := range map[string]io.Reader{
		"a few bytes at once": iotest.HalfReader(bytes.NewReader(data)), "with the end": iotest.DataErrReader(bytes.NewReader(data)),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(data[:len(sample())])),
	} {
		got, offsets, err := read(src)
		if name == "byte by byte" {
			got, offsets = append(got, want[19:]...), append(offsets, at[19:]...)
		}
		if !errors.Is(err, io.EOF) || !slices.EqualFunc(want, got, bytes.Equal) || !slices.Equal(at, offsets) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
}

// TestReaderDamage: what stands before damage is given; then the error says where and
// what, in both languages.
func TestReaderDamage(t *testing.T) {
	t.Parallel()
	good := record(1, mrt.TypeBGP4MP, 4, []byte("ok"))
	long := record(1, mrt.TypeBGP4MP, 4)
	be.PutUint32(long[8:], mrt.MaxRecord+1)
	broken := errors.New("the disk")
	for name, c := range map[string]struct {
		src    io.Reader
		at     int64
		is     error
		en, ja string
	}{
		"cut in a body":   {bytes.NewReader(append(good, good[:13]...)), 14, io.ErrUnexpectedEOF, "cut", "途中"},
		"cut in a header": {bytes.NewReader(append(good, good[:5]...)), 14, io.ErrUnexpectedEOF, "cut", "途中"},
		"too long":        {bytes.NewReader(append(good, long...)), 14, mrt.ErrLength, "16777217", "16777217"},
		"disk":            {io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken)), 14, broken, "the disk", "the disk"},
	} {
		bodies, _, err := read(c.src)
		var e *mrt.Error
		if len(bodies) != 1 || !errors.As(err, &e) || !errors.Is(err, c.is) || e.Offset != c.at || !strings.Contains(e.Error(), c.en) || !strings.Contains(e.JA(), c.ja) {
			t.Errorf("%s: %d records, %v", name, len(bodies), err)
		}
	}
	if _, _, err := read(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}

// TestReaderMemory: a length that a file only claims costs no memory.
func TestReaderMemory(t *testing.T) {
	head := record(1, mrt.TypeBGP4MP, 4)
	be.PutUint32(head[8:], mrt.MaxRecord)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, _, err := read(bytes.NewReader(append(head, make([]byte, 100)...)))
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, io.ErrUnexpectedEOF) || taken > 4<<20 {
		t.Errorf("%d bytes for a file of 112, %v", taken, err)
	}
}
