package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe/telescope"
	"sakimori/observe/telescope/record"
)

// merged is the input of an import: captures as one stream in the order of time.
// Of those that overlap, because several sensors wrote them, the earliest frame
// comes first, and of the same time that of the file that begins first. One that
// overlaps with none is handed on block by block, as it is read.
//
// Its place in the stream is the place in each file, in the imports' records: they
// are saved together. So it goes on from there as if it had never stopped.
type merged struct {
	files []*source // all, by their beginnings
	next  int       // the first of these that hasn't begun
	open  []*source // that have begun and not ended, in the same order
	kept  bool      // digests are wanted
	tell  func()    // hears that a file has ended, before it is closed
	now   func() time.Time
}

// mostOpen is how many captures may overlap: each takes up to two megabytes.
const mostOpen = 64

// source is one file of it.
type source struct {
	*capture
	imp   *record.Import
	alone bool  // there is no other: what it holds is judged where it is counted
	fresh bool  // what is new of it isn't in a checkpoint
	fault error // why it can't be read any further

	r     *pcap.Reader
	dates telescope.Dates
	block packet.Block // what was read last, in which
	at    int          // frames before this one are handed on
	skip  uint64       // so many frames were counted before
	err   error        // what reading ended with
}

// whole tells whether all of it is counted, by an earlier run of the same command.
func (s *source) whole() bool { return !s.imp.Finished.IsZero() }

// begin opens the file.
func (s *source) begin(kept bool) (err error) {
	if s.r, err = s.capture.open(kept); err != nil {
		return err
	}
	if s.alone {
		s.r.Skip(s.imp.Frames)
		return nil
	}
	s.skip = s.imp.Frames // they are read again, as the dates of those after them are judged by theirs
	return nil
}

// fill has the next frame stand at s.at of the block.
func (s *source) fill() error {
	for s.at == len(s.block.Frames) {
		if s.err != nil {
			return s.err
		}
		if s.err = s.r.ReadBlock(&s.block); s.err == nil {
			s.dates.Take(&s.block)
		} else {
			s.dates.Settle(&s.block)
		}
		n := min(s.skip, uint64(len(s.block.Frames)))
		s.at, s.skip = int(n), s.skip-n //nolint:gosec // frames of a block
	}
	return nil
}

// due is when its next frame was captured; one whose date isn't believed is due at once.
func (s *source) due() int64 { return s.block.Frames[s.at].Time }

// rest hands on all that is left of the block.
func (s *source) rest(b *packet.Block) {
	*b, s.block = s.block, *b
	b.Frames = b.Frames[s.at:]
	s.block.Frames, s.at = s.block.Frames[:0], 0
	s.imp.Frames, s.fresh = s.imp.Frames+uint64(len(b.Frames)), true
}

// A block of merged frames is about as large as one that is read.
const (
	mergedBytes  = 256 << 10
	mergedFrames = 4096
)

// full tells whether b takes no more.
func full(b *packet.Block) bool { return len(b.Frames) >= mergedFrames || len(b.Buf) >= mergedBytes }

// hand copies the next frames to b, as long as they are due by a time.
func (s *source) hand(b *packet.Block, by int64) {
	for s.at < len(s.block.Frames) && s.due() <= by && !full(b) {
		f, off := s.block.Frames[s.at], uint32(len(b.Buf)) //nolint:gosec // a block
		b.Buf = append(b.Buf, s.block.Buf[f.Off:f.Off+f.Len]...)
		f.Off = off
		b.Frames = append(b.Frames, f)
		s.at++
		s.imp.Frames, s.fresh = s.imp.Frames+1, true
	}
}

// ReadBlock fills b with the next frames, as pcap.Reader does. A file that can't be
// read to its end only ends there; the error is in its fault.
func (m *merged) ReadBlock(b *packet.Block) error {
	b.Buf, b.Frames = b.Buf[:0], b.Frames[:0]
	for !full(b) {
		first, by, err := m.choose()
		switch {
		case err != nil:
			return err
		case first == nil && len(b.Frames) == 0:
			return io.EOF
		case first == nil:
			return nil
		case first.alone:
			if err := first.r.ReadBlock(b); err != nil {
				first.err = err
				continue
			}
			first.imp.Frames, first.fresh = first.imp.Frames+uint64(len(b.Frames)), true
			return nil
		case len(m.open) == 1 && len(b.Frames) == 0 && m.before(first.block.Frames[first.at:]):
			first.rest(b)
			return nil
		}
		first.hand(b, by)
	}
	return nil
}

