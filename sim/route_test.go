package sim

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// taken is a sink that reads what it gets with GoBGP's parser, and holds it against the truth.
type taken struct {
	t                    *testing.T
	peers                []RoutePeer
	prefixes, entries    int
	messages             uint64
	announced, withdrawn uint64
	damaged              uint64
	last                 []int64
	parse                bool
	paths                map[string][]uint32 // that are told, the table's included
	ready                bool
}

func (k *taken) Begin(_ int64, peers []RoutePeer) error {
	k.peers, k.last, k.paths = slices.Clone(peers), make([]int64, len(peers)), map[string][]uint32{}
	return nil
}

func (k *taken) Ready() error {
	k.ready = true
	return nil
}

func (k *taken) Entry(p netip.Prefix, routes []RouteEntry) error {
	k.prefixes++
	k.entries += len(routes)
	if p != p.Masked() || k.ready {
		k.t.Errorf("%v in the table", p)
	}
	for _, r := range routes {
		if i := bytes.Index(r.Attrs, []byte{wellKnown, attrPath}); i >= 0 { // the first attribute but one
			k.path(r.Attrs[i+5 : i+3+int(r.Attrs[i+2])])
		}
	}
	return nil
}

func (k *taken) path(b []byte) {
	if _, ok := k.paths[string(b)]; ok {
		return
	}
	var list []uint32
	for i := 0; i+4 <= len(b); i += 4 {
		list = append(list, binary.BigEndian.Uint32(b[i:]))
	}
	k.paths[string(b)] = list
}

func (k *taken) State(at int64, peer int, _ bool) error {
	k.last[peer] = max(k.last[peer], at)
	return nil
}

func (k *taken) Message(at int64, peer int, m []byte) error {
	if at < k.last[peer] || len(m) > bgpMost || int(binary.BigEndian.Uint16(m[16:])) != len(m) {
		k.t.Errorf("a message of %d bytes at %d, after %d", len(m), at, k.last[peer])
	}
	k.last[peer] = at
	k.messages++
	if !k.parse {
		return nil
	}
	u, err := bgp.ParseBGPMessage(m)
	if err != nil {
		k.damaged++
		if k.damaged > 30 {
			return err
		}
		k.announced++ // each has one
		return nil
	}
	body := u.Body.(*bgp.BGPUpdate)
	k.announced += uint64(len(body.NLRI))
	k.withdrawn += uint64(len(body.WithdrawnRoutes))
	for _, a := range body.PathAttributes {
		switch a := a.(type) {
		case *bgp.PathAttributeMpReachNLRI:
			k.announced += uint64(len(a.Value))
		case *bgp.PathAttributeMpUnreachNLRI:
			k.withdrawn += uint64(len(a.Value))
		case *bgp.PathAttributeAsPath:
			for _, s := range a.Value {
				var b []byte
				for _, as := range s.GetAS() {
					b = binary.BigEndian.AppendUint32(b, as)
				}
				k.path(b)
			}
		}
	}
	return nil
}

// TestRouteScenes plays a third of the scenes, reads them with another parser, and holds
// each truth against what it is the truth of.
func TestRouteScenes(t *testing.T) {
	t.Parallel()
	for i, s := range RouteScenes() {
		if i%3 != 0 && s.Name != "damaged" && s.Name != "reset" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			k := &taken{t: t, parse: s.Name != "leak-20000" && !strings.HasPrefix(s.Name, "leak-2017")}
			truth, err := s.Scene.Play(k)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(k.peers, truth.Peers) || k.prefixes != truth.Prefixes || k.entries != truth.Entries || k.messages != truth.Messages {
				t.Errorf("%d prefixes, %d routes, %d messages; the truth says %d, %d, %d", k.prefixes, k.entries, k.messages, truth.Prefixes, truth.Entries, truth.Messages)
			}
			if k.parse && (k.announced != truth.Announced || k.withdrawn != truth.Withdrawn) {
				t.Errorf("%d announced and %d withdrawn; the truth says %d and %d", k.announced, k.withdrawn, truth.Announced, truth.Withdrawn)
			}
			if len(truth.Incidents)+len(truth.Innocents) == 0 && s.Name != "calm" {
				t.Error("nothing happened")
			}
			for _, i := range truth.Incidents {
				late := i.First.Sub(i.Onset)
				if i.First.IsZero() || late < 0 || late > 30*time.Second || !i.End.After(i.First) || i.Prefixes < 1 || i.Peers < 1 || len(i.List) == 0 {
					t.Errorf("%+v", i)
				}
			}
		})
	}
}

// TestRouteRules holds every path of an ordinary day against the rules of Gao and Rexford,
// by the relations that are written to the operator's file: after the first step down or
// aside only steps down come, siblings and route servers left out.
func TestRouteRules(t *testing.T) {
	t.Parallel()
	s, err := RouteSceneByName("core-link", 7)
	if err != nil {
		t.Fatal(err)
	}
	k := &taken{t: t, parse: true}
	truth, err := s.Play(k)
	if err != nil {
		t.Fatal(err)
	}
	rel := map[[2]uint32]int{} // of the second to the first: 1 provider, 0 peer, -1 customer
	for _, r := range truth.Knows.relations {
		if r.provider {
			rel[[2]uint32{r.b, r.a}], rel[[2]uint32{r.a, r.b}] = 1, -1
		} else {
			rel[[2]uint32{r.a, r.b}], rel[[2]uint32{r.b, r.a}] = 0, 0
		}
	}
	for _, path := range k.paths {
		path = slices.DeleteFunc(slices.Compact(slices.Clone(path)), func(as uint32) bool { return slices.Contains(truth.Knows.RouteServers, as) })
		down := false
		for i := len(path) - 1; i > 0; i-- {
			if slices.ContainsFunc(truth.Knows.Siblings, func(x [2]uint32) bool { return slices.Contains(x[:], path[i]) && slices.Contains(x[:], path[i-1]) }) {
				continue
			}
			to, known := rel[[2]uint32{path[i], path[i-1]}]
			if !known || down && to >= 0 {
				t.Fatalf("%v: from %d to %d", path, path[i], path[i-1])
			}
			down = down || to <= 0
		}
	}
	if len(k.paths) < 1000 {
		t.Errorf("only %d paths", len(k.paths))
	}
}

