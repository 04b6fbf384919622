package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/console"
	"sakimori/detect"
)

// memoryBlocking is a list of a few C&C servers, its zones on one resolver, and what
// subscribers say.
type memoryBlocking struct {
	list     []CNCEntry
	acts     []string
	made     [][]byte // files that left
	declined map[string]bool
	paused   bool
	rules    []ZoneRule
	body     string
}

func newBlocking() *memoryBlocking {
	m := &memoryBlocking{declined: map[string]bool{}}
	until := dataEnd.Add(30 * day)
	for i := range 7 {
		m.list = append(m.list, CNCEntry{
			ID: fmt.Sprintf("E-%d", i+1), Kind: "name", Value: fmt.Sprintf("c2-%d.example", i+1), Role: "c2", Family: "mirai", State: "enforced",
			Score: float64(7-i) / 10, Opened: dataEnd, Changed: dataEnd, Expires: &until, BlocksDay: uint64(i),
		})
	}
	m.list[1].State, m.list[1].NeedsTwo = "scored", &detect.Text{JA: "共用", EN: "shared hosting"}
	m.list[1].Reviews = []CNCVerdict{{Who: "abuse:abuse", At: dataEnd, Verdict: "yes", Why: "seen"}}
	m.list[2].Family = "=cmd()"
	m.rules = []ZoneRule{{Client: netip.PrefixFrom(ownSource, 32), Action: "passthru", Ref: "S-1"}, {Client: netip.PrefixFrom(ownV6, 64).Masked(), Action: "passthru"}, {Name: "*.c2-1.example", Action: "nxdomain", Ref: "E-1"}}
	return m
}

func (m *memoryBlocking) note(format string, args ...any) {
	m.acts = append(m.acts, fmt.Sprintf(format, args...))
}

func (m *memoryBlocking) Page(_ context.Context, q CNCQuery) (list []CNCEntry, total Count, next string, err error) {
	all := slices.DeleteFunc(slices.Clone(m.list), func(e CNCEntry) bool {
		return len(q.States) > 0 && !slices.Contains(q.States, e.State) || q.Kind != "" && q.Kind != e.Kind || q.Family != "" && q.Family != e.Family || !strings.HasPrefix(e.Value, q.Text)
	})
	if q.Order == "name" {
		slices.SortFunc(all, func(a, b CNCEntry) int { return cmp.Compare(a.Value, b.Value) })
	}
	i := 0
	if q.After != "" {
		i = slices.IndexFunc(all, func(e CNCEntry) bool { return e.ID == q.After }) + 1
	}
	list = all[i:min(i+q.Limit, len(all))]
	if i+len(list) < len(all) {
		next = list[len(list)-1].ID
	}
	return list, Count{len(all), true}, next, nil
}

func (m *memoryBlocking) Queue(context.Context, int, string) (list []CNCWaiting, total Count, next string, err error) {
	for _, e := range m.list {
		if e.State == "scored" {
			list = append(list, CNCWaiting{e, &CNCBlast{ClientsDay: 3, Floor: 10, BelowFloor: true}})
		}
	}
	return list, Count{len(list), false}, "", nil
}

func (m *memoryBlocking) Summary(context.Context) (CNCSummary, error) {
	return CNCSummary{Enforced: 6, Review: 1, Sources: []CNCFeed{{Source: "urlhaus", Trust: 0.8}}}, nil
}

func (m *memoryBlocking) File(_ context.Context, id string) (CNCFile, error) {
	e, err := m.find(id)
	if err != nil {
		return CNCFile{}, err
	}
	return CNCFile{Entry: *e, Blast: &CNCBlast{ClientsDay: 42, Floor: 10}}, nil
}

func (m *memoryBlocking) find(id string) (*CNCEntry, error) {
	for i := range m.list {
		if m.list[i].ID == id {
			return &m.list[i], nil
		}
	}
	return nil, ErrNotFound
}

func (m *memoryBlocking) Why(_ context.Context, name string, at time.Time) (CNCAccount, error) {
	if strings.ContainsAny(name, " <") {
		return CNCAccount{}, console.Refuse("名前ではありません。", "that is no name")
	}
	a := CNCAccount{Name: name, At: at, Said: detect.Text{JA: "はい", EN: "It was blocked."}}
	for i := range m.list {
		if strings.HasSuffix("."+name, "."+m.list[i].Value) {
			a.Entry, a.Matched, a.InForce = &m.list[i], m.list[i].Value, true
		}
	}
	return a, nil
}

