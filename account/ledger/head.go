package ledger

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"sakimori/account"
)

// Head is the last entry of the book at a moment, signed. Whoever keeps a copy of
// it elsewhere can show later that the book was changed, or shortened.
type Head struct {
	Seq  uint64    `json:"seq"`
	Hash string    `json:"hash"` // hexadecimal
	At   time.Time `json:"at"`
	Key  string    `json:"key"` // Ed25519 public key, base64
	Sig  string    `json:"sig"` // of text, base64
}

// text is what is signed.
func (h *Head) text() []byte {
	return fmt.Appendf(nil, "sakimori ledger head\n%d\n%s\n%s\n", h.Seq, h.Hash, h.At.UTC().Format(time.RFC3339Nano))
}

// valid tells whether the signature is that of the key in it.
func (h *Head) valid() bool {
	key, err1 := base64.StdEncoding.DecodeString(h.Key)
	sig, err2 := base64.StdEncoding.DecodeString(h.Sig)
	return err1 == nil && err2 == nil && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, h.text(), sig)
}

// Sign signs the last entry and adds the head to a file, one in a line. It says
// false when the newest head there is of the same entry already.
func (b *Book) Sign(ctx context.Context, key ed25519.PrivateKey, path string) (h Head, signed bool, err error) {
	e, err := last(ctx, b.db)
	if err != nil {
		return h, false, err
	}
	old, err := ReadHeads(path)
	if err != nil {
		return h, false, err
	}
	if n := len(old); n > 0 && old[n-1].Seq == e.Seq || e.Seq == 0 {
		if n > 0 {
			h = old[n-1]
		}
		return h, false, nil
	}
	public, is := key.Public().(ed25519.PublicKey)
	if !is {
		return h, false, errors.New("sign the ledger: no Ed25519 key")
	}
	h = Head{Seq: e.Seq, Hash: hex.EncodeToString(e.Hash[:]), At: b.clock.Now().UTC(), Key: base64.StdEncoding.EncodeToString(public)}
	h.Sig = base64.StdEncoding.EncodeToString(ed25519.Sign(key, h.text()))
	line, err := json.Marshal(h)
	if err != nil {
		return h, false, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644) //nolint:gosec // made to be read by others
	if err != nil {
		return h, false, fmt.Errorf("keep the head of the ledger: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	return h, err == nil, errors.Join(err, f.Sync(), f.Close())
}

// ReadHeads reads a file of heads; there are none when it isn't there. A last line
// that was cut off by a crash is left out.
func ReadHeads(path string) (list []Head, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the heads of the ledger: %w", err)
	}
	defer f.Close()
	lines, n := bufio.NewScanner(f), 0
	var cut error
	for lines.Scan() {
		if cut != nil {
			return nil, cut
		}
		n++
		var h Head
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			cut = fmt.Errorf("%s: line %d is no head of a ledger: %w", path, n, err)
			continue
		}
		list = append(list, h)
	}
	return list, lines.Err()
}

// LoadKey reads the key that signs heads, or makes one: PEM, PKCS #8, for its owner
// only.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the ledger's key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block: restore the key from its copy", path)
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: restore the key from its copy", path, err)
	}
	key, is := any.(ed25519.PrivateKey)
	if !is {
		return nil, fmt.Errorf("%s holds no Ed25519 key", path)
	}
	return key, nil
}

func makeKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the ledger's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make the ledger's key: %w", err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return nil, fmt.Errorf("make the ledger's key: %w", err)
	}
	return key, nil
}

// Fault is something in the book that doesn't hold.
type Fault struct {
	Seq uint64 `json:"seq"` // the entry that it shows at
	JA  string `json:"ja"`
	EN  string `json:"en"`
}

// Report is what Verify found.
type Report struct {
	Entries uint64    `json:"entries"`
	After   uint64    `json:"after"` // the last entry that was removed by retention; 0 none
	Last    uint64    `json:"last"`
	Until   time.Time `json:"until"`   // of the last entry
	Private uint64    `json:"private"` // entries whose personal data are there
	Erased  uint64    `json:"erased"`  // and aren't any more
	Heads   int       `json:"heads"`   // that were compared
	Faults  []Fault   `json:"faults"`
}

// mostFaults are named; a book that was shaken through isn't listed whole.
const mostFaults = 100