// before tells whether frames were captured before the next file begins.
func (m *merged) before(frames []packet.Frame) bool {
	if m.next == len(m.files) {
		return true
	}
	begins := m.files[m.next].began()
	return !slices.ContainsFunc(frames, func(f packet.Frame) bool { return f.Time >= begins })
}

// choose gives the file whose frame is next, and until when its frames are; nil at
// the end of all. It opens those that begin by then, and closes those that end.
func (m *merged) choose() (first *source, by int64, err error) {
	for {
		if err := m.settle(); err != nil {
			return nil, 0, err
		}
		first, by = m.earliest()
		switch {
		case m.next == len(m.files):
			return first, by, nil
		case first != nil && (first.alone || first.due() < m.files[m.next].began()):
			return first, min(by, m.files[m.next].began()-1), nil
		}
		s := m.files[m.next]
		m.next++
		if s.whole() {
			continue
		}
		if len(m.open) == mostOpen {
			return nil, 0, fmt.Errorf("more than %d captures overlap in time: join some of them first, with mergecap -w joined.pcapng FILE…", mostOpen)
		}
		if err := s.begin(m.kept); err != nil && !s.broken(err) {
			return nil, 0, err
		} else if err == nil {
			m.open = append(m.open, s)
		}
	}
}

// earliest is the open file whose frame is next, and how long it stays so; of the
// same time the file that begins first.
func (m *merged) earliest() (first *source, by int64) {
	by = 1<<63 - 1
	if len(m.open) == 0 {
		return nil, by
	}
	if first = m.open[0]; first.alone {
		return first, by
	}
	place := 0
	for i, s := range m.open {
		if s.due() < first.due() {
			first, place = s, i
		}
	}
	for i, s := range m.open {
		switch due := s.due(); {
		case i < place:
			by = min(by, due-1)
		case i > place:
			by = min(by, due)
		}
	}
	return first, by
}

// settle closes the files that have ended, and fills the others.
func (m *merged) settle() error {
	for i := 0; i < len(m.open); {
		s := m.open[i]
		err := s.err
		if !s.alone {
			err = s.fill()
		}
		if err == nil {
			i++
			continue
		}
		m.tell()
		m.open = slices.Delete(m.open, i, i+1)
		if err := m.close(s, err); err != nil {
			return err
		}
	}
	return nil
}

// close ends a file with what its reading ended with.
func (m *merged) close(s *source, end error) error {
	defer s.r.Close()
	if m.kept {
		if err := s.sum(s.r); err != nil {
			return err
		}
		s.imp.Digest, s.imp.Size = s.digest, s.size
	}
	switch s.fresh = true; {
	case errors.Is(end, io.EOF) && !errors.Is(end, io.ErrUnexpectedEOF):
		s.imp.Finished = m.now()
		return nil
	case s.broken(end): // read again, it will be broken again
		return nil
	}
	return fmt.Errorf("%s: %w", s.name, end)
}

// broken notes that a capture is damaged, unless it is something else.
func (s *source) broken(err error) bool {
	if _, is := errors.AsType[*pcap.Error](err); !is {
		return false
	}
	s.fault = fmt.Errorf("%s: %w", s.name, err)
	return true
}

// Close closes what is open.
func (m *merged) Close() {
	for _, s := range m.open {
		_ = s.r.Close() // it was only read
	}
}

// progress is how far the open files are.
func (m *merged) progress() progress {
	p := progress{Step: "import"}
	names := make([]string, 0, len(m.open))
	for _, s := range m.open {
		names = append(names, s.name)
		p.Done, p.Total, p.Packets = p.Done+s.r.Consumed(), p.Total+s.size0, p.Packets+s.imp.Frames
	}
	p.File = strings.Join(names, " + ")
	return p
}
