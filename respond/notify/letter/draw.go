package letter

import (
	"slices"
	"strconv"

	"github.com/signintech/gopdf"

	"sakimori/respond/notify"
)

// mm in points.
const mm = 72 / 25.4

// Lengths of the page in millimetres, sizes of letters in points.
const (
	left, right    = 22.0, 188.0
	bottom         = 277.0
	headSize       = 11.0
	titleSize      = 14.5
	smallSize      = 8.5
	numberSize     = 16.0
	indent         = 6.0
	continuedStart = 26.0
	above, heading = 2.5, 8.0 // of a heading
	labelSize      = 9.5
)

// density is how close the text stands. A letter that nearly fits one page is set
// closer: nobody reads the second page of three lines.
type density struct{ size, line, between float64 } // points; mm; mm after a paragraph

var densities = []density{{10, 5.6, 1.2}, {9.5, 5.3, 0.9}, {9.5, 5, 0.7}, {9.5, 4.75, 0.5}, {9, 4.5, 0.4}}

// sheet is a letter while it is drawn.
type sheet struct {
	press *Press
	pdf   *gopdf.GoPdf
	added []bool // fonts that are in the document: only those that are used
	font  int    // that is set; -1 none
	size  float64
	y     float64 // of the next line's top, mm
	dense density
}

func (p *Press) sheet() *sheet {
	s := &sheet{press: p, pdf: &gopdf.GoPdf{}, added: make([]bool, len(p.names)), font: -1}
	s.pdf.Start(gopdf.Config{PageSize: *gopdf.PageSizeA4})
	s.pdf.AddPage()
	return s
}

// set chooses font and size.
func (s *sheet) set(font int, size float64) error {
	if font == s.font && size == s.size {
		return nil
	}
	name := s.press.names[font]
	if !s.added[font] {
		if err := s.pdf.AddTTFFontFromFontContainer(name, s.press.fonts); err != nil {
			return err
		}
		s.added[font] = true
	}
	s.font, s.size = font, size
	return s.pdf.SetFont(name, "", size)
}

// missing names the letters that no font has, "" none.
func (s *sheet) missing(texts ...string) string {
	var list []rune
	for _, t := range texts {
		for _, r := range t {
			if s.press.glyph(r).font < 0 && !slices.Contains(list, r) {
				list = append(list, r)
			}
		}
	}
	return codePoints(list)
}

// width of a text in millimetres.
func (s *sheet) width(text string, size float64) (w float64) {
	for _, r := range text {
		w += s.press.glyph(r).em * size
	}
	return w / mm
}

// put writes a text whose baseline begins at x, y.
func (s *sheet) put(x, y, size float64, text string) error {
	runes := []rune(text)
	for i := 0; i < len(runes); {
		font, j := s.press.glyph(runes[i]).font, i
		for j < len(runes) && s.press.glyph(runes[j]).font == font {
			j++
		}
		run := string(runes[i:j])
		if err := s.set(font, size); err != nil {
			return err
		}
		s.pdf.SetXY(x*mm, y*mm)
		if err := s.pdf.Text(run); err != nil {
			return err
		}
		x += s.width(run, size)
		i = j
	}
	return nil
}

// putRight ends a text at x.
func (s *sheet) putRight(x, y, size float64, text string) error {
	return s.put(x-s.width(text, size), y, size, text)
}

// address writes the addressee into the block, as large as fits.
func (s *sheet) address(b Block, who person) error {
	for size := 10.0; size >= 7; size -= 0.5 {
		line := size * 0.47 // mm
		name := size + 1.5
		var lines []string
		for _, l := range who.lines {
			lines = append(lines, wrap(l, b.Width, func(t string) float64 { return s.width(t, size) })...)
		}
		names := wrap(who.name, b.Width, func(t string) float64 { return s.width(t, name) })
		if float64(len(lines))*line+float64(len(names))*(line+1.2) > b.Height || len(names) > 2 {
			continue
		}
		y := b.Top
		for _, l := range lines {
			y += line
			if err := s.put(b.Left, y-0.8, size, l); err != nil {
				return err
			}
		}
		for _, n := range names {
			y += line + 1.2
			if err := s.put(b.Left, y-0.8, name, n); err != nil {
				return err
			}
		}
		return nil
	}
	return &notify.Unwritable{State: notify.Unprintable, Reason: "the address is too long for the envelope's window: shorten it or widen the block"}
}

// draw writes everything but the address.
func (s *sheet) draw(l *letter) error {
	s.pdf.SetInfo(gopdf.PdfInfo{Title: l.title, Author: l.sender.Name, Producer: "sakimori"})
	if err := s.head(l); err != nil {
		return err
	}
	s.dense = densities[1] // over several pages
	for _, d := range densities {
		if s.y+s.height(l, d) <= bottom {
			s.dense = d
			break
		}
	}
	for _, p := range l.parts {
		if err := s.part(l, p); err != nil {
			return err
		}
	}
	return s.numbers()
}

