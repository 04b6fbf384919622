package register_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
)

func flood(n int, state detect.State, at time.Time) detect.Attack {
	opened := time.Unix(1_700_000_000+int64(n), 0).UTC()
	a := detect.Attack{
		ID: fmt.Sprintf("attack-%02d", n), State: state, Direction: detect.Incoming, Opened: opened, Changed: at.UTC(),
		Object:  detect.Object{Kind: detect.AddressObject, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), 32), Name: "Example"},
		Vectors: []detect.Vector{{Name: "syn", Share: 0.9}, {Name: "udp", Share: 0.1}},
		Sample:  []detect.Sample{{Src: netip.MustParseAddr("198.51.100.1"), Packets: 3}},
	}
	if state == detect.Closed {
		a.Closed = at.UTC()
	}
	return a
}

// Of a long attack the first version is told, and the last hundred.
func TestLongAttack(t *testing.T) {
	t.Parallel()
	s, r := open(t, t.TempDir())
	at := time.Unix(1_700_001_000, 0)
	attacks := []detect.Attack{flood(1, detect.Opened, at)}
	for n := range 150 {
		attacks = append(attacks, flood(1, detect.Changed, at.Add(time.Duration(n+1)*10*time.Second)))
	}
	if err := s.Tx(t.Context(), func(tx *store.Tx) error { return r.WriteAttacks(tx, attacks, nil) }); err != nil {
		t.Fatal(err)
	}
	now, history, err := r.Attack(t.Context(), "attack-01")
	last := attacks[150].Changed
	if err != nil || len(history) != 101 || history[0].State != detect.Opened || !history[1].Changed.Equal(attacks[51].Changed) || !history[100].Changed.Equal(last) || !now.Changed.Equal(last) {
		t.Errorf("%v: %d versions", err, len(history))
	}
}

// What is written is read again, newest version whole; writing it twice changes nothing.
func TestAttacksAreKept(t *testing.T) {
	s, r := open(t, t.TempDir())
	at := time.Unix(1_700_001_000, 0)
	var attacks []detect.Attack
	for n := range 7 {
		attacks = append(attacks, flood(n, detect.Opened, at), flood(n, detect.Changed, at.Add(time.Second)))
		if n%2 == 0 {
			attacks = append(attacks, flood(n, detect.Closed, at.Add(2*time.Second)))
		}
	}
	courses := []register.Course[detect.CoursePoint]{{ID: "attack-01", Points: []detect.CoursePoint{{At: 100, Packets: 10, Error: 3}, {At: 101, Packets: 30, Error: 4}}}, {ID: "attack-01", Points: []detect.CoursePoint{{At: 101, Packets: 50, Error: 4}}}}
	for range 2 {
		if err := s.Tx(t.Context(), func(tx *store.Tx) error { return r.WriteAttacks(tx, attacks, courses) }); err != nil {
			t.Fatal(err)
		}
	}
	var order []string
	for after := ""; ; {
		page, next, err := r.Attacks(t.Context(), register.AttackQuery{Limit: 2, After: after})
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			order = append(order, page[i].ID[len("attack-"):])
		}
		if after = next; after == "" {
			break
		}
	}
	if got := fmt.Sprint(order); got != "[05 03 01 06 04 02 00]" {
		t.Errorf("under way first, then the latest: %s", got)
	}
	a, history, err := r.Attack(t.Context(), "attack-04")
	if err != nil || a.State != detect.Closed || len(a.Sample) != 1 || len(history) != 3 || history[0].State != detect.Opened || history[2].Sample != nil {
		t.Errorf("%v %+v %d versions", err, a, len(history))
	}
	if _, _, err := r.Attack(t.Context(), "nothing"); !errors.Is(err, register.ErrNoAttack) {
		t.Errorf("an attack that isn't there: %v", err)
	}
	if n, err := r.Running(t.Context()); n != 3 || err != nil {
		t.Errorf("%d under way, %v", n, err)
	}
	points, err := r.Course(t.Context(), "attack-01", observe.Range{}, 1)
	if err != nil || len(points) != 2 || points[1].Packets != 50 {
		t.Errorf("course: %v %+v", err, points)
	}
	if mean, err := r.Course(t.Context(), "attack-01", observe.Range{}, 10); err != nil || len(mean) != 1 || mean[0].Packets != 30 || mean[0].Error != 2.5 || mean[0].At != 100 {
		t.Errorf("mean: %v %+v", err, mean)
	}
}

func TestAttacksAreFound(t *testing.T) {
	s, r := open(t, t.TempDir())
	at := time.Unix(1_700_001_000, 0)
	out := flood(3, detect.Opened, at)
	out.Direction, out.Object = detect.Outgoing, detect.Object{Kind: detect.CustomerObject, Name: "Beispiel"}
	out.Vectors = out.Vectors[1:]
	if err := s.Tx(t.Context(), func(tx *store.Tx) error {
		return r.WriteAttacks(tx, []detect.Attack{flood(1, detect.Opened, at), flood(2, detect.Closed, at), out}, nil)
	}); err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	for want, q := range map[string]register.AttackQuery{
		"open":     {Open: &yes},
		"closed":   {Open: &no},
		"outgoing": {Direction: detect.Outgoing},
		"vector":   {Vector: "syn"},
		"name":     {Name: "beis"},
		"within":   {Within: netip.MustParsePrefix("203.0.113.2/31")},
		"later":    {Range: observe.Range{From: at.Add(time.Hour)}},
		"earlier":  {Range: observe.Range{To: time.Unix(1_700_000_002, 0)}},
	} {
		q.Limit = 10
		got, _, err := r.Attacks(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		ids := ""
		for i := range got {
			ids += got[i].ID[len(got[i].ID)-1:]
		}
		if expected := map[string]string{"open": "31", "closed": "2", "outgoing": "3", "vector": "12", "name": "3", "within": "2", "later": "31", "earlier": "1"}[want]; ids != expected {
			t.Errorf("%s: %s instead of %s", want, ids, expected)
		}
	}
}
