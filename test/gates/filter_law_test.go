package gates_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation/relationtest"
	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/lawful/guideline"
	"sakimori/respond"
	"sakimori/respond/mitigate"
)

// aFlood is an attack by reflected DNS on a server of pages, as flows show it.
type aFlood struct{ now detect.Attack }

func newFlood(now time.Time) *aFlood {
	victim := netip.MustParseAddr("203.0.113.7")
	a := detect.Attack{
		ID: "A-1", State: detect.Changed, Direction: detect.Incoming, Object: detect.Object{Kind: detect.AddressObject, Prefix: netip.PrefixFrom(victim, 32)},
		Opened: now.Add(-time.Minute), Changed: now, Sources: detect.Sources{Count: detect.Counted{N: 5000}},
		Now:   detect.Rate{Packets: detect.Measure{N: 2e5, Error: 4e3}, Bits: detect.Measure{N: 2e9}},
		Peak:  detect.Rate{Packets: detect.Measure{N: 3e5}, Bits: detect.Measure{N: 3e9}},
		Limit: detect.Rate{Packets: detect.Measure{N: 2e4}},
	}
	for i := range 400 {
		src := netip.AddrFrom4([4]byte{11, 7, byte(i >> 8), byte(i)})
		a.Sample = append(a.Sample, detect.Sample{Src: src, Dst: victim, Proto: packet.UDP, SrcPort: 53, DstPort: uint16(2000 + 31*i), Length: uint16(1200 + i%300), Single: true, Packets: 100, Bytes: 130000})
		a.Ordinary = append(a.Ordinary, detect.Sample{Src: src, Dst: victim, Proto: packet.TCP, SrcPort: uint16(2000 + 31*i), DstPort: 443, Flags: packet.ACK, Length: 700, Single: true, Packets: 10, Bytes: 7000})
	}
	return &aFlood{a}
}

func (f *aFlood) Attack(context.Context, string) (detect.Attack, error) { return f.now, nil }

func (f *aFlood) Open(context.Context, string) (lawful.Finding, error) {
	return lawful.Finding{Detector: "ddos", Subject: f.now.Object.Prefix.Addr().String(), Open: f.now.State != detect.Closed}, nil
}

type book struct{}

func (book) Record(context.Context, mitigate.Deed) error { return nil }

type decided struct{ list []lawful.Decision }

func (d *decided) Record(_ context.Context, x lawful.Decision) error {
	d.list = append(d.list, x)
	return nil
}

// silent announces to nobody.
type silent struct{ has map[string]bool }

func (s silent) Announce(_ context.Context, id string, _ []mitigate.Rule, _ time.Time) error {
	s.has[id] = true
	return nil
}

func (s silent) Withdraw(_ context.Context, id string) error {
	delete(s.has, id)
	return nil
}

func (silent) Held(context.Context) ([]respond.Held, error) { return nil, respond.ErrNotTold }

// TestFilterIsLawful: what mitigate asks for is what the guideline's case ② wants, word
// by word of the rules that are built in: it is granted for this attack, for these rules
// alone, and it ends with the attack.
func TestFilterIsLawful(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	f := newFlood(now)
	g, err := guideline.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	var ledger decided
	gate, err := lawful.New(lawful.Deps{Guideline: g, Recorder: &ledger, Findings: f, Clock: clock.Fixed(now)})
	if err != nil {
		t.Fatal(err)
	}
	router := silent{map[string]bool{}}
	d, err := mitigate.Open(t.Context(), mitigate.Deps{
		DB: relationtest.Open(t, relationtest.Place(t, "sqlite")), Clock: clock.Fixed(now), Attacks: f, Gate: gate, Guideline: g, Recorder: book{},
		Announcers: []mitigate.Announcer{router}, Policy: mitigate.Policy{Policy: respond.Policy{Live: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Propose(t.Context(), &f.now, mitigate.Order{}, "network:taro", "stop it")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range m.Proposal.Conditions {
		if !c.Met {
			t.Errorf("%s: %s", c.Name, c.Words.EN)
		}
	}
	if len(m.Proposal.Conditions) < 6 || m.Proposal.RuleTitle.JA != "発生中の攻撃に合致する通信の遮断" {
		t.Errorf("%+v", m.Proposal)
	}
	if m, err = d.Approve(t.Context(), m.ID, "network:hanako", "looked at"); err != nil || m.Grant.Rule != mitigate.UnderAttack {
		t.Fatal(m.State, err)
	}
	if _, err := d.Tick(t.Context()); err != nil || !router.has[m.ID] {
		t.Fatal(err)
	}
	x := ledger.list[0]
	if x.Outcome != lawful.Granted || len(x.Scope.Prefixes) != 1 || x.Scope.Prefixes[0].String() != "203.0.113.7/32" || len(x.Scope.Features) != len(m.Proposal.Rules) || x.Facts["collateral"].(float64) > 0.05 {
		t.Errorf("%+v", x)
	}
	f.now.State = detect.Closed
	if ended, err := gate.Recheck(t.Context()); err != nil || len(ended) != 1 {
		t.Fatal(ended, err)
	}
	if _, err := d.Tick(t.Context()); err != nil || router.has[m.ID] {
		t.Errorf("it stands without a grant: %v", err)
	}
}
