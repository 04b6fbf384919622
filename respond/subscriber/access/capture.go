package access

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/base/wire/radius"
	"sakimori/respond/subscriber"
)

// CaptureOptions say how a capture of RADIUS is read.
type CaptureOptions struct {
	Accounting Accounting
	Ports      []uint16 // that Accounting-Requests are sent to; none: 1813 and 1646
	Secret     []byte   // verifies each request; empty: nothing is verified
}

// retransmits is how long a NAS may go on to send the same request again, and
// mostRetransmits how many requests are remembered for it.
const (
	retransmits     = time.Minute
	mostRetransmits = 1 << 16
)

// ReadCapture reads the Accounting-Requests in a pcap or pcapng file, whether they
// were answered or not; the time of capture is that of their arrival. Each is one
// record or more, its retransmissions none: they and all other frames are ignored.
// Fragments, and frames that the snapshot length cut off, are malformed. A damaged file
// gives what stood before the damage, and a *pcap.Error.
func ReadCapture(r io.Reader, o CaptureOptions, emit Emit) (subscriber.Stats, error) {
	in := capture{clerk: newClerk(o.Accounting), ports: o.Ports, emit: emit, recent: newRecent(retransmits, mostRetransmits)}
	if len(in.ports) == 0 {
		in.ports = []uint16{1813, 1646}
	}
	if len(o.Secret) > 0 {
		in.secret = radius.NewSecret(o.Secret)
	}
	file, err := pcap.NewReader(r)
	if err != nil {
		return in.stats, err
	}
	var b packet.Block
	for {
		if err := file.ReadBlock(&b); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return in.stats, errors.Join(err, file.Close())
		}
		for i := range b.Frames {
			in.number++
			if err := in.frame(&b.Frames[i], b.Bytes(i)); err != nil {
				return in.stats, errors.Join(err, file.Close())
			}
		}
	}
}

type capture struct {
	clerk   *clerk
	ports   []uint16
	secret  *radius.Secret // nil: none
	recent  *recent
	emit    Emit
	decoder packet.Decoder
	packet  packet.Packet
	stats   subscriber.Stats
	records []subscriber.Record
	number  uint64 // of the frame, from 1
}

func (c *capture) frame(f *packet.Frame, data []byte) error {
	p := &c.packet
	if c.decoder.Decode(f.Link, data, f.Orig, p) != packet.OK || p.Proto != packet.UDP || !slices.Contains(c.ports, p.DstPort) {
		c.stats.Ignored++ // also the later fragments, which have no ports
		return nil
	}
	switch {
	case p.Flags&packet.Fragment != 0:
		c.bad("a fragment")
		return nil
	case len(p.Payload) > 0 && radius.Code(p.Payload[0]) != radius.AccountingRequest:
		c.stats.Ignored++
		return nil
	}
	request, err := radius.Parse(p.Payload)
	switch {
	case err != nil && f.Len < f.Orig:
		c.bad("cut off by the snapshot length")
		return nil
	case err != nil:
		c.bad(why(err).String())
		return nil
	}
	if c.secret != nil {
		if err := c.secret.Check(request); err != nil {
			c.bad(why(err).String())
			return nil
		}
	}
	return c.request(request, time.Unix(0, f.Time).UTC())
}

func (c *capture) request(p radius.Packet, at time.Time) (err error) {
	from := c.packet.Src.Netip()
	var bad reason
	c.records, bad = c.clerk.packet(p, at, from, c.records[:0])
	switch {
	case bad != fine:
		c.bad(bad.String())
		return nil
	case len(c.records) == 0 || c.recent.meet(marked(p, from), at) != fresh:
		c.stats.Ignored++
		return nil
	}
	return hand(c.records, &c.stats, c.emit)
}

func (c *capture) bad(reason string) {
	c.stats.Bad("packet "+strconv.FormatUint(c.number, 10), reason)
}

// hand hands records on and counts them.
func hand(records []subscriber.Record, stats *subscriber.Stats, emit Emit) error {
	for i := range records {
		if err := emit(&records[i]); err != nil {
			return err
		}
		stats.Took(&records[i])
	}
	return nil
}
