package route

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"sakimori/base/wire/bgp"
	"sakimori/observe/route/stream"
)

// lineMost bounds a line of RIS Live: a message of 65,535 bytes in hexadecimal, and the
// same in words.
const lineMost = 2 << 20

// lineError says at which byte of the lines something can't be read.
type lineError struct {
	offset int64
	err    error
}

func (e *lineError) Error() string {
	return fmt.Sprintf("lines unreadable from byte %d: %v", e.offset, e.err)
}
func (e *lineError) Unwrap() error { return e.err }

var (
	errServer  = errors.New("ris: the server told an error")
	errForm    = errors.New("neither MRT nor a capture nor lines of RIS Live")
	errTooLong = errors.New("a line of more than 2 MiB")
)

// lines reads lines as RIS Live sends them.
func (f *reading) lines(ctx context.Context, r io.Reader) error {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), lineMost)
	offset := int64(0)
	var p stream.Parser
	for s.Scan() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read routes: %w", err)
		}
		if line := s.Bytes(); len(line) > 0 {
			if err := f.line(&p, line); err != nil {
				f.wrong(err)
			}
		}
		offset += int64(len(s.Bytes())) + 1
	}
	err := s.Err()
	switch {
	case err == nil && f.file.First == 0:
		return errForm
	case errors.Is(err, bufio.ErrTooLong):
		err = errTooLong
	}
	if err != nil {
		return fmt.Errorf("read routes: %w", &lineError{offset, err})
	}
	return nil
}

// line takes one line.
func (f *reading) line(p *stream.Parser, b []byte) error {
	var m stream.Message
	if err := p.Parse(b, &m); err != nil {
		return err
	}
	switch m.Kind {
	case stream.Failed:
		return errServer
	case stream.Other:
		f.file.Skipped++
		return nil
	case stream.BGP, stream.State:
	}
	f.at(m.At)
	t := f.table
	n := t.PeerOf(Key{Feed: cmp.Or(m.Peer.Host, f.o.Feed), Address: m.Peer.Address, AS: m.Peer.AS}, m.At)
	if m.Kind == stream.State {
		f.file.States++
		if m.Up {
			t.Up(n, m.At, netip.Addr{})
		} else {
			t.Down(n, m.At)
		}
		return nil
	}
	for _, whole := range m.BGP {
		_ = t.Update(n, bgp.Options{AS4: m.AS4}, whole, m.At) // counted there
	}
	return nil
}
