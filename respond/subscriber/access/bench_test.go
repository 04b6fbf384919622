package access

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"sakimori/base/clock"
	"sakimori/base/wire/radius"
	"sakimori/respond/subscriber"
)

// interim is an Interim-Update of the usual size: a BNG's, some 200 bytes.
func interim(id byte, session int, secret string) []byte {
	b := []byte{4, id, 0, 0}
	b = append(b, make([]byte, 16)...)
	add := func(t radius.Type, v string) { b = append(append(b, byte(t), byte(2+len(v))), v...) }
	n := func(v int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(v))) }
	add(radius.UserName, fmt.Sprintf("user%07d@example.net", session))
	add(radius.AcctStatusType, n(3))
	add(radius.AcctSessionID, fmt.Sprintf("%08x", session))
	add(radius.AcctSessionTime, n(600))
	add(radius.EventTimestamp, n(int(time.Now().Unix())))
	add(radius.AcctDelayTime, n(0))
	add(radius.NASIdentifier, "bng1.tokyo")
	add(radius.NASIPAddress, "\x0a\x00\x00\x01")
	add(radius.FramedIPAddress, n(100<<24|64<<16+session%65536))
	add(42, n(1))
	add(43, n(1))
	add(47, n(1))
	add(48, n(1))
	add(87, "ge-3/1/0.demux0.3221225522:100-200")
	add(radius.VendorSpecific, "\x00\x00\x0d\xe9\x01\x0dolt1/0/7:42\x02\x05r-9")
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	sum := md5.Sum(append(bytes.Clone(b), secret...))
	copy(b[4:], sum[:])
	return b
}

