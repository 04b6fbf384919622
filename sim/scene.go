package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// FrameWriter takes Ethernet frames in order of time. The capture writer of
// base/wire/pcap is one.
type FrameWriter interface {
	// WriteFrame takes one frame, captured at ts (Unix nanoseconds). data is
	// reused after the call.
	WriteFrame(ts int64, data []byte) error
}

// Capture writes itself and tells what it wrote. Scene and Bulk are captures.
type Capture interface {
	Write(w FrameWriter) (Truth, error)
}

// Scene is a stretch of time in the life of a telescope.
type Scene struct {
	Name     string
	Seed     uint64
	Start    time.Time
	Duration time.Duration
	Dark     []netip.Prefix // at least one of IPv4
	Own      []netip.Prefix // the operator's own subscribers
	Research []netip.Prefix // where research scanners send from; only told, in the truth
	Verified []netip.Prefix // of Own: no Forged bears an address of it; only told, too
	Actors   []Actor
	Surges   []Surge     // what the actors add up to, as the author of the scene knows
	Label    func(Label) // called for each packet when not nil, for tests
}

// Note is written into every Truth.
const Note = "synthetic: every packet is invented, no address stands for anybody"

// Actor is one party of a scene, or many of a kind. The types of this package
// that describe senders are actors.
type Actor interface {
	// streams are the actor's senders. r is the actor's own randomness.
	streams(n *network, r *rng) ([]stream, error)
}

// stream is one sender: it makes one packet at a time.
type stream interface {
	// due is when the first packet leaves (Unix nanoseconds), past the end for never.
	due() int64
	// send makes the packet that is due now and says when the next one is.
	send(now int64, f *frame) int64
}

// never is past the end of every scene.
const never = int64(1) << 62

// network is what all actors share.
type network struct {
	dark, own  space
	start, end int64 // Unix nanoseconds
	seed       uint64
}

// Write makes the scene. The memory it takes grows with the number of senders
// and of distinct (source, port), not with packets. A scene that can't be made
// is an error before anything is written.
func (s Scene) Write(w FrameWriter) (Truth, error) {
	n, streams, err := s.cast()
	if err != nil {
		return Truth{}, fmt.Errorf("scene %q: %w", s.Name, err)
	}
	l := newLedger(&n.dark, &n.own)
	l.truth.Scene, l.truth.Note, l.truth.Seed, l.truth.Surges = s.Name, Note, s.Seed, s.Surges
	l.truth.Research, l.truth.Verified = s.Research, s.Verified
	q := newQueue(streams, n.end)
	f := &frame{part: make([]byte, 0, maxFrame)}
	last := int64(0)
	for len(q) > 0 {
		now := q[0].at
		f.mark = mark{}
		next := streams[q[0].who].send(now, f)
		class := l.add(now, &f.mark)
		if s.Label != nil {
			s.Label(label(now, &f.mark, class))
		}
		if err := w.WriteFrame(now, f.buf[:f.n]); err != nil {
			return Truth{}, fmt.Errorf("writing frame %d of scene %q: %w", l.truth.Packets, s.Name, err)
		}
		last = now
		if next < now {
			next = now
		}
		q = q.reschedule(next, n.end)
	}
	return l.finish(last), nil
}

// cast checks the scene and calls the actors on.
func (s Scene) cast() (*network, []stream, error) {
	if s.Duration <= 0 || s.Start.Year() < 1980 || s.Start.Year() > 2200 {
		return nil, nil, errors.New("it needs a start between 1980 and 2200 and a duration above zero")
	}
	n := &network{start: s.Start.UnixNano(), end: s.Start.Add(s.Duration).UnixNano(), seed: s.Seed}
	var err error
	if n.dark, err = newSpace("dark", s.Dark); err != nil {
		return nil, nil, err
	}
	if n.own, err = newSpace("own", s.Own); err != nil {
		return nil, nil, err
	}
	if n.dark.n4 == 0 {
		return nil, nil, errors.New("it needs a dark prefix of IPv4")
	}
	var all []stream
	for i, a := range s.Actors {
		r := rng(mix(s.Seed, uint64(i)+1))
		some, err := a.streams(n, &r)
		if err != nil {
			return nil, nil, fmt.Errorf("actor %d (%T): %w", i, a, err)
		}
		all = append(all, some...)
	}
	return n, all, nil
}

// queue holds the streams by the time of their next packet: a binary heap, ties
// in the order of the cast, so that a seed always gives the same capture.
type queue []turn

type turn struct {
	at  int64
	who int32
}

func newQueue(streams []stream, end int64) queue {
	q := make(queue, 0, len(streams))
	for i, s := range streams {
		if at := s.due(); at < end {
			q = append(q, turn{at, int32(i)})
		}
	}
	for i := len(q)/2 - 1; i >= 0; i-- {
		q.sink(i)
	}
	return q
}

// reschedule moves the first in the queue to its next time, or out of it.
func (q queue) reschedule(next, end int64) queue {
	if next < end {
		q[0].at = next
	} else {
		q[0] = q[len(q)-1]
		q = q[:len(q)-1]
	}
	if len(q) > 1 {
		q.sink(0)
	}
	return q
}

func (q queue) sink(i int) {
	t := q[i]
	for {
		c := 2*i + 1
		if c >= len(q) {
			break
		}
		if c+1 < len(q) && q[c+1].before(q[c]) {
			c++
		}
		if !q[c].before(t) {
			break
		}
		q[i] = q[c]
		i = c
	}
	q[i] = t
}

func (t turn) before(u turn) bool { return t.at < u.at || t.at == u.at && t.who < u.who }

// source turns a scene's address into the hot path's form.
func source(a netip.Addr) (packet.Addr, error) {
	if !a.IsValid() || a.Zone() != "" {
		return packet.Addr{}, errors.New("it needs a source address")
	}
	return packet.FromNetip(a), nil
}
