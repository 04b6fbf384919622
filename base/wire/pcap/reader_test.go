package pcap_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// seen is a frame without its place in the block.
type seen struct {
	Time  int64
	Orig  uint32
	Link  packet.LinkType
	Iface uint16
	Data  string
}

// readAll reads a capture from memory to its end; io.EOF counts as no error.
func readAll(raw []byte) ([]seen, *pcap.Reader, error) {
	r, err := pcap.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, err
	}
	all, err := rest(r)
	return all, r, err
}

func rest(r *pcap.Reader) ([]seen, error) {
	var b packet.Block
	var all []seen
	for {
		if err := r.ReadBlock(&b); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return all, err
		}
		for i, f := range b.Frames {
			all = append(all, seen{f.Time, f.Orig, f.Link, f.Iface, string(b.Bytes(i))})
		}
	}
}

// written is a capture of n frames of different lengths, a second apart.
func written(t testing.TB, n int) ([]byte, []seen) {
	t.Helper()
	var out bytes.Buffer
	w, err := pcap.NewWriter(&out, packet.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	var all []seen
	for i := range n {
		data := bytes.Repeat([]byte{byte(i)}, i%1500)
		if err := w.WriteFrame(int64(i)*1e9+int64(i), data); err != nil {
			t.Fatal(err)
		}
		all = append(all, seen{int64(i)*1e9 + int64(i), uint32(len(data)), packet.LinkEthernet, 0, string(data)})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), all
}

func zipped(t testing.TB, raw []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstandard(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(raw, nil)
}

func TestWhatIsWrittenIsReadInEveryWrapping(t *testing.T) {
	raw, want := written(t, 20000)
	half := len(raw) / 3
	for name, file := range map[string][]byte{
		"plain":            raw,
		"gzip":             zipped(t, raw),
		"gzip, two parts":  append(zipped(t, raw[:half]), zipped(t, raw[half:])...),
		"zstd":             zstandard(t, raw),
		"zstd, two frames": append(zstandard(t, raw[:half]), zstandard(t, raw[half:])...),
	} {
		got, r, err := readAll(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %.2000s", name, d)
		}
		if r.Offset() != int64(len(raw)) || r.Frames() != 20000 || r.Consumed() != int64(len(file)) {
			t.Errorf("%s: offset %d, frames %d, consumed %d; want %d, 20000, %d", name, r.Offset(), r.Frames(), r.Consumed(), len(raw), len(file))
		}
	}
}

// TestSkipResumes reads from any frame on, at sizes around the block limits.
func TestSkipResumes(t *testing.T) {
	raw, want := written(t, 9000)
	for _, n := range []int{0, 1, 350, 4095, 4096, 4097, 8192, 8999, 9000, 9001} {
		for name, file := range map[string][]byte{"plain": raw, "gzip": zipped(t, raw)} {
			r, err := pcap.NewReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			r.Skip(uint64(n))
			got, err := rest(r)
			if err != nil {
				t.Fatal(err)
			}
			tail := want[min(n, len(want)):]
			if len(got) != len(tail) || len(tail) > 0 && !cmp.Equal(got[0], tail[0]) {
				t.Errorf("%s: skip %d leaves %d frames, want %d", name, n, len(got), len(tail))
			}
			if r.Frames() != uint64(len(want)) {
				t.Errorf("%s: skip %d ends at frame %d", name, n, r.Frames())
			}
		}
	}
	// Frames without a byte: more of them than a block may hold lie in one read.
	var empty bytes.Buffer
	w, _ := pcap.NewWriter(&empty, packet.LinkRaw)
	for i := range 20000 {
		if err := w.WriteFrame(int64(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	w.Flush()
	r, err := pcap.NewReader(&empty)
	if err != nil {
		t.Fatal(err)
	}
	r.Skip(10000)
	if got, err := rest(r); err != nil || len(got) != 10000 || got[0].Time != 10000 {
		t.Errorf("of 20000 empty frames %d remain (%v)", len(got), err)
	}
}

// TestCutAnywhere cuts captures at each byte: what stood whole before the cut is
// delivered, and the error names the record that isn't whole.
func TestCutAnywhere(t *testing.T) {
	raw, want := written(t, 40)
	ends := map[int]int{24: 0} // offset after a record -> frames before it
	at := 24
	for i, f := range want {
		at += 16 + len(f.Data)
		ends[at] = i + 1
	}
	frames, last := 0, 24
	for cut := range len(raw) + 1 {
		if n, ok := ends[cut]; ok {
			frames, last = n, cut
		}
		got, r, err := readAll(raw[:cut])
		if cut < 24 {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			continue
		}
		if d := cmp.Diff(want[:frames], got, cmp.Transformer("nil", func(s []seen) []seen { return append([]seen{}, s...) })); d != "" {
			t.Fatalf("cut at %d: %s", cut, d)
		}
		if r.Offset() != int64(last) {
			t.Fatalf("cut at %d: offset %d, want %d", cut, r.Offset(), last)
		}
		if cut == last {
			if err != nil {
				t.Fatalf("cut at %d, a whole record: %v", cut, err)
			}
			continue
		}
		var bad *pcap.Error
		if !errors.As(err, &bad) || bad.Offset != int64(last) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d: %v, want an error at byte %d", cut, err, last)
		}
	}
}

func TestCutCompressedKeepsWhatCameBefore(t *testing.T) {
	raw, want := written(t, 3000)
	for name, file := range map[string][]byte{"gzip": zipped(t, raw), "zstd": zstandard(t, raw)} {
		got, _, err := readAll(file[:len(file)*2/3])
		var bad *pcap.Error
		if !errors.As(err, &bad) || len(got) == 0 || len(got) == len(want) || !cmp.Equal(got, want[:len(got)]) {
			t.Errorf("%s: %d frames of %d, %v", name, len(got), len(want), err)
		}
	}
}

func TestHostileLengths(t *testing.T) {
	raw, want := written(t, 3)
	for _, size := range []uint32{pcap.MaxFrame + 1, 1 << 31, 1<<32 - 1} {
		record := make([]byte, 16)
		binary.LittleEndian.PutUint32(record[8:], size)
		var b packet.Block
		r, err := pcap.NewReader(io.MultiReader(bytes.NewReader(raw), bytes.NewReader(record), endless{}))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for err = r.ReadBlock(&b); err == nil; err = r.ReadBlock(&b) {
			n += len(b.Frames)
		}
		var bad *pcap.Error
		if !errors.As(err, &bad) || bad.Offset != int64(len(raw)) || n != len(want) {
			t.Errorf("length %d: %d frames, %v", size, n, err)
		}
		if len(b.Buf) > 2*pcap.MaxFrame {
			t.Errorf("length %d: the buffer grew to %d", size, len(b.Buf))
		}
		if bad != nil && (bad.JA() == "" || !strings.Contains(bad.Error(), "damaged")) {
			t.Errorf("length %d: said %q, %q", size, bad, bad.JA())
		}
	}
	// The longest that is allowed, and a snapshot length that lies.
	var out bytes.Buffer
	out.Write(raw[:16])
	out.Write([]byte{1, 0, 0, 0, 1, 0, 0, 0})
	record := make([]byte, 16+pcap.MaxFrame)
	binary.LittleEndian.PutUint32(record[8:], pcap.MaxFrame)
	out.Write(record)
	out.Write(raw[24:])
	if got, _, err := readAll(out.Bytes()); err != nil || len(got) != 4 || len(got[0].Data) != pcap.MaxFrame {
		t.Errorf("the longest frame: %d frames, %v", len(got), err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func TestNotACapture(t *testing.T) {
	raw, _ := written(t, 3)
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":  {nil, "empty"},
		"short":  {[]byte{0xd4, 0xc3}, "too short"},
		"text":   {[]byte("src,dst,port\n"), "neither pcap nor pcapng"},
		"bzip2":  {[]byte("BZh91AY&SY"), "decompress it first"},
		"xz":     {[]byte("\xfd7zXZ\x00"), "decompress it first"},
		"twice":  {zipped(t, zipped(t, raw)), "compressed twice"},
		"header": {raw[:20], "inside its header"},
	} {
		_, _, err := readAll(c.file)
		var bad *pcap.Error
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if _, err := pcap.Open(t.TempDir()); err == nil {
		t.Error("a folder was opened as a capture")
	}
}

// TestByteOrdersAndResolutions reads one record in each kind of pcap file.
func TestByteOrdersAndResolutions(t *testing.T) {
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for magic, want := range map[uint32]int64{
			0xa1b2c3d4: 4294967295_000007000, 0xa1b23c4d: 4294967295_000000007, 0xa1b2cd34: 4294967295_000007000,
		} {
			file := order.AppendUint32(nil, magic)
			file = append(file, make([]byte, 12)...)
			file = order.AppendUint32(file, 96)
			file = order.AppendUint32(file, 0x34000071) // FCS bits above link type 113
			file = order.AppendUint32(file, 1<<32-1)    // the last second that pcap can tell
			file = order.AppendUint32(file, 7)
			file = order.AppendUint32(file, 2)
			file = order.AppendUint32(file, 60)
			if magic == 0xa1b2cd34 {
				file = append(file, 1, 2, 3, 4, 5, 6, 7, 8)
			}
			file = append(file, "ab"...)
			got, r, err := readAll(file)
			if d := cmp.Diff([]seen{{want, 60, packet.LinkSLL, 0, "ab"}}, got); err != nil || d != "" {
				t.Errorf("%v %x: %v %s", order, magic, err, d)
				continue
			}
			if d := cmp.Diff([]pcap.Interface{{Link: packet.LinkSLL, Snaplen: 96}}, r.Interfaces()); d != "" {
				t.Error(d)
			}
		}
	}
}

// TestPipeDoesNotWait delivers a frame before the next one is written.
func TestPipeDoesNotWait(t *testing.T) {
	raw, want := written(t, 3)
	in, out := io.Pipe()
	step := make(chan struct{})
	go func() {
		at := 24
		out.Write(raw[:at])
		for _, f := range want {
			out.Write(raw[at : at+16+len(f.Data)])
			at += 16 + len(f.Data)
			<-step
		}
		out.Close()
	}()
	r, err := pcap.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	var b packet.Block
	for i := range want {
		if err := r.ReadBlock(&b); err != nil || len(b.Frames) != 1 {
			t.Fatalf("frame %d: %d frames, %v", i, len(b.Frames), err)
		}
		step <- struct{}{}
	}
	if err := r.ReadBlock(&b); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestDigestIsOfTheContent: a copy with another name or compression is the same,
// one with another bit isn't.
func TestDigestIsOfTheContent(t *testing.T) {
	raw, _ := written(t, 2000)
	other := bytes.Clone(raw)
	other[len(other)-1] ^= 1
	dir := t.TempDir()
	digest := func(name string, file []byte) [16]byte {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		d, size, err := pcap.Digest(path)
		if err != nil || size != int64(len(raw)) {
			t.Fatalf("%s: %d bytes, %v", name, size, err)
		}
		for _, blocks := range []int{0, 1, 1000} { // wherever a reader stops
			r, err := pcap.Open(path, pcap.Summed)
			if err != nil {
				t.Fatal(err)
			}
			var b packet.Block
			for range blocks {
				_ = r.ReadBlock(&b) // at the end, too
			}
			if s, n, err := r.Sum(); s != d || n != size || err != nil {
				t.Errorf("%s: after %d blocks the sum is %x of %d bytes, %v", name, blocks, s, n, err)
			}
			if err := r.ReadBlock(&b); !errors.Is(err, io.EOF) {
				t.Errorf("%s: a frame after the sum: %v", name, err)
			}
			_ = r.Close() // as above
		}
		return d
	}
	want := digest("a.pcap", raw)
	for name, file := range map[string][]byte{"b.cap": raw, "a.pcap.gz": zipped(t, raw), "a.zst": zstandard(t, raw)} {
		if digest(name, file) != want {
			t.Errorf("%s has another digest", name)
		}
	}
	if digest("other.pcap", other) == want {
		t.Error("another file has the same digest")
	}
	cut := filepath.Join(dir, "cut.gz")
	if err := os.WriteFile(cut, zipped(t, raw)[:500], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := pcap.Digest(cut); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut file: %v", err)
	}
	if r, err := pcap.Open(filepath.Join(dir, "a.pcap")); err != nil {
		t.Fatal(err)
	} else if _, _, err := r.Sum(); err == nil {
		t.Error("a sum that nobody asked for")
	}
}

func TestWriterRefusesWhatPcapCannotHold(t *testing.T) {
	w, err := pcap.NewWriter(io.Discard, packet.LinkRaw)
	if err != nil {
		t.Fatal(err)
	}
	if w.WriteFrame(-1, nil) == nil || w.WriteFrame(1<<32*1e9, nil) == nil || w.WriteFrame(0, make([]byte, 262145)) == nil {
		t.Error("a frame was written that no reader could read back")
	}
}

// TestAnyReadSizes: how the stream arrives doesn't change what is read.
func TestAnyReadSizes(t *testing.T) {
	raw, want := written(t, 300)
	rapid.Check(t, func(t *rapid.T) {
		r, err := pcap.NewReader(&pieces{raw, rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 50).Draw(t, "sizes"), 0})
		if err != nil {
			t.Fatal(err)
		}
		got, err := rest(r)
		if err != nil || !cmp.Equal(want, got) {
			t.Fatalf("%d frames, %v", len(got), err)
		}
	})
}

type pieces struct {
	left  []byte
	sizes []int
	i     int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.sizes[p.i%len(p.sizes)])], p.left)
	p.left, p.i = p.left[n:], p.i+1
	return n, nil
}
