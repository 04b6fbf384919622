// Package canary proves on every resolver what the policy zones promise. Synthetic clients, of
// whom one declined, ask for names that nobody else asks for, each minute and through every
// resolver: what is listed must be blocked for the one and answered truly for the other. The
// answers also tell which serial of each zone the resolver answers by. Each round is
// evidence and is kept; what isn't as it must be raises an alarm.
//
// The names stand below a domain of the operator's, in which one wildcard must exist:
// *.canary.example.jp TXT "sakimori". That is the truth that who declined must get.
package canary

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/lawful"
	"sakimori/respond/rpz"
)

// Rules are the canaries that a publisher puts into a zone's serial: names below domain, and
// the synthetic clients that declined.
func Rules(domain string, zone rpz.Zone, serial uint32, declined []netip.Addr) []rpz.Rule {
	domain = strings.TrimSuffix(domain, ".")
	out := []rpz.Rule{{Name: serialName(zone) + "." + domain, Action: rpz.Local, Data: []string{fmt.Sprintf(`TXT "%d"`, serial)}, Ref: "canary"}}
	switch zone {
	case rpz.OptOut:
		for _, c := range declined {
			out = append(out, rpz.Rule{Client: netip.PrefixFrom(c, c.BitLen()), Action: rpz.Passthru, Ref: "canary"})
		}
	case rpz.Allow:
		out = append(out, rpz.Rule{Name: allowedName + "." + domain, Action: rpz.Passthru, Ref: "canary"})
	case rpz.C2:
		out = append(out, rpz.Rule{Name: allowedName + "." + domain, Ref: "canary"}, rpz.Rule{Name: blockedName(zone) + "." + domain, Ref: "canary"})
	case rpz.Emergency:
		out = append(out, rpz.Rule{Name: blockedName(zone) + "." + domain, Ref: "canary"})
	}
	return out
}

const allowedName = "allowed"

func serialName(z rpz.Zone) string  { return "serial-" + strings.TrimSuffix(string(z), ".") }
func blockedName(z rpz.Zone) string { return "blocked-" + strings.TrimSuffix(string(z), ".") }

// Client is which of the synthetic clients asks.
type Client string

// The clients.
const (
	Taking   Client = "taking"   // didn't opt out
	Declined Client = "declined" // did
)

// Verdict is what an answer was, or must be.
type Verdict string

// The verdicts.
const (
	Blocked Verdict = "blocked" // the name doesn't exist, it is said
	Truth   Verdict = "truth"
	Serial  Verdict = "serial"  // a number
	Silence Verdict = "silence" // no answer in time, or a failure: nothing is proven
	Other   Verdict = "other"
)

// Probe is one question and its answer.
type Probe struct {
	Zone   rpz.Zone `json:"zone"`
	Client Client   `json:"client"`
	Name   string   `json:"name"`
	Want   Verdict  `json:"want"`
	Got    Verdict  `json:"got"`
	Serial uint32   `json:"serial,omitempty"`
	Detail string   `json:"detail,omitempty"`
	Micros int64    `json:"micros"`
}

// OK tells whether the answer was as it must be.
func (p *Probe) OK() bool { return p.Want == p.Got }

// Round is what a resolver was asked at a time.
type Round struct {
	At       time.Time           `json:"at"`
	Resolver string              `json:"resolver"`
	Serials  map[rpz.Zone]uint32 `json:"serials"`
	Probes   []Probe             `json:"probes"`
}

// Proven tells whether everything was as it must be.
func (r *Round) Proven() bool {
	for i := range r.Probes {
		if !r.Probes[i].OK() {
			return false
		}
	}
	return true
}

// Kind is a kind of deviation, the worst first.
type Kind string

// The kinds.
const (
	DeclinedBlocked Kind = "declined_blocked" // who declined is blocked all the same
	AllowedBlocked  Kind = "allowed_blocked"  // an exception doesn't count
	Missing         Kind = "missing"          // a zone isn't in force at all
	Open            Kind = "open"             // what is listed isn't blocked
	Behind          Kind = "behind"           // an old serial is answered by
	Unproven        Kind = "unproven"         // no answer: nothing is known
)

var kindTexts = map[Kind]lawful.Text{
	DeclinedBlocked: {JA: "同意していない利用者が遮断されています", EN: "clients that opted out are blocked"},
	AllowedBlocked:  {JA: "許可リストの名前が遮断されています", EN: "names of the allow list are blocked"},
	Missing:         {JA: "ゾーンが効いていません", EN: "the zone isn't in force"},
	Open:            {JA: "リストの名前が遮断されていません", EN: "listed names aren't blocked"},
	Behind:          {JA: "古いゾーンで答えています", EN: "it answers by an old zone"},
	Unproven:        {JA: "応答がなく、確かめられません", EN: "no answer: nothing is proven"},
}

// Text is the kind in words.
func (k Kind) Text() lawful.Text { return kindTexts[k] }

// Deviation is something that isn't as it must be on a resolver.
type Deviation struct {
	Kind     Kind      `json:"kind"`
	Resolver string    `json:"resolver"`
	Zone     rpz.Zone  `json:"zone"`
	Since    time.Time `json:"since"`
	Rounds   int       `json:"rounds"` // in a row
	Detail   string    `json:"detail"`
}

// deviation says what an answer that is wrong means.
func (p *Probe) deviation() Kind {
	switch {
	case p.Got == Silence || p.Got == Other:
		return Unproven
	case p.Client == Declined:
		return DeclinedBlocked
	case p.Zone == rpz.Allow && p.Want == Truth && p.Got == Blocked:
		return AllowedBlocked
	case p.Want == Truth: // the zone is empty, or paused
		return Behind
	case p.Want == Serial:
		return Missing
	}
	return Open
}

// question is what is asked in a round.
type question struct {
	zone   rpz.Zone
	client Client
	name   string
	want   Verdict
}

// questions are all of a round, in the order of the table.
func questions(domain string) (out []question) {
	for _, z := range rpz.Zones() {
		switch z {
		case rpz.C2, rpz.Emergency:
			out = append(out, question{z, Taking, blockedName(z), Blocked}, question{z, Declined, blockedName(z), Truth})
		case rpz.Allow:
			out = append(out, question{z, Taking, allowedName, Truth}, question{z, Declined, allowedName, Truth})
		}
		// A number for who takes part; the truth for who declined, for whom no zone counts.
		out = append(out, question{z, Taking, serialName(z), Serial})
		if z != rpz.OptOut { // Unbound 1.17 lets names beat clients within a zone (#1029)
			out = append(out, question{z, Declined, serialName(z), Truth})
		}
	}
	for i := range out {
		out[i].name += "." + strings.TrimSuffix(domain, ".")
	}
	return out
}

// judge turns an answer into a verdict.
func judge(a Answer, err error, truth string) (v Verdict, serial uint32, detail string) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return Silence, 0, "no answer in time"
	case err != nil:
		return Silence, 0, err.Error()
	case a.Rcode == dns.ServFail || a.Rcode == dns.Refused:
		return Silence, 0, fmt.Sprintf("rcode %d", a.Rcode)
	case a.Rcode == dns.NXDomain:
		return Blocked, 0, a.Why
	case a.Rcode == dns.NoError && len(a.Texts) == 1 && a.Texts[0] == truth:
		return Truth, 0, ""
	case a.Rcode == dns.NoError && len(a.Texts) == 1:
		if n, err := strconv.ParseUint(a.Texts[0], 10, 32); err == nil {
			return Serial, uint32(n), ""
		}
	}
	return Other, 0, fmt.Sprintf("rcode %d, %.100q", a.Rcode, a.Texts)
}
