package event

import (
	"errors"
	"io"
	"net/netip"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/respond/subscriber"
)

// ReadCapture reads the datagrams in a pcap or pcapng file that begin as IPFIX or
// NetFlow version 9 do; all others are ignored. A damaged file gives what stood before the
// damage, and a *pcap.Error. An error of emit ends it.
func ReadCapture(in io.Reader, cfg Config, emit func(*subscriber.Record) error) (subscriber.Stats, error) {
	r := New(cfg)
	f, err := pcap.NewReader(in)
	if err != nil {
		return r.Stats(), err
	}
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	var failed error
	others := uint64(0)
	for err == nil && failed == nil {
		err = f.ReadBlock(&b)
		for i, fr := range b.Frames {
			if d.Decode(fr.Link, b.Bytes(i), fr.Orig, &p) != packet.OK || p.Proto != packet.UDP || !exported(p.Payload) {
				others++
				continue
			}
			_ = r.Read(netip.AddrPortFrom(p.Src.Netip(), p.SrcPort), p.Payload, func(rec *subscriber.Record) { // what is wrong is counted
				if failed == nil {
					failed = emit(rec)
				}
			})
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	st := r.Stats()
	st.Ignored += others
	return st, errors.Join(failed, err, f.Close())
}

func exported(b []byte) bool { return len(b) > 2 && b[0] == 0 && (b[1] == 9 || b[1] == 10) }