// height is what the parts need, in millimetres.
func (s *sheet) height(l *letter, d density) (h float64) {
	for _, p := range l.parts {
		if p.heading != "" {
			h += above + heading
		}
		for _, text := range p.paragraphs {
			h += float64(len(s.lines(p, text, d)))*d.line + d.between
		}
	}
	return h
}

// lines are a paragraph's or a step's.
func (s *sheet) lines(p part, text string, d density) []string {
	width := right - left
	if p.numbered {
		width -= indent
	}
	return wrap(text, width, func(t string) float64 { return s.width(t, d.size) })
}

// head is letterhead, date, title and the box of the number. None of it can be seen
// through the window.
func (s *sheet) head(l *letter) error {
	clear, below := l.window.seen()
	x := max(clear+6, 120)
	y := 17.0
	if err := s.putRight(right, y, labelSize, l.day); err != nil {
		return err
	}
	y += 9
	for _, line := range wrap(l.sender.Name, right-x, func(t string) float64 { return s.width(t, headSize) }) {
		if err := s.put(x, y, headSize, line); err != nil {
			return err
		}
		y += 5
	}
	for _, text := range l.sender.Lines {
		for _, line := range wrap(text, right-x, func(t string) float64 { return s.width(t, smallSize) }) {
			if err := s.put(x, y, smallSize, line); err != nil {
				return err
			}
			y += 4.2
		}
	}
	s.marks()
	s.y = max(below+9, y+6, 66)
	for _, line := range wrap(l.title, right-left, func(t string) float64 { return s.width(t, titleSize) }) {
		s.y += 7
		if err := s.put((left+right-s.width(line, titleSize))/2, s.y, titleSize, line); err != nil {
			return err
		}
	}
	return s.box(l)
}

// marks show where the page is folded.
func (s *sheet) marks() {
	s.pdf.SetLineWidth(0.3)
	s.pdf.SetStrokeColor(120, 120, 120)
	for _, y := range []float64{foldHeight, 2 * foldHeight} {
		s.pdf.Line(5*mm, y*mm, 9*mm, y*mm)
	}
}

// box frames the reference number.
func (s *sheet) box(l *letter) error {
	s.y += 5
	const height = 12.0
	s.pdf.SetStrokeColor(0, 0, 0)
	s.pdf.SetLineWidth(0.7)
	s.pdf.RectFromUpperLeftWithStyle(left*mm, s.y*mm, (right-left)*mm, height*mm, "D")
	if err := s.put(left+4, s.y+7.4, labelSize, l.label); err != nil {
		return err
	}
	x := left + 4 + s.width(l.label, labelSize) + 5
	if err := s.put(x, s.y+8.2, numberSize, l.number); err != nil {
		return err
	}
	if x += s.width(l.number, numberSize) + 4; x+s.width(l.use, smallSize)+4 <= right {
		if err := s.putRight(right-4, s.y+7.4, smallSize, l.use); err != nil {
			return err
		}
	}
	s.y += height + 4
	return nil
}

// room begins a new page when the next lines don't fit.
func (s *sheet) room(l *letter, height float64) error {
	if s.y+height <= bottom {
		return nil
	}
	s.pdf.AddPage()
	s.font = -1
	s.y = continuedStart
	return s.put(left, 17, smallSize, l.continuation)
}

func (s *sheet) part(l *letter, p part) error {
	d := s.dense
	if p.heading != "" {
		s.y += above
		if err := s.room(l, heading+2*d.line); err != nil { // no heading alone at the foot
			return err
		}
		if err := s.put(left, s.y+4.6, headSize, p.heading); err != nil {
			return err
		}
		s.pdf.SetLineWidth(0.4)
		s.pdf.Line(left*mm, (s.y+6.2)*mm, right*mm, (s.y+6.2)*mm)
		s.y += heading
	}
	for i, text := range p.paragraphs {
		x := left
		if p.numbered {
			x += indent
		}
		for j, line := range s.lines(p, text, d) {
			if err := s.room(l, d.line); err != nil {
				return err
			}
			base := s.y + d.line*0.7
			if p.numbered && j == 0 {
				if err := s.putRight(x-1.5, base, d.size, strconv.Itoa(i+1)+"."); err != nil {
					return err
				}
			}
			if err := s.put(x, base, d.size, line); err != nil {
				return err
			}
			s.y += d.line
		}
		s.y += d.between
	}
	return nil
}

// numbers writes the pages' numbers when there are several.
func (s *sheet) numbers() error {
	n := s.pdf.GetNumberOfPages()
	for i := 1; n > 1 && i <= n; i++ {
		if err := s.pdf.SetPage(i); err != nil {
			return err
		}
		s.font = -1
		text := strconv.Itoa(i) + " / " + strconv.Itoa(n)
		if err := s.put((pageWidth-s.width(text, smallSize))/2, pageHeight-12, smallSize, text); err != nil {
			return err
		}
	}
	return nil
}
