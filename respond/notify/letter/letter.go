// Package letter makes notices on paper: an A4 page as PDF with its font embedded, the
// address where the window of an envelope shows it, and batches of such letters for
// the printer.
package letter

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signintech/gopdf"

	"sakimori/respond/notify"
)

// Sender is the letterhead, in one language.
type Sender struct {
	Name  string
	Lines []string // postal address, desk, telephone
}

// Config is what a Press is made with.
type Config struct {
	// Fonts are files with TrueType outlines (Debian: fonts-ipafont-gothic). A letter that
	// the first one lacks is taken from the next: put a font of 外字 last.
	Fonts  []string
	JA, EN Sender
	Zone   *time.Location
	Reiwa  bool   // the date by era in Japanese letters
	Block  Block  // where the address stands; zero: Naga3.Block()
	Window Window // of the envelope, kept free of all but the address; zero: Naga3
	Dir    string // of the batches
}

// Press makes letters. It may be used by many goroutines.
type Press struct {
	cfg   Config
	fonts *gopdf.FontContainer
	names []string // of the fonts in the container, in order

	mu     sync.Mutex
	probe  *gopdf.GoPdf // a document with all fonts, to ask them
	widths map[rune]glyph
}

// glyph is what is known of a letter: which font has it, and how wide it is.
type glyph struct {
	font int     // -1 none
	em   float64 // width at size one
}

// New reads the fonts. It writes nothing.
func New(cfg Config) (*Press, error) {
	if len(cfg.Fonts) == 0 {
		return nil, errors.New("letter: name a font with TrueType outlines (Debian: fonts-ipafont-gothic)")
	}
	if cfg.JA.Name == "" || cfg.EN.Name == "" || cfg.Zone == nil {
		return nil, errors.New("letter: the sender's name in both languages and the time zone are needed")
	}
	if cfg.Window == (Window{}) {
		cfg.Window = Naga3
	}
	if cfg.Block == (Block{}) {
		cfg.Block = cfg.Window.Block()
	}
	if b := cfg.Block; b.Left < 0 || b.Top < 0 || b.Width < 30 || b.Height < 15 || b.Left+b.Width > pageWidth || b.Top+b.Height > foldHeight {
		return nil, fmt.Errorf("letter: no address fits into %+v mm of the page's upper third: measure the envelope", b)
	}
	p := &Press{cfg: cfg, fonts: &gopdf.FontContainer{}, probe: &gopdf.GoPdf{}, widths: map[rune]glyph{}}
	p.probe.Start(gopdf.Config{PageSize: *gopdf.PageSizeA4})
	for i, path := range cfg.Fonts {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("letter: %w", err)
		}
		if len(raw) < 4 || string(raw[:4]) == "OTTO" || string(raw[:4]) == "ttcf" {
			return nil, fmt.Errorf("letter: %s has no TrueType outlines of its own: use a .ttf such as IPAexGothic", filepath.Base(path))
		}
		// Six letters and a plus say that a font is a subset (ISO 32000-1, section 9.6.4).
		name := "SKMRA" + string(rune('A'+i%26)) + "+" + strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		err = p.fonts.AddTTFFontData(name, raw)
		if err == nil {
			err = p.probe.AddTTFFontFromFontContainer(name, p.fonts)
		}
		if err != nil {
			return nil, fmt.Errorf("letter: the font %s: %w", filepath.Base(path), err)
		}
		p.names = append(p.names, name)
	}
	return p, nil
}

// glyph looks a letter up in the fonts, in their order.
func (p *Press) glyph(r rune) glyph {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g, is := p.widths[r]; is {
		return g
	}
	g := glyph{font: -1}
	const size = 1000
	for i, name := range p.names {
		if chooses(r) || p.probe.SetFont(name, "", size) != nil {
			break
		}
		if has, err := p.probe.IsCurrFontContainGlyph(r); err != nil || !has {
			continue
		}
		if w, err := p.probe.MeasureTextWidth(string(r)); err == nil {
			g = glyph{i, w / size}
			break
		}
	}
	p.widths[r] = g
	return g
}

