package infected

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// idOf names a finding: of a client, of what kind, since when.
func idOf(a netip.Addr, kind string, opened int64) string {
	return fmt.Sprintf("infected-%s-%s-%s", kind, strings.ReplaceAll(a.String(), ":", "-"), time.Unix(0, opened).UTC().Format("20060102T1504Z"))
}

// frame is what both kinds of finding have in common.
func (d *Callers) frame(c *caller, kind string, l *life, state detect.State) detect.Finding {
	f := detect.Finding{
		ID: idOf(c.Addr, kind, l.Opened), Detector: "infected", Subject: c.Addr.String(), State: state, Severity: detect.Soon,
		Opened: time.Unix(0, l.Opened).UTC(), Changed: time.Unix(0, d.now).UTC(),
	}
	if state == detect.Closed {
		f.Changed = time.Unix(0, l.Last+int64(d.cfg.Quiet)).UTC()
		f.Closed = f.Changed
	}
	return f
}

// withdrawn takes a finding back.
func (d *Callers) withdrawn(c *caller, kind string, l *life) detect.Finding {
	f := d.frame(c, kind, l, detect.Closed)
	f.Changed = time.Unix(0, d.now).UTC()
	f.Closed = f.Changed
	f.Severity, f.Confidence = detect.Note, 0
	f.Title = detect.Textf("%s の検知を取り消しました", "The finding about %s is withdrawn", c.Addr)
	f.Why = detect.Text{
		JA: "このアドレスは多数の利用者に代わって名前解決をしています(リゾルバーやメールサーバーなど)。誰の端末かは分からないため、感染とは言えません。",
		EN: "This address asks for many others (a resolver, a mail server): whose device it is isn't known, and nobody may be accused.",
	}
	f.Evidence = []detect.Fact{{Key: "source", Value: "dns"}, {Key: "queries", Value: fmt.Sprint(c.Queries), Unit: "queries"}, {Key: "breadth", Value: fmt.Sprint(max(c.breadth(), c.Before)), Unit: "names", Error: "±5 %"}}
	return f
}

// calling says that a client calls a C&C.
//
// Confidence is the probability, by our own judgement, that a program on the line
// does: what is missing to 1 is mostly somebody who looked at a link, or a program that
// checks such names. 0.80 with two lookups, 0.90 with five, 0.95 with twenty; where the
// name leads to a sinkhole 0.03 more, as nobody publishes links to those.
func (d *Callers) calling(c *caller, state detect.State) detect.Finding {
	f := d.frame(c, "call", &c.Called, state)
	list := slices.Clone(c.Calls)
	slices.SortFunc(list, func(a, b call) int { return strings.Compare(a.Name, b.Name) })
	var count uint64
	first, last := int64(1<<63-1), int64(0)
	family, names, sunk, through := "", []string{}, false, false
	for i := range list {
		x := &list[i]
		count += x.Count
		first, last = min(first, x.First), max(last, x.Last)
		names = append(names, x.Name)
		switch {
		case family == "":
			family = x.Family
		case x.Family != "" && x.Family != family:
			family = unknown // several
		}
		sunk = sunk || x.Contact == observe.Sinkholed
		through = through || x.Contact == observe.Reached
	}
	if family == "" {
		family = unknown
	}
	names = slices.Compact(names)
	switch {
	case count >= 20:
		f.Confidence = 0.95
	case count >= 5:
		f.Confidence = 0.90
	default:
		f.Confidence = 0.80
	}
	if sunk {
		f.Confidence += 0.03
	}
	said, saidEN := family, family
	if family == unknown {
		said, saidEN = "ファミリー不明", "family unknown"
	}
	f.Title = detect.Textf("%s が C&C サーバーの名前を %s 回問い合わせています(%s)", "%s asked %s times for the name of a C&C server (%s)", c.Addr, detect.Grouped(count), said)
	f.Title.EN = fmt.Sprintf("%s asked %s times for the name of a C&C server (%s)", c.Addr, detect.Grouped(count), saidEN)
	f.Why = detect.Text{
		JA: fmt.Sprintf("遮断リストに載っている名前 %d 件を、時間を空けて繰り返し問い合わせています。利用者の操作ではなく、プログラムの動作と見られます。", len(names)),
		EN: fmt.Sprintf("It asks for %d listed names again and again, a while apart: a program does that, and not a person.", len(names)),
	}
	if sunk {
		f.Why.JA += "その一部は防御側が管理するサーバー(シンクホール)へ向かい、応答は遮断していません。"
		f.Why.EN += " Some lead to a sinkhole of defenders, and aren't blocked."
	}
	if through {
		f.Why.JA += "遮断中のはずの名前に応答が返っています。リゾルバーの設定を確認してください。"
		f.Why.EN += " Some are enforced, and were answered all the same: look at the resolver."
	}
	f.Evidence = []detect.Fact{
		{Key: "source", Value: "dns"},
		{Key: "family", Value: family},
		{Key: "names", Value: strings.Join(names[:min(len(names), mostTold)], " "), Unit: fmt.Sprintf("%d names", len(names))},
		{Key: "queries", Value: fmt.Sprint(count), Unit: "queries"},
		{Key: "resolver", Value: resolversOf(list)},
		{Key: "first", Value: time.Unix(0, first).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, last).UTC().Format(time.RFC3339)},
	}
	return f
}