// Verify reads the whole book and names every entry that was altered, removed or put
// elsewhere; heads show what is missing at its end, or was made anew throughout.
// key, if not nil, is the only one that is believed. tell hears how far it is.
func (b *Book) Verify(ctx context.Context, heads []Head, key ed25519.PublicKey, tell func(done uint64)) (r Report, err error) {
	prev, err := anchor(ctx, b.db)
	if err != nil {
		return r, err
	}
	r.After, r.Faults = prev.Seq, []Fault{}
	begin, told := prev, prev.Seq == 0
	fault := func(seq uint64, ja, en string, args ...any) {
		if len(r.Faults) < mostFaults {
			r.Faults = append(r.Faults, Fault{seq, fmt.Sprintf(ja, args...), fmt.Sprintf(en, args...)})
		}
	}
	known := map[uint64]*Head{}
	for i := range heads {
		h := &heads[i]
		switch {
		case !h.valid() || key != nil && h.Key != base64.StdEncoding.EncodeToString(key):
			fault(h.Seq, "記録 %d の署名が正しくありません", "the signature of the head at entry %d isn't right", h.Seq)
		case h.Seq > prev.Seq:
			known[h.Seq] = h
		}
	}
	err = b.withPrivate(ctx, func(e account.Entry, salt, data []byte) error {
		r.Entries++
		b.check(&prev, &e, fault)
		switch {
		case e.Private != "" && salt == nil:
			r.Erased++
		case e.Private != "":
			r.Private++
			if account.Sum(salt, data) != e.Private {
				fault(e.Seq, "記録 %d の個人情報が書き換えられています", "the personal data of entry %d were altered", e.Seq)
			}
		case salt != nil:
			fault(e.Seq, "記録 %d に身に覚えのない個人情報があります", "personal data were put to entry %d", e.Seq)
		}
		if h := known[e.Seq]; h != nil {
			r.Heads++
			if hex.EncodeToString(e.Hash[:]) != h.Hash {
				fault(e.Seq, "記録 %d は %s の署名時と異なります", "entry %d isn't the one that was signed on %s", e.Seq, h.At.Format(time.RFC3339))
			}
			delete(known, e.Seq)
		}
		told = told || pruned(&e, &begin)
		prev, r.Last, r.Until = e, e.Seq, e.At
		if tell != nil && r.Entries%10_000 == 0 {
			tell(r.Entries)
		}
		return ctx.Err()
	})
	if !told && err == nil {
		fault(begin.Seq, "記録 %d までの削除が記録されていません", "that entries up to %d were removed isn't written down", begin.Seq)
	}
	for i := range heads { // in their order
		if h := known[heads[i].Seq]; h != nil && h == &heads[i] {
			fault(h.Seq, "記録 %d が失われています(%s に署名)", "entry %d is gone; it was signed on %s", h.Seq, h.At.Format(time.RFC3339))
		}
	}
	return r, err
}

// pruned tells whether an entry says that the chain begins after the anchor a.
func pruned(e, a *account.Entry) bool {
	var what struct {
		Through uint64 `json:"through"`
		Hash    string `json:"hash"`
	}
	return e.Kind == account.Pruned && json.Unmarshal(e.What, &what) == nil && what.Through == a.Seq && what.Hash == hex.EncodeToString(a.Hash[:])
}

// check compares an entry with the one before it.
func (b *Book) check(prev, e *account.Entry, fault func(seq uint64, ja, en string, args ...any)) {
	whole := e.Chain(account.Entry{Seq: e.Seq - 1, Hash: e.Prev}).Hash == e.Hash
	switch {
	case !whole:
		fault(e.Seq, "記録 %d が書き換えられています", "entry %d was altered", e.Seq)
	case e.Seq == prev.Seq+2:
		fault(prev.Seq+1, "記録 %d が失われています", "entry %d is gone", prev.Seq+1)
	case e.Seq != prev.Seq+1:
		fault(prev.Seq+1, "記録 %d から %d が失われています", "entries %d to %d are gone", prev.Seq+1, e.Seq-1)
	case e.Prev != prev.Hash:
		fault(e.Seq, "記録 %d の前にあったのは今の記録 %d ではありません", "entry %d followed another entry than the present number %d", e.Seq, prev.Seq)
	}
}

func (b *Book) withPrivate(ctx context.Context, do func(e account.Entry, salt, data []byte) error) error {
	rows, err := b.db.Query(ctx, `SELECT e.seq, e.made, e.kind, e.who, e.what, e.private, e.prev, e.hash, p.salt, p.data
		FROM ledger_entry e LEFT JOIN ledger_private p ON p.seq = e.seq ORDER BY e.seq`)
	if err != nil {
		return fmt.Errorf("read the ledger: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var salt, data []byte
		e, err := scan(also{rows, []any{&salt, &data}})
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if err := do(e, salt, data); err != nil {
			return err
		}
	}
	return rows.Err()
}

// also scans further columns after an entry's.
type also struct {
	row  interface{ Scan(dest ...any) error }
	more []any
}

func (a also) Scan(dest ...any) error { return a.row.Scan(append(dest, a.more...)...) }