func (m *memoryBlocking) Add(_ context.Context, o CNCOrder) (CNCEntry, error) {
	if strings.HasSuffix(o.Value, "example.jp") {
		return CNCEntry{}, fmt.Errorf("add: %w", &Protected{Name: "example.jp", List: "own"})
	}
	m.note("%s adds %s until %s: %s", o.Who, o.Value, instant(o.Expires), o.Why)
	e := CNCEntry{ID: "E-new", Kind: o.Kind, Value: o.Value, State: "scored", Emergency: o.Emergency}
	m.list = append(m.list, e)
	return e, nil
}

func (m *memoryBlocking) act(id, what string, do func(e *CNCEntry)) (CNCEntry, error) {
	e, err := m.find(id)
	if err != nil {
		return CNCEntry{}, err
	}
	m.note("%s", what)
	do(e)
	return *e, nil
}

func (m *memoryBlocking) Review(_ context.Context, id, verdict, who, why string) (CNCEntry, error) {
	e, err := m.find(id)
	if err == nil && slices.ContainsFunc(e.Reviews, func(v CNCVerdict) bool { return v.Who == who }) {
		return CNCEntry{}, ErrOwnReview
	}
	return m.act(id, who+" says "+verdict+": "+why, func(e *CNCEntry) { e.State = "reviewed" })
}

func (m *memoryBlocking) Withdraw(_ context.Context, id, who, why string) (CNCEntry, error) {
	return m.act(id, who+" withdraws: "+why, func(e *CNCEntry) { e.State = "withdrawn" })
}

func (m *memoryBlocking) Renew(_ context.Context, id string, until time.Time, who, why string) (CNCEntry, error) {
	return m.act(id, who+" renews: "+why, func(e *CNCEntry) { e.Expires = &until })
}

func (m *memoryBlocking) Sinkhole(_ context.Context, id string, sinkholed bool, who, why string) (CNCEntry, error) {
	return m.act(id, who+" sinkholes: "+why, func(e *CNCEntry) { e.Sinkholed = sinkholed })
}

func (m *memoryBlocking) Release(_ context.Context, id, who, why string) (CNCHeld, error) {
	return m.decide(id, "released", who+" releases: "+why)
}

func (m *memoryBlocking) Refuse(_ context.Context, id, who, why string) (CNCHeld, error) {
	return m.decide(id, "refused", who+" refuses: "+why)
}

func (m *memoryBlocking) decide(id, state, what string) (CNCHeld, error) {
	if id != "H-1" {
		return CNCHeld{}, ErrNotFound
	}
	m.note("%s", what)
	return CNCHeld{ID: id, State: state}, nil
}

func (m *memoryBlocking) Import(_ context.Context, r io.Reader, o CNCSheet, who string) (CNCImport, error) {
	b, err := io.ReadAll(r)
	m.body = string(b)
	m.note("%s takes in %s of %s", who, o.Name, o.Source)
	return CNCImport{Read: uint64(bytes.Count(b, []byte("\n"))), Protected: []Protected{{"example.jp", "own"}}}, err
}

func (m *memoryBlocking) Export(_ context.Context, format string, version uint64, who string) (CNCExported, error) {
	if format == "squid" {
		return CNCExported{}, ErrNoGrant
	}
	if version == 0 {
		m.note("%s exports %s", who, format)
		m.made = append(m.made, []byte("# by "+format+"\n"+ownSource.String()+"\n")) // a mask would break its hash
		version = uint64(len(m.made))
	}
	if version > uint64(len(m.made)) {
		return CNCExported{}, ErrNotFound
	}
	b := m.made[version-1]
	d := sha256.Sum256(b)
	return CNCExported{Name: "sakimori-" + format + "-" + strconv.FormatUint(version, 10), Type: "text/plain; charset=utf-8", Body: io.NopCloser(bytes.NewReader(b)), Digest: d[:], Signature: []byte(`{"version":1}`)}, nil
}

func (m *memoryBlocking) Exports(context.Context) ([]CNCExport, error) {
	return []CNCExport{{Format: "nftables", Version: uint64(len(m.made))}}, nil
}

func (m *memoryBlocking) zone(name string) Zone {
	z := Zone{Zone: name, Serial: 2026112601, Rules: 6, State: "published"}
	if m.paused {
		z.State = "paused"
	}
	return z
}

func (m *memoryBlocking) Zones(context.Context) (ZonesNow, error) {
	return ZonesNow{Zones: []Zone{m.zone("c2.")}}, nil
}

func (m *memoryBlocking) Resolvers(context.Context) (Matrix, error) {
	return Matrix{Resolvers: []Resolver{{Name: "dns1", Vendor: "bind", Address: "203.0.113.53", State: "ok", Probes: []Probe{{Client: "in", Zone: "c2.", OK: true, At: dataEnd}}}}}, nil
}

