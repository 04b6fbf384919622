package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe/telescope"
)

// capture is a file to import, looked at beforehand.
type capture struct {
	name, path string
	order      int // in which it was named
	stdin      bool
	digest     [16]byte // of the capture's bytes after decompression; zero as long as nobody wanted to know
	size       int64    // of these; of a packed file 0 until then
	size0      int64    // of the file, for the progress bar
	first      time.Time
	in         io.Reader
}

// look opens each file once, to learn when it begins. Files are put in order of
// time, so that a day in pieces may be named in any order. Standard input is "-",
// and alone.
func look(names []string, stdin io.Reader) ([]capture, error) {
	if slices.Contains(names, "-") && len(names) > 1 {
		return nil, errors.New("standard input (-) can't be imported together with files: import it by itself")
	}
	list := make([]capture, 0, len(names))
	for i, n := range names {
		if n == "-" {
			return []capture{{name: "-", stdin: true, in: stdin}}, nil
		}
		c := capture{name: n, path: n, order: i}
		info, err := os.Stat(n)
		if err != nil {
			return nil, fmt.Errorf("%w: give the path of a capture (pcap, pcapng, .gz or .zst)", err)
		}
		if info.IsDir() {
			return nil, fmt.Errorf("%s is a folder: name the capture files in it, for example %s/*.pcap", n, n)
		}
		c.size0 = info.Size()
		var packed bool
		if c.first, packed = beginning(n); !packed {
			c.size = c.size0
		}
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b capture) int { return cmp.Compare(a.began(), b.began()) })
	for i := range list {
		list[i].order = i
	}
	return list, nil
}

// began is when its first frame was captured, in Unix nanoseconds; 0 if nobody knows.
func (c *capture) began() int64 {
	if c.first.IsZero() {
		return 0
	}
	return c.first.UnixNano()
}

// beginning is when the earliest of a file's first frames was captured whose dates
// are believed, zero if there is none, and whether the file is compressed.
func beginning(path string) (first time.Time, packed bool) {
	r, err := pcap.Open(path)
	if err != nil {
		return first, false
	}
	defer r.Close()
	var b packet.Block
	_ = r.ReadBlock(&b) // what is wrong with it is said when it is imported
	var dates telescope.Dates
	dates.Settle(&b)
	for _, f := range b.Frames {
		if at := time.Unix(0, f.Time); f.Time >= 0 && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first, r.Packed()
}

// known tells whether the digest is known.
func (c *capture) known() bool { return c.digest != [16]byte{} }

// know reads a file for its digest. A file cut in the middle still has an identity:
// that of its bytes.
func (c *capture) know(tell func(progress)) (err error) {
	if tell != nil {
		tell(progress{File: c.name, Step: "digest", Total: c.size0})
	}
	if c.digest, c.size, err = pcap.Digest(c.path); err != nil {
		c.digest, c.size, err = rawDigest(c.path)
	}
	return err
}

// sum is the digest of a capture that r has read as far as it can be.
func (c *capture) sum(r *pcap.Reader) (err error) {
	if c.digest, c.size, err = r.Sum(); err == nil || c.stdin {
		return nil // a stream cut in the middle is known by what came
	}
	c.digest, c.size, err = rawDigest(c.path)
	return err
}

func rawDigest(path string) (d [16]byte, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, 0, err
	}
	defer f.Close()
	h := xxh3.New()
	n, err = io.Copy(h, f)
	return h.Sum128().Bytes(), n, err
}

// open opens it to be read, with its digest when it is kept.
func (c *capture) open(kept bool) (*pcap.Reader, error) {
	var options []pcap.Option
	if kept {
		options = append(options, pcap.Summed)
	}
	if c.stdin {
		return pcap.NewReader(c.in, options...)
	}
	return pcap.Open(c.path, options...)
}
