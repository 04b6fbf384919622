package sim_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/base/wire/radius"
	"sakimori/sim"
)

func town(t *testing.T, seed uint64) *sim.Life {
	t.Helper()
	l, err := sim.Town{Seed: seed, Start: time.Date(2025, 6, 2, 0, 0, 0, 0, time.UTC), Duration: 20 * 24 * time.Hour, Lines: 300}.Live()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func capture(t *testing.T, write func(sim.FrameWriter) error) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, packet.LinkEthernet)
	if err == nil {
		err = write(w)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Nobody has an address, or a port of it, that somebody else has, and a line has one at a
// time.
func TestTownTenures(t *testing.T) {
	for seed := range uint64(5) {
		truth := town(t, seed).Truth()
		uses := slices.Clone(truth.Uses)
		slices.SortFunc(uses, func(a, b sim.Tenure) int {
			if c := a.Address.Compare(b.Address); c != 0 {
				return c
			}
			if a.First != b.First {
				return int(a.First) - int(b.First)
			}
			return a.From.Compare(b.From)
		})
		same := 0
		for i := 1; i < len(uses); i++ {
			a, b := uses[i-1], uses[i]
			if a.Address != b.Address || a.First != b.First {
				continue
			}
			if !b.From.After(a.To) {
				t.Errorf("seed %d: %+v and %+v at once", seed, a, b)
			}
			if a.Line != b.Line {
				same++
			}
		}
		if same < 200 || truth.Handovers < 3 || truth.Lost < 5 {
			t.Errorf("seed %d: %d changes of hands, %d at once, %d lost Stops: hardly any churn", seed, same, truth.Handovers, truth.Lost)
		}
	}
}

// What a report says of a line is true, and each kind of doubt is there.
func TestTownReports(t *testing.T) {
	l := town(t, 1)
	truth := l.Truth()
	why := map[string]int{}
	moved := 0
	for _, x := range truth.Reports {
		why[x.Why]++
		if x.Moved {
			moved++
		}
		if (x.Line == "") != (x.Why != "infected" && x.Why != "near") {
			t.Errorf("%+v names somebody without saying why, or nobody", x)
		}
		if x.Line == "" || !x.Address.Is4() {
			continue
		}
		has := slices.ContainsFunc(truth.Uses, func(u sim.Tenure) bool {
			return u.Line == x.Line && u.Address == x.Address && x.At.Add(time.Second).After(u.From) && x.At.Before(u.To) && (u.First == 0 || u.First <= x.Port && x.Port <= u.Last)
		})
		ill := slices.ContainsFunc(truth.Infected, func(s sim.Spell) bool {
			return s.Line == x.Line && x.At.Add(time.Second).After(s.From) && (s.To.IsZero() || x.At.Before(s.To))
		})
		if !has || !ill {
			t.Errorf("%+v: had it %v, infected %v", x, has, ill)
		}
	}
	for _, w := range []string{"infected", "no_port", "near", "vacant", "before", "mediated", "victim"} {
		if why[w] == 0 {
			t.Errorf("no report of kind %s in %v", w, why)
		}
	}
	if moved < 10 {
		t.Errorf("%d addresses have moved on", moved)
	}
}

// The accounting is right on the wire: every authenticator fits, every session of the
// truth is told, and something is late, repeated and lost.
func TestTownRadius(t *testing.T) {
	l := town(t, 2)
	file := capture(t, l.Radius)
	in, err := pcap.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	secret := radius.NewSecret([]byte(sim.Secret))
	var b packet.Block
	var d packet.Decoder
	seen, kinds, late, last := map[string]int{}, map[uint32]int{}, 0, int64(0)
	for in.ReadBlock(&b) == nil {
		for i := range b.Frames {
			var p packet.Packet
			if d.Decode(packet.LinkEthernet, b.Bytes(i), b.Frames[i].Orig, &p) != packet.OK || p.DstPort != 1813 {
				t.Fatal("not a request")
			}
			q, err := radius.Parse(p.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := secret.Check(q); err != nil {
				t.Fatal(err)
			}
			if b.Frames[i].Time < last {
				t.Fatal("not in order of arrival")
			}
			last = b.Frames[i].Time
			seen[string(q)]++
			for rest := q.Attributes(); ; {
				typ, v, ok := rest.Next()
				if !ok {
					break
				}
				n, _ := radius.Uint32(v)
				switch {
				case typ == radius.AcctStatusType:
					kinds[n]++
				case typ == radius.AcctDelayTime && n > 20:
					late++
				}
			}
		}
	}
	again := 0
	for _, n := range seen {
		if n > 1 {
			again++
		}
	}
	if kinds[radius.Start] < 500 || kinds[radius.Stop] < 400 || kinds[radius.Stop] >= kinds[radius.Start] || kinds[radius.InterimUpdate] < 1000 || kinds[radius.AccountingOn] < 1 || late < 20 || again < 20 {
		t.Errorf("kinds %v, %d late, %d sent again", kinds, late, again)
	}
}

// The same seed gives the same bytes, in each file; another one doesn't.
func TestTownSeed(t *testing.T) {
	sum := func(seed uint64) string {
		l := town(t, seed)
		var b bytes.Buffer
		b.Write(capture(t, l.Radius))
		for _, write := range []func() error{
			func() error { return l.Detail(&b) }, func() error { return l.Translator(&b) },
			func() error { _, err := l.Reports(&b, "event4_sinkhole", time.Time{}, l.Truth().End); return err },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		b.Write(capture(t, func(w sim.FrameWriter) error { _, err := l.Scene().Write(w); return err }))
		return fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))
	}
	if a := sum(7); a != sum(7) || a == sum(8) {
		t.Error("the seed doesn't decide")
	}
}

// Infected devices are in the capture with the address, and the ports, that they have.
func TestTownScene(t *testing.T) {
	l := town(t, 3)
	truth := l.Truth()
	bots, shared := 0, 0
	s := l.Scene()
	s.Label = func(x sim.Label) {
		if x.Role != sim.RoleBot {
			return
		}
		bots++
		at := time.Unix(0, x.Time)
		i := slices.IndexFunc(truth.Uses, func(u sim.Tenure) bool {
			return u.Address == x.Source && !at.Before(u.From) && at.Before(u.To) && slices.ContainsFunc(truth.Infected, func(s sim.Spell) bool {
				return s.Line == u.Line && !at.Before(s.From) && (s.To.IsZero() || at.Before(s.To))
			})
		})
		if i < 0 {
			t.Errorf("a bot at %s, which no infected line has at %s", x.Source, at)
		} else if truth.Uses[i].First > 0 {
			shared++
		}
	}
	out := capture(t, func(w sim.FrameWriter) error { _, err := s.Write(w); return err })
	if bots < 1000 || shared < 100 || len(out) == 0 {
		t.Errorf("%d packets of bots, %d of them translated", bots, shared)
	}
}

func TestTownRefused(t *testing.T) {
	good := sim.Town{Start: time.Date(2025, 6, 2, 0, 0, 0, 0, time.UTC), Duration: 3 * 24 * time.Hour, Lines: 20}
	if _, err := good.Live(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*sim.Town){
		"no lines": func(x *sim.Town) { x.Lines = 0 }, "too many": func(x *sim.Town) { x.Lines = 1 << 20 },
		"no time": func(x *sim.Town) { x.Duration = time.Hour }, "before the world": func(x *sim.Town) { x.Start = time.Time{} },
		"all of them": func(x *sim.Town) { x.Infected = 15 },
	} {
		bad := good
		change(&bad)
		if _, err := bad.Live(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The translator's lines name addresses that it has.
func TestTownTranslator(t *testing.T) {
	l := town(t, 4)
	var b strings.Builder
	if err := l.Translator(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	given, taken := 0, 0
	for _, x := range lines {
		_, rest, _ := strings.Cut(x, `reflexive-ip="`)
		addr, _, _ := strings.Cut(rest, `"`)
		if a, err := netip.ParseAddr(addr); err != nil || !netip.MustParsePrefix("198.19.128.0/17").Contains(a) {
			t.Fatalf("%s: %v", x, err)
		}
		if strings.Contains(x, "_ALLOC ") {
			given++
		} else {
			taken++
		}
	}
	if given < 200 || taken < 150 || taken > given {
		t.Errorf("%d given, %d taken back", given, taken)
	}
}