// resolversOf are those that were asked.
func resolversOf(list []call) string {
	var names []string
	for i := range list {
		names = append(names, list[i].Resolver)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

// shapes are the words for shapes.
var shapes = map[string]detect.Text{
	shapeRandom:     {JA: "でたらめな文字の並び", EN: "letters at random"},
	shapeTail:       {JA: "末尾が同じで先頭だけが変わる名前", EN: "one tail behind heads that change"},
	shapeRecombined: {JA: "同じ単語の組み替え", EN: "the same words in ever new pairs"},
}

// making says that a client asks for made-up names.
//
// Confidence: 0.85 with a dozen names, 0.90 with thirty, 0.95 with a hundred, of letters
// at random; 0.05 less of the other shapes.
func (d *Callers) making(c *caller, state detect.State) detect.Finding {
	f := d.frame(c, "dga", &c.MadeUp, state)
	switch {
	case c.MadeCount >= 100:
		f.Confidence = 0.95
	case c.MadeCount >= 30:
		f.Confidence = 0.90
	default:
		f.Confidence = 0.85
	}
	if c.Shape != shapeRandom {
		f.Confidence -= 0.05
	}
	family := familyOf(&shaped{c.Shape, c.MadeCount, c.Made})
	words := shapes[c.Shape]
	f.Title = detect.Text{
		JA: fmt.Sprintf("%s が実在しない名前を 1 時間に %d 件問い合わせています(%s)", c.Addr, c.MadeCount, words.JA),
		EN: fmt.Sprintf("%s asked for %d names within an hour that don't exist (%s)", c.Addr, c.MadeCount, words.EN),
	}
	f.Why = detect.Text{
		JA: "登録されていない名前の多くが同じ形をしています。C&C サーバーの名前を計算で作るマルウェア(DGA)の動作です。",
		EN: "Most of the names that nobody has registered have one shape. Malware that makes up the names of its C&C servers (DGA) does that.",
	}
	if c.Habit > 0 {
		f.Why.JA += fmt.Sprintf("ふだんは 1 時間に %.1f 件です。", c.Habit)
		f.Why.EN += fmt.Sprintf(" Usually it is %.1f an hour.", c.Habit)
	}
	first := c.MadeUp.Last
	for _, m := range c.Missing {
		first = min(first, m.At)
	}
	f.Evidence = []detect.Fact{
		{Key: "source", Value: "dns"},
		{Key: "family", Value: family},
		{Key: "shape", Value: c.Shape},
		{Key: "nx", Value: fmt.Sprint(c.MadeCount), Unit: "names"},
		{Key: "names", Value: strings.Join(c.Made[:min(len(c.Made), mostTold)], " ")},
		{Key: "first", Value: time.Unix(0, first).UTC().Format(time.RFC3339)},
		{Key: "last", Value: time.Unix(0, c.MadeUp.Last).UTC().Format(time.RFC3339)},
	}
	return f
}

// callersForm names the form of the state.
const callersForm = "sakimori callers 1\n"

// callersState is the state of Callers.
type callersState struct {
	Now, Swept int64
	Dropped    uint64
	Clients    []*caller
}

// State is everything that a later Restore needs to go on as if nothing had happened.
func (d *Callers) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := callersState{d.now, d.swept, d.dropped, make([]*caller, 0, len(d.clients))}
	for _, c := range d.clients {
		s.Clients = append(s.Clients, c)
	}
	slices.SortFunc(s.Clients, func(a, b *caller) int { return a.Addr.Compare(b.Addr) })
	b, err := json.Marshal(s)
	return append([]byte(callersForm), b...), err
}

// Restore takes up what State gave. What it can't read changes nothing.
func (d *Callers) Restore(state []byte) error {
	rest, is := bytes.CutPrefix(state, []byte(callersForm))
	if !is {
		return errors.New("not a state of the detector of callers, or one of another version")
	}
	var s callersState
	if err := json.Unmarshal(rest, &s); err != nil {
		return fmt.Errorf("the state of the detector of callers: %w", err)
	}
	clients := map[netip.Addr]*caller{}
	for _, c := range s.Clients {
		if c == nil || !c.Addr.IsValid() || len(c.Breadth) != breadthBits/64 || clients[c.Addr] != nil || c.MadeUp.Open && shapes[c.Shape].EN == "" {
			return errors.New("the state of the detector of callers contradicts itself")
		}
		clients[c.Addr] = c
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now, d.swept, d.dropped, d.clients, d.touched = s.Now, s.Swept, s.Dropped, clients, nil
	for _, c := range clients {
		if len(c.Calls) > 0 || len(c.Missing) >= fewest {
			d.touch(c) // it may have waited
		}
	}
	return nil
}