// Write makes one letter. A name or address with a letter that no font has is
// Unprintable: an empty box in an address is worse than no letter.
func (p *Press) Write(m *notify.Message) (notify.Sheet, error) {
	s := p.sheet()
	who := addressee(m)
	if missing := s.missing(append(append([]string{}, who.lines...), who.name)...); missing != "" {
		return notify.Sheet{}, &notify.Unwritable{State: notify.Unprintable, Reason: "no font has " + missing + ", which the name or address needs: add a font that has it"}
	}
	l := p.page(m)
	if missing := s.missing(l.texts()...); missing != "" {
		return notify.Sheet{}, fmt.Errorf("letter: no font has %s, which the template or the letterhead needs", missing)
	}
	if len(who.lines) == 0 {
		return notify.Sheet{}, &notify.Unwritable{State: notify.Failed, Reason: "no postal address is known: use another channel"}
	}
	if err := s.address(p.cfg.Block, who); err != nil {
		return notify.Sheet{}, err
	}
	if err := s.draw(l); err != nil {
		return notify.Sheet{}, fmt.Errorf("letter: %w", err)
	}
	content, err := s.pdf.GetBytesPdfReturnErr()
	if err != nil {
		return notify.Sheet{}, fmt.Errorf("letter: %w", err)
	}
	return notify.Sheet{Type: "application/pdf", Content: content}, nil
}

// person is an addressee as printed.
type person struct {
	lines []string
	name  string
}

// addressee is a person's address, one field a line, as the post in Japan reads it:
// also when the letter is in English.
func addressee(m *notify.Message) person {
	var w person
	a := m.Person.Postal
	if len(a.Lines) == 0 {
		return w
	}
	if a.Code != "" {
		w.lines = append(w.lines, "〒"+clean(a.Code))
	}
	for _, line := range a.Lines {
		if line = clean(line); line != "" {
			w.lines = append(w.lines, line)
		}
	}
	w.name = clean(m.Person.Name) + " 様"
	return w
}

// day writes the date of a letter.
func (p *Press) day(t time.Time, lang string) string {
	t = t.In(p.cfg.Zone)
	if lang != "ja" {
		return t.Format("2 January 2006")
	}
	// 令和 began on 1 May 2019 (元号を改める政令, 平成31年政令第143号).
	if p.cfg.Reiwa && !t.Before(time.Date(2019, 5, 1, 0, 0, 0, 0, p.cfg.Zone)) {
		year := strconv.Itoa(t.Year() - 2018)
		if year == "1" {
			year = "元"
		}
		return "令和" + year + t.Format("年1月2日")
	}
	return t.Format("2006年1月2日")
}

// headings of the parts, in each language.
var headings = map[string]struct{ number, use, what, steps, check, contact string }{
	"ja": {"お問い合わせ番号", "このお知らせの確認や、お電話の際にお使いください", "何が起きているか", "お願いしたいこと", "このお知らせの確かめ方", "お問い合わせ"},
	"en": {"Reference number", "for checking this notice and when you call", "What has happened", "What to do", "How to check this notice", "Contact"},
}

// letter is what stands on the pages besides the address.
type letter struct {
	lang         string
	sender       Sender
	day          string
	title        string
	label, use   string
	number       string
	parts        []part
	window       Window
	continuation string
}

// part is a run of paragraphs or steps under a heading.
type part struct {
	heading    string // "" none
	paragraphs []string
	numbered   bool
}

func (p *Press) page(m *notify.Message) *letter {
	w := &m.Words
	h := headings[w.Language]
	l := &letter{lang: w.Language, sender: p.cfg.JA, day: p.day(m.At, w.Language), title: w.Title, label: h.number, use: h.use, number: notify.Grouped(m.Notice.Reference), window: p.cfg.Window}
	if w.Language == "en" {
		l.sender = p.cfg.EN
	}
	l.continuation = h.number + " " + l.number
	l.parts = []part{
		{paragraphs: w.Greeting},
		{heading: h.what, paragraphs: w.What},
		{heading: h.steps, paragraphs: w.Steps, numbered: true},
		{paragraphs: w.After},
		{heading: h.check, paragraphs: w.Check},
		{heading: h.contact, paragraphs: append(append([]string{}, w.Contact...), w.Channel...)},
	}
	return l
}

// texts are all that is printed of a letter besides the address.
func (l *letter) texts() []string {
	all := append([]string{l.sender.Name, l.day, l.title, l.label, l.use, l.number, l.continuation, "0123456789./"}, l.sender.Lines...)
	for _, p := range l.parts {
		all = append(append(all, p.heading), p.paragraphs...)
	}
	return all
}

// codePoints names letters by their number, as those who have no font for them see
// nothing else.
func codePoints(list []rune) string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = fmt.Sprintf("U+%04X", r)
	}
	return strings.Join(names, ", ")
}

// Interface guard.
var _ notify.Press = (*Press)(nil)
