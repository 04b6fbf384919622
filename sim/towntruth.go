package sim

import (
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// TownTruth is who had which address when, who was infected, and what each report is
// about.
type TownTruth struct {
	Note   string         `json:"note"`
	Seed   uint64         `json:"seed"`
	Start  time.Time      `json:"start"`
	End    time.Time      `json:"end"`
	Own    []netip.Prefix `json:"own"`
	Dark   []netip.Prefix `json:"dark"`
	Secret string         `json:"secret"`
	// Skewed is the BNG whose clock is ahead, Restarted the one that was started anew.
	Skewed    string        `json:"skewed"`
	Skew      time.Duration `json:"skew_ns"`
	Restarted string        `json:"restarted"`
	Restart   time.Time     `json:"restart"`
	Lost      int           `json:"lost_stops"`
	Handovers int           `json:"handovers"` // addresses that changed hands within two seconds

	Lines    []string `json:"lines"`
	Uses     []Tenure `json:"uses"`
	Infected []Spell  `json:"infected"`
	Reports  []Told   `json:"reports"`
}

// Tenure is one use of a public address by a line: of all of it, or of some ports.
type Tenure struct {
	Line    string     `json:"line"`
	Address netip.Addr `json:"address"`
	First   uint16     `json:"first_port,omitempty"`
	Last    uint16     `json:"last_port,omitempty"`
	From    time.Time  `json:"from"`
	To      time.Time  `json:"to"`
}

// Truth is all that is true of a life.
func (l *Life) Truth() TownTruth {
	t := TownTruth{
		Note: Note, Seed: l.Seed, Start: l.Start.UTC(), End: time.Unix(0, l.end).UTC(), Own: l.Own(), Dark: []netip.Prefix{dark4, dark6}, Secret: Secret,
		Skewed: bngs[skewedBNG], Skew: townSkew, Restarted: bngs[restartBNG], Restart: time.Unix(0, l.restart).UTC(), Infected: l.spells,
	}
	for i := range l.lines {
		t.Lines = append(t.Lines, lineName(int32(i)))
	}
	for i := range l.sessions {
		s := &l.sessions[i]
		if s.silent && !s.open {
			t.Lost++
		}
		if l.lines[s.line].shared {
			continue
		}
		if s.after >= 0 && l.sessions[s.after].addr == s.addr {
			t.Handovers++
		}
		t.Uses = append(t.Uses, Tenure{Line: lineName(s.line), Address: packet.V4(s.addr).Netip(), From: time.Unix(0, s.from).UTC(), To: time.Unix(0, s.to).UTC()})
	}
	for i := range l.blocks {
		b := &l.blocks[i]
		t.Uses = append(t.Uses, Tenure{
			Line: lineName(l.sessions[b.session].line), Address: packet.V4(b.addr).Netip(), First: b.low, Last: b.low + blockPorts - 1,
			From: time.Unix(0, b.from).UTC(), To: time.Unix(0, b.to).UTC(),
		})
	}
	for i := range l.reports {
		t.Reports = append(t.Reports, l.reports[i].Told)
	}
	return t
}
