package letter

// Lengths are in millimetres from the upper left corner.
const (
	pageWidth  = 210.0
	pageHeight = 297.0
	foldHeight = 99.0 // A4 folded in three
)

// Block is where the address may stand on the page.
type Block struct{ Left, Top, Width, Height float64 }

// Window is an envelope, lying, and the window in it.
type Window struct {
	EnvelopeWidth, EnvelopeHeight float64
	Left, Top, Width, Height      float64
}

// Naga3 is 長形3号 (JIS S 5502: 120 × 235 mm) with the window that is usual on it. No
// standard fixes the window: measure your envelopes.
var Naga3 = Window{EnvelopeWidth: 235, EnvelopeHeight: 120, Left: 22, Top: 12, Width: 90, Height: 45}

// slack is how far a folded page can slide in the envelope.
func (w Window) slack() (x, y float64) {
	return max(w.EnvelopeWidth-pageWidth, 0), max(w.EnvelopeHeight-foldHeight, 0)
}

// Block is what the window shows of the page however the page has slid.
func (w Window) Block() Block {
	x, y := w.slack()
	return Block{Left: w.Left, Top: w.Top, Width: w.Width - x, Height: w.Height - y}
}

// seen is how far to the right and down the window may show something.
func (w Window) seen() (right, bottom float64) { return w.Left + w.Width, w.Top + w.Height }
