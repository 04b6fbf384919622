//go:build linux

package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

// capture is the generated file and what is true of it.
type capture struct {
	path  string
	size  int64
	truth sim.Truth
	read  time.Duration // to read the file once more from the page cache
}

// bulk is the file of the benchmark: 10 million packets of 300,000 sources with
// a million event keys that are all alive at once, or a smaller likeness.
func bulk(packets uint64) sim.Bulk {
	keys := min(1_000_000, int(packets/10))
	return sim.Zipf(packets, min(300_000, keys*3/10), keys, 1)
}

// made is the capture, made anew when there is none of these sources.
func (o *options) made(packets uint64) (*capture, error) {
	sum, err := digest(filepath.Join(o.root, "sim", "*.go"), filepath.Join(o.root, "base", "wire", "pcap", "writer.go"))
	if err != nil {
		return nil, err
	}
	b := bulk(packets)
	name := filepath.Join(o.dir, fmt.Sprintf("zipf-%d-", b.Packets))
	c := &capture{path: name + sum + ".pcap"}
	facts := c.path + ".json"
	if err := c.known(facts); err != nil {
		if err := forget(name); err != nil {
			return nil, err
		}
		o.say("generating %d packets of %d sources with %d event keys", b.Packets, b.Sources, b.Keys)
		if err := c.generate(b, facts); err != nil {
			return nil, err
		}
	}
	for range 2 { // the first fills the page cache
		if c.read, c.size, err = readThrough(c.path); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *capture) known(facts string) error {
	b, err := os.ReadFile(facts)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.truth); err != nil {
		return err
	}
	_, err = os.Stat(c.path)
	return err
}

func (c *capture) generate(b sim.Bulk, facts string) (err error) {
	f, err := os.Create(c.path + ".new")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := pcap.NewWriter(f, packet.LinkEthernet)
	if err != nil {
		return err
	}
	if c.truth, err = b.Write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	c.truth.Scanners, c.truth.Victims, c.truth.Ports = nil, nil, nil // many, and not compared here
	text, err := json.Marshal(c.truth)
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), c.path); err != nil {
		return err
	}
	return os.WriteFile(facts, text, 0o644)
}

// readThrough reads a file as an importer does, a megabyte at a time.
func readThrough(path string) (time.Duration, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	began := time.Now()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return time.Since(began), n, err
}

// forget deletes what was generated from older sources: all that begins so.
func forget(name string) error {
	old, err := filepath.Glob(name + "*")
	for _, f := range old {
		err = errors.Join(err, os.RemoveAll(f))
	}
	return err
}

// digest names the content of files, so that what was made from older ones
// isn't used any more.
func digest(patterns ...string) (string, error) {
	h := xxh3.New()
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			return "", fmt.Errorf("no files %s: run it inside the repository", p)
		}
		slices.Sort(files)
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return "", err
			}
			_, _ = h.Write(b) // never fails
		}
	}
	sum := h.Sum128().Bytes()
	return hex.EncodeToString(sum[:4]), nil
}
