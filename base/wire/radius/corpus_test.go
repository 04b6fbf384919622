package radius_test

import (
	"crypto/hmac"
	"crypto/md5"
	"path/filepath"
	"testing"

	oracle "layeh.com/radius"

	"sakimori/base/corpus"
	"sakimori/base/wire/radius"
)

func mac(secret, b []byte) []byte {
	m := hmac.New(md5.New, secret)
	m.Write(b)
	return m.Sum(nil)
}

// TestCorpus: every packet of the captures is read as the oracle reads it. The number
// of packets is what `tcpdump -r file --count` says.
func TestCorpus(t *testing.T) {
	dir := corpus.Folder(t, "subscriber")
	for file, want := range map[string]int{
		"RADIUS-RFC3162.pcap": 1, "RADIUS-RFC4675.pcap": 6, "RADIUS-RFC5176-2.pcap": 1, "RADIUS-RFC5176.pcap": 6, "RADIUS-RFC5580.pcap": 1,
		"RADIUS-port1700.pcap": 1, "RADIUS.pcap": 4, "radius.pcap": 4, "radius_localhost.pcap": 19, "libtrace-radius.pcap": 34,
	} {
		n := 0
		for _, b := range corpus.Datagrams(t, filepath.Join(dir, file)) {
			p, err := radius.Parse(b)
			_, oracleErr := oracle.Parse(b, nil)
			if (err == nil) != (oracleErr == nil) {
				t.Errorf("%s: %v, the oracle: %v", file, err, oracleErr)
			}
			if err == nil {
				same(t, p, b, nil)
				n++
			}
		}
		if n != want {
			t.Errorf("%s: %d packets, want %d", file, n, want)
		}
	}
}

// FuzzParse: nothing crashes, and what is read is what the oracle reads.
func FuzzParse(f *testing.F) {
	f.Add([]byte(request(f, "s", pair{radius.UserName, "fred"}, pair{radius.MessageAuthenticator, string(make([]byte, 16))})), []byte("s"))
	f.Add([]byte(request(f, "", pair{radius.VendorSpecific, "\x00\x00\x0d\xe9\x01\x06eth0"}, pair{radius.FramedIPv6Prefix, "\x00\x40\x20\x01\x0d\xb8\x00\x01\x00\x02"})), []byte(""))
	f.Add([]byte("\x0c\x01\x00\x26\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00P\x12\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), []byte("x"))
	f.Fuzz(func(t *testing.T, b, secret []byte) {
		p, err := radius.Parse(b)
		if _, oracleErr := oracle.Parse(b, secret); (err == nil) != (oracleErr == nil) {
			t.Fatalf("%v, the oracle: %v", err, oracleErr)
		}
		if err != nil {
			return
		}
		same(t, p, b, secret)
		for _, a := range pairs(p.Attributes()) {
			v := []byte(a.Value)
			if n, sub, ok := radius.Vendor(v); ok && n == radius.ADSLForum {
				pairs(sub)
			}
			if q, ok := radius.IPv6Prefix(v); ok && !q.IsValid() {
				t.Fatalf("%x gives an invalid prefix", v)
			}
			radius.Addr(v)
		}
		s := radius.NewSecret(secret)
		if err := s.Check(p); err == nil && p.Code() == radius.AccountingRequest && len(secret) > 0 && !oracle.IsAuthenticRequest(p, secret) {
			t.Fatal("accepted what the oracle refuses")
		}
		if p.Code() == radius.StatusServer && s.Check(p) != nil {
			return // its answer might become longer than itself
		}
		answer := s.AppendResponse(nil, radius.AccountingResponse, p)
		if _, err := radius.Parse(answer); err != nil || len(secret) > 0 && !oracle.IsAuthenticResponse(answer, p, secret) {
			t.Fatalf("own answer refused: %v", err)
		}
	})
}