// BenchmarkPacket: records out of packets in memory, one record each.
func BenchmarkPacket(b *testing.B) {
	var packets []radius.Packet
	for i := range 4096 {
		p, err := radius.Parse(interim(byte(i), i, "secret"))
		if err != nil {
			b.Fatal(err)
		}
		packets = append(packets, p)
	}
	from, at := netip.MustParseAddr("10.0.0.1"), time.Now()
	for _, verified := range []bool{false, true} {
		b.Run(fmt.Sprintf("verified=%v", verified), func(b *testing.B) {
			c, s := newClerk(Accounting{}), radius.NewSecret([]byte("secret"))
			var records []subscriber.Record
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				p, err := radius.Parse(packets[n%len(packets)])
				if err != nil || verified && s.Check(p) != nil {
					b.Fatal("refused")
				}
				var bad reason
				if records, bad = c.packet(p, at, from, records[:0]); bad != fine || len(records) != 1 {
					b.Fatal(bad)
				}
				n++
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// TestPacketAllocations: a packet costs one allocation, for the two names in its
// records.
func TestPacketAllocations(t *testing.T) {
	p, err := radius.Parse(interim(1, 1, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	c := newClerk(Accounting{})
	from, at := netip.MustParseAddr("10.0.0.1"), time.Now()
	records := make([]subscriber.Record, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		if records, _ = c.packet(p, at, from, records[:0]); len(records) != 1 {
			t.Fatal("no record")
		}
	}); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// null keeps nothing.
type null struct{ n atomic.Uint64 }

func (s *null) Take(_ context.Context, r []subscriber.Record) error {
	s.n.Add(uint64(len(r)))
	return nil
}

// BenchmarkLive: requests from four NASes on loopback, each with up to 256 on the way,
// taken, verified and answered. The NASes share the machine with the server.
func BenchmarkLive(b *testing.B) {
	to := &null{}
	cfg := ServerConfig{Listen: []string{"127.0.0.1:0"}, Clients: []Client{{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Secret: []byte("secret")}}}
	s, err := NewServer(cfg, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	const senders = 4
	packets := make([][][]byte, senders)
	for i := range packets {
		for n := range 1 << 15 {
			packets[i] = append(packets[i], interim(byte(n), i<<15|n, "secret"))
		}
	}
	b.ResetTimer()
	var wg sync.WaitGroup
	var answered atomic.Uint64
	for i := range senders {
		wg.Go(func() { answered.Add(uint64(nas(b, s.Addresses()[0].String(), packets[i], b.N/senders+1))) })
	}
	wg.Wait()
	b.ReportMetric(float64(answered.Load())/b.Elapsed().Seconds(), "answered/s")
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Error(err)
	}
	if st := s.Stats(); st.Clients[0].Answered < answered.Load() {
		b.Errorf("%d answers came, %+v", answered.Load(), st)
	}
}

// nas sends packets round and round until n were answered. The same packet comes
// again after 32,768 others and is then a retransmission: so each gets its own
// authenticator first.
func nas(b *testing.B, where string, packets [][]byte, n int) (answered int) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(where)))
	if err != nil {
		b.Error(err)
		return 0
	}
	defer conn.Close()
	batch := ipv4.NewPacketConn(conn)
	in, out := make([]ipv4.Message, 64), make([]ipv4.Message, 64)
	for i := range in {
		in[i].Buffers = [][]byte{make([]byte, 64)}
	}
	for sent, waiting := 0, 0; answered < n; {
		for waiting <= 192 {
			for i := range out {
				p := packets[(sent+i)%len(packets)]
				if sent >= len(packets) {
					renew(p)
				}
				out[i].Buffers = [][]byte{p}
			}
			k, err := batch.WriteBatch(out, 0)
			if err != nil {
				b.Error(err)
				return answered
			}
			sent, waiting = sent+k, waiting+k
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		k, err := batch.ReadBatch(in, 0)
		if err != nil { // lost on the way: a NAS would send again
			waiting = 0
			continue
		}
		answered, waiting = answered+k, waiting-k
	}
	return answered
}

// renew makes it another packet: one more octet was counted.
func renew(p []byte) {
	at := bytes.Index(p, []byte{42, 6})
	binary.BigEndian.PutUint32(p[at+2:], binary.BigEndian.Uint32(p[at+2:])+1)
	copy(p[4:20], make([]byte, 16))
	sum := md5.Sum(append(slices.Clip(p), "secret"...))
	copy(p[4:], sum[:])
}

// BenchmarkDetail: lines of a detail file.
func BenchmarkDetail(b *testing.B) {
	block := "Tue Mar 23 13:51:45 2021\n\tUser-Name = \"juniper\"\n\tAcct-Status-Type = Start\n\tAcct-Session-Id = \"61\"\n\tEvent-Timestamp = \"Mar 23 2021 13:50:39 EDT\"\n\tAcct-Delay-Time = 0\n" +
		"\tService-Type = Framed-User\n\tFramed-Protocol = PPP\n\tAttr-26.4874.177 = 0x506f72742073706565643a20313030303030306b\n\tAcct-Authentic = RADIUS\n\tFramed-IP-Address = 203.0.113.10\n\tFramed-IP-Netmask = 255.255.255.255\n" +
		"\tNAS-Identifier = \"petrel1\"\n\tNAS-Port = 805306568\n\tNAS-Port-Id = \"ge-3/1/0.demux0.3221225522:100-200\"\n\tNAS-Port-Type = Ethernet\n\tNAS-IP-Address = 10.0.0.1\n\tTimestamp = 1616521905\n\n"
	text := bytes.Repeat([]byte(block), 10_000)
	lines := bytes.Count(text, []byte("\n"))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		s, err := ReadDetail(bytes.NewReader(text), DetailOptions{}, func(*subscriber.Record) error { return nil })
		if err != nil || s.Records != 10_000 {
			b.Fatal(err, s)
		}
	}
	b.ReportMetric(float64(b.N*lines)/b.Elapsed().Seconds(), "lines/s")
}

// BenchmarkKea: rows of a lease file.
func BenchmarkKea(b *testing.B) {
	text := []byte("address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context\n")
	for i := range 10_000 {
		text = fmt.Appendf(text, "100.64.%d.%d,00:1a:2b:3c:4d:5e,01:00:1a:2b:3c:4d:5e,3600,1775048400,1,0,0,,0,{ \"ISC\": { \"relay-agent-info\": { \"sub-options\": \"0x01046F6C7431\" } } }\n", i/250, 1+i%250)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		s, err := ReadKea(bytes.NewReader(text), LeaseOptions{}, func(*subscriber.Record) error { return nil })
		if err != nil || s.Records != 10_000 {
			b.Fatal(err, s)
		}
	}
	b.ReportMetric(float64(b.N*10_000)/b.Elapsed().Seconds(), "records/s")
}
