package gates_test

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe/telescope"
	"sakimori/sim"
)

// surges: the rises that the scene states are found. What else is found is
// right if it is there: a crowd that comes to one port also makes the countries
// rise that it comes from, which the scene's author need not list.
func surges(o *outcome, s *score) {
	var others []detect.Finding
	hit := map[int]bool{}
	for _, f := range o.findings {
		if f.Detector != "surge" {
			continue
		}
		stated := false
		for i, x := range o.truth.Surges {
			if x.Key != f.Subject || f.Opened.Before(x.From.Add(-time.Hour)) || !f.Opened.Before(x.To) {
				continue
			}
			stated = true
			if !hit[i] {
				s.delays = append(s.delays, o.first[f.ID].Sub(x.From))
			}
			hit[i] = true
		}
		if stated {
			s.claim(true, "")
		} else {
			others = append(others, f)
		}
	}
	for _, f := range others {
		s.claim(o.rises[f.ID], "finding %s: %s", f.ID, f.Title.EN)
	}
	for i, x := range o.truth.Surges {
		if !o.comparable(&x) || !o.stated[x.Key] {
			s.beyond++
			continue
		}
		s.want(hit[i], "surge %s", show(x))
	}
}

// A rise is there when the hosts of an hour are twice those of the same hour in
// the same scene without its rising crowds, and ten more. The detector's rule
// wants that in two hours running: a surge that the scene states but that is
// less is below the definition.
const (
	riseRatio   = 2
	riseHosts   = 10
	riseRunning = 2
	riseHours   = 12 // after the opening
)

// prove makes the scene twice more, as it is and without what rises, and
// compares the hosts by hour.
func (o *outcome) prove(t *testing.T) {
	t.Helper()
	keys := map[string]bool{}
	for _, f := range o.findings {
		if f.Detector == "surge" {
			keys[f.Subject] = true
		}
	}
	for i := range o.truth.Surges {
		if x := &o.truth.Surges[i]; o.comparable(x) {
			keys[x.Key] = true
		}
	}
	if len(keys) == 0 {
		return
	}
	calm := o.scene
	calm.Actors = nil
	for _, a := range o.scene.Actors {
		if c, ok := a.(sim.Crowd); ok && (c.From > 0 || c.Alive != nil) {
			// Somebody who never comes: the others keep their places, and so their dice.
			a = sim.Ping{Source: netip.MustParseAddr("192.0.2.250"), Target: netip.MustParseAddr("198.18.0.1"), At: 2 * o.scene.Duration, Count: 1}
		}
		calm.Actors = append(calm.Actors, a)
	}
	with, without := hosts(t, o.scene, keys), hosts(t, calm, keys)
	risen := func(key string, from time.Time, hours int) (running int) {
		n := 0
		for h := range int64(hours) {
			k := hourOf{from.Unix()/3600 + h, key}
			if n++; len(with[k]) < riseRatio*len(without[k]) || len(with[k]) < len(without[k])+riseHosts {
				n = 0
			}
			running = max(running, n)
		}
		return running
	}
	o.rises, o.stated = map[string]bool{}, map[string]bool{}
	for _, f := range o.findings {
		if f.Detector == "surge" {
			o.rises[f.ID] = risen(f.Subject, f.Opened, riseHours) > 0
		}
	}
	for _, x := range o.truth.Surges {
		o.stated[x.Key] = risen(x.Key, x.From, int(x.To.Sub(x.From)/time.Hour)) >= riseRunning
	}
}

// comparable tells whether there is a day before to compare a surge with.
func (o *outcome) comparable(x *sim.Surge) bool { return x.From.Sub(o.scene.Start) >= 24*time.Hour }

type hourOf struct {
	hour int64
	key  string
}

// hosts are the sources by hour and key.
func hosts(t *testing.T, s sim.Scene, keys map[string]bool) map[hourOf]map[netip.Addr]struct{} {
	t.Helper()
	out := map[hourOf]map[netip.Addr]struct{}{}
	table := places(t)
	// Millions of packets, of few ports and sources: each is named once.
	type port struct {
		number   uint16
		protocol uint8
	}
	ofPort, ofSource := map[port]string{}, map[netip.Addr][2]string{}
	count := func(l *sim.Label, key string) {
		if !keys[key] {
			return
		}
		k := hourOf{l.Time / int64(time.Hour), key}
		if out[k] == nil {
			out[k] = map[netip.Addr]struct{}{}
		}
		out[k][l.Source] = struct{}{}
	}
	s.Label = func(l sim.Label) {
		if l.Class == sim.Apart || slices.ContainsFunc(s.Research, func(p netip.Prefix) bool { return p.Contains(l.Source) }) {
			return // nobody's rise
		}
		asked := port{l.Port, l.Protocol}
		if _, known := ofPort[asked]; !known {
			ofPort[asked] = fmt.Sprintf("%d/%s", l.Port, telescope.ProtocolName(l.Protocol))
		}
		if _, known := ofSource[l.Source]; !known {
			p := table.Lookup(packet.FromNetip(l.Source))
			ofSource[l.Source] = [2]string{string(p.Country[:]), fmt.Sprintf("AS%d", p.ASN)}
		}
		count(&l, ofPort[asked])
		count(&l, ofSource[l.Source][0])
		count(&l, ofSource[l.Source][1])
	}
	if _, err := s.Write(nowhere{}); err != nil {
		t.Fatal(err)
	}
	return out
}

type nowhere struct{}

func (nowhere) WriteFrame(int64, []byte) error { return nil }

// builtin is unpacked once for all scenes.
var builtin = sync.OnceValues(func() (*geo.Table, error) { return geo.Load(geo.Options{Builtin: true}) })

// places is the geography that the binary was built with.
func places(t *testing.T) *geo.Table {
	t.Helper()
	table, err := builtin()
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// withoutGeography tells whether surges of countries can't be measured, as
// nobody built the geography.
func withoutGeography(t *testing.T) bool {
	t.Helper()
	if len(places(t).Sources()) > 0 {
		return false
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("the geography isn't built: run `make build` first")
	}
	t.Log("SKIPPED: surges of countries, as the geography isn't built (make build)")
	return true
}
