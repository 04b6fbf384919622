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
)

// capture is a file to import, looked at beforehand.
type capture struct {
	name, path string
	order      int // in which it was named
	stdin      bool
	digest     [16]byte // of the capture's bytes after decompression; of stdin at its end
	size       int64    // of these
	size0      int64    // of the file, for the progress bar
	first      time.Time
	sum        *xxh3.Hasher
	in         io.Reader
}

// look opens each file once: to learn its digest when captures are kept, and
// when it begins. Files are put in order of time, so that a day in pieces may be
// named in any order. Standard input is "-", and alone.
func look(names []string, stdin io.Reader, digests bool, tell func(progress)) ([]capture, error) {
	if slices.Contains(names, "-") && len(names) > 1 {
		return nil, errors.New("standard input (-) can't be imported together with files: import it by itself")
	}
	list := make([]capture, 0, len(names))
	for i, n := range names {
		if n == "-" {
			return []capture{{name: "-", stdin: true, in: stdin, sum: xxh3.New()}}, nil
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
		if digests {
			if tell != nil {
				tell(progress{File: n, Step: "digest", Total: c.size0})
			}
			if c.digest, c.size, err = pcap.Digest(n); err != nil {
				// A file cut in the middle still has an identity: that of its bytes.
				if c.digest, c.size, err = rawDigest(n); err != nil {
					return nil, err
				}
			}
		}
		c.first = firstTime(n)
		list = append(list, c)
	}
	slices.SortStableFunc(list, func(a, b capture) int { return cmp.Compare(a.first.UnixNano(), b.first.UnixNano()) })
	for i := range list {
		list[i].order = i
	}
	return list, nil
}

// firstTime is when the first frame of a file was captured; zero if there is none.
func firstTime(path string) time.Time {
	r, err := pcap.Open(path)
	if err != nil {
		return time.Time{}
	}
	defer r.Close()
	var b packet.Block
	_ = r.ReadBlock(&b) // what is wrong with it is said when it is imported
	if len(b.Frames) == 0 {
		return time.Time{}
	}
	return time.Unix(0, b.Frames[0].Time)
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

func (c capture) open() (*pcap.Reader, error) {
	if c.stdin {
		return pcap.NewReader(io.TeeReader(c.in, c.sum))
	}
	return pcap.Open(c.path)
}