// TestRouteRest has every AS choose anew when the world is at rest: nobody changes anything.
func TestRouteRest(t *testing.T) {
	t.Parallel()
	s := RouteScene{Seed: 3, Start: time.Unix(1.7e9, 0), Duration: time.Hour}
	n, err := newRouteNet(&s)
	if err != nil {
		t.Fatal(err)
	}
	n.freeze()
	reached := 0
	for g := range int32(len(n.groups)) {
		if err := n.engine.begin(n, g); err != nil {
			t.Fatal(err)
		}
		n.engine.wire(n)
		before := slices.Clone(n.engine.best)
		for i := range int32(len(n.nodes)) {
			n.engine.decide(n, g, i, 0)
			if before[i].path >= 0 {
				reached++
			}
		}
		if !slices.Equal(before, n.engine.best) || len(n.engine.queue) > 0 {
			t.Fatalf("group %d isn't at rest", g)
		}
	}
	if all := len(n.groups) * len(n.nodes); reached != all {
		t.Errorf("%d of %d routes are there", reached, all)
	}
}

func TestRouteSame(t *testing.T) {
	t.Parallel()
	write := func(seed uint64) (dump, updates bytes.Buffer) {
		s, err := RouteSceneByName("hijack-and-leak", seed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.WriteMRT(&dump, &updates); err != nil {
			t.Fatal(err)
		}
		return dump, updates
	}
	d1, u1 := write(1)
	d2, u2 := write(1)
	d3, u3 := write(2)
	if !bytes.Equal(d1.Bytes(), d2.Bytes()) || !bytes.Equal(u1.Bytes(), u2.Bytes()) {
		t.Error("the same seed gives other bytes")
	}
	if bytes.Equal(d1.Bytes(), d3.Bytes()) || bytes.Equal(u1.Bytes(), u3.Bytes()) {
		t.Error("another seed gives the same bytes")
	}
}

// TestRouteDump has bgpdump read a scene's files: it finds every element.
func TestRouteDump(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("bgpdump")
	if err != nil {
		why := "needs bgpdump: see scripts/debian-packages test"
		if os.Getenv("CI") == "true" {
			t.Fatal(why)
		}
		t.Skip("SKIPPED, NOT TESTED: " + why)
	}
	s, err := RouteSceneByName("reset", 1)
	if err != nil {
		t.Fatal(err)
	}
	s.World.Peers, s.World.Stubs = 6, 50
	s.Events = slices.Clone(s.Events)
	s.Events[1] = RouteSession{What: "reset", Peer: 4, At: 5 * time.Minute, For: 20 * time.Second} // of IPv6
	var dump, updates bytes.Buffer
	truth, err := s.WriteMRT(&dump, &updates)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for name, b := range map[string][]byte{"rib": dump.Bytes(), "updates": updates.Bytes()} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "-m", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(out)) {
			f := strings.Split(line, "|")
			count[f[2]]++
		}
	}
	if count["B"] != truth.Entries || count["A"] != int(truth.Announced) || count["W"] != int(truth.Withdrawn) || count["STATE"] != 4 {
		t.Errorf("%v; the truth says %d routes, %d announced, %d withdrawn", count, truth.Entries, truth.Announced, truth.Withdrawn)
	}
}

func TestRouteErrors(t *testing.T) {
	t.Parallel()
	ok := RouteScene{Name: "x", Start: time.Unix(1.7e9, 0), Duration: time.Hour}
	for name, change := range map[string]func(*RouteScene){
		"no duration":      func(s *RouteScene) { s.Duration = 0 },
		"too small":        func(s *RouteScene) { s.World.Stubs = 3 },
		"too many":         func(s *RouteScene) { s.World.Prefixes = 3_000_000 },
		"no such peer":     func(s *RouteScene) { s.Events = []RouteEvent{RouteSession{What: "reset", Peer: 99}} },
		"no such move":     func(s *RouteScene) { s.Events = []RouteEvent{RouteMove{What: "dance"}} },
		"no such leak":     func(s *RouteScene) { s.Events = []RouteEvent{RouteLeak{Type: 7, Prefixes: 1, For: time.Minute}} },
		"more than leaks":  func(s *RouteScene) { s.Events = []RouteEvent{RouteLeak{Type: 1, Prefixes: 1 << 30, For: time.Minute}} },
		"too small drill":  func(s *RouteScene) { s.Events = []RouteEvent{RouteDrill{Prefixes: 10}} },
		"nothing hijacked": func(s *RouteScene) { s.Events = []RouteEvent{RouteHijack{Form: "polite", For: time.Minute}} },
	} {
		s := ok
		change(&s)
		if _, err := s.Play(&taken{t: t}); err == nil || !strings.Contains(err.Error(), `route scene "x"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