func (m *memoryBlocking) Proofs(_ context.Context, q ProofQuery) (list []Proof, next string, err error) {
	for i := range 5 {
		p := Proof{At: dataEnd.Add(-time.Duration(i) * time.Minute), Resolver: "dns1", Zone: "c2.", Client: "out", Name: "canary.example", Got: "=A", Serial: 7, OK: i != 2}
		if (q.OK == nil || *q.OK == p.OK) && (q.After == "" || q.After < strconv.Itoa(i)) {
			if len(list) == q.Limit {
				return list, strconv.Itoa(i - 1), nil
			}
			list = append(list, p)
		}
	}
	return list, "", nil
}

func (m *memoryBlocking) Serials(_ context.Context, _ string, limit int, before uint32) (list []ZoneSerial, more bool, err error) {
	for n := uint32(5); n > 0; n-- {
		if before == 0 || n < before {
			if len(list) == limit {
				return list, true, nil
			}
			list = append(list, ZoneSerial{Serial: n})
		}
	}
	return list, false, nil
}

func (m *memoryBlocking) Diff(_ context.Context, _ string, from, _ uint32, most int) (added, removed []ZoneRule, truncated bool, err error) {
	if from == 0 {
		return nil, nil, false, ErrNotFound
	}
	return m.rules[:min(most, len(m.rules))], nil, false, nil
}

func (m *memoryBlocking) rezone(zone, what string) (Zone, error) {
	m.note("%s", what)
	return m.zone(zone), nil
}

func (m *memoryBlocking) Publish(_ context.Context, zone, who, why string) (Zone, error) {
	if m.paused {
		return Zone{}, console.Refuse("停止中です。", "it is paused")
	}
	return m.rezone(zone, who+" publishes "+zone+": "+why)
}

func (m *memoryBlocking) Rollback(_ context.Context, zone string, to uint32, who, why string) (Zone, error) {
	return m.rezone(zone, fmt.Sprintf("%s rolls %s back to %d: %s", who, zone, to, why))
}

func (m *memoryBlocking) Pause(_ context.Context, zone, who, why string) (Zone, error) {
	m.paused = true
	return m.rezone(zone, who+" pauses "+zone+": "+why)
}

func (m *memoryBlocking) Resume(_ context.Context, zone, who, why string) (Zone, error) {
	m.paused = false
	return m.rezone(zone, who+" resumes "+zone+": "+why)
}

func (m *memoryBlocking) Config(_ context.Context, vendor string) ([]ConfigFile, []detect.Text, error) {
	if vendor != "bind" {
		return nil, nil, ErrNotFound
	}
	return []ConfigFile{{"named.conf", "primaries { 203.0.113.53; };"}}, nil, nil
}

func (m *memoryBlocking) Canary(ctx context.Context, who string) (Matrix, error) {
	m.note("%s asks the resolvers", who)
	return m.Resolvers(ctx)
}

func (m *memoryBlocking) Blocks(_ context.Context, from, to time.Time) (b BlockCounts, err error) {
	for d := from.Truncate(day); d.Before(to); d = d.Add(day) {
		b.Days = append(b.Days, BlockDay{At: d, Queries: 100, Blocked: 3, Zones: map[string]uint64{"c2.": 2, "emergency.": 1}})
		b.Total += 3
	}
	return b, nil
}

func (m *memoryBlocking) Look(_ context.Context, q ChoiceQuery, who string) (Choice, error) {
	m.note("%s looks at a choice", who)
	switch {
	case q.Address.IsValid() && q.Address != ownSource:
		return Choice{Verdict: "foreign", Words: detect.Text{JA: "他社", EN: "not ours"}}, nil
	case q.Case == "none":
		return Choice{}, ErrNotFound
	}
	return m.choice(subjectA), nil
}

func (m *memoryBlocking) choice(subject string) Choice {
	c := Choice{Subject: subject, Purposes: []ChoicePurpose{{Purpose: "cc_block", State: "consents"}, {Purpose: "cc_hits", State: "unknown"}}, OptOut: &ChoiceOptOut{InZone: m.declined[subject]}}
	if m.declined[subject] {
		c.Purposes[0].State = "declined"
	}
	return c
}

func (m *memoryBlocking) Say(_ context.Context, o ChoiceOrder) (Choice, error) {
	if o.Subject != subjectA {
		return Choice{}, ErrNotFound
	}
	m.note("%s enters %s %v by %s: %s", o.Who, o.Purpose, o.Consents, o.Channel, o.Why)
	m.declined[o.Subject] = !o.Consents
	c := m.choice(o.Subject)
	c.Effect = &ChoiceEffect{State: "pending"}
	return c, nil
}
