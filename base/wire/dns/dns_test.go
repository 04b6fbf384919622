package dns

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestNamesGoThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n Name
		for _, l := range rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 20), 1, 8).Draw(t, "labels") {
			n = append(n, byte(len(l)))
			for _, c := range l {
				n = append(n, lower(c))
			}
		}
		n = append(n, 0)
		again, err := ParseName(n.String())
		if err != nil || !bytes.Equal(again, n) {
			t.Fatalf("%q was written as %s and read as %q: %v", n, n, again, err)
		}
	})
}

func TestWhatIsntAName(t *testing.T) {
	for _, s := range []string{"", "..", "a..b", ".a", `a\`, `a\25`, `a\999`, "a b", "é.jp", string(bytes.Repeat([]byte("a"), 64)), string(bytes.Repeat([]byte("abcdefg."), 33))} {
		if n, err := ParseName(s); !errors.Is(err, ErrName) {
			t.Errorf("%q was read as %q, %v", s, n, err)
		}
	}
	n, err := ParseName("WWW.Example.JP.")
	if err != nil || n.String() != "www.example.jp" || n.Labels() != 3 || n.Parent().String() != "example.jp" {
		t.Errorf("%v %v", n, err)
	}
	jp, _ := ParseName("jp")
	if !n.Below(jp) || !n.Below(Root()) || !n.Below(n) || jp.Below(n) {
		t.Error("what stands below what is mistaken")
	}
	if p, _ := ParseName("xjp"); p.Below(jp) {
		t.Error("xjp isn't below jp")
	}
}

// FuzzMessage reads anything without harm: every record lies in the message, and
// reading ends.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("\x12\x34\x81\x83\x00\x01\x00\x00\x00\x01\x00\x00\x03c2x\x07example\x00\x00\x01\x00\x01\xc0\x10\x00\x06\x00\x01\x00\x00\x00\x05\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m Message
		if m.Read(raw) != nil {
			return
		}
		q, err := m.Question(nil)
		if err == nil && (len(q.Name) == 0 || len(q.Name) > MaxName || q.Name[len(q.Name)-1] != 0) {
			t.Fatalf("a name of %d bytes", len(q.Name))
		}
		if err == nil {
			if again, err := ParseName(q.Name.String()); err != nil || !bytes.Equal(again, q.Name) {
				t.Fatalf("%q is written as %s, which is %q: %v", q.Name, q.Name, again, err)
			}
		}
		r := m.Records()
		var rr RR
		for n := 0; r.Next(&rr); n++ {
			if n > 4*65535 || rr.DataAt+len(rr.Data) > len(raw) || rr.Section < Answer || rr.Section > Additional {
				t.Fatalf("record %d: %+v", n, rr)
			}
			_, _, _ = AppendName(nil, raw, rr.Owner)
		}
	})
}
