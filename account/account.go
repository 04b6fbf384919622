// Package account remembers what was done, and why it was allowed.
//
// Its noun is the Entry: one line of an append-only book, chained to the one
// before by its hash, so that an altered, removed or reordered line is found.
// Personal data is never in an entry; it is kept apart and referred to.
package account

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// Kind is what an entry is about.
type Kind string

// The kinds of entry.
const (
	Granted       Kind = "grant"
	Refused       Kind = "refusal"
	Revoked       Kind = "revocation"    // a grant has ended before its time
	Looked        Kind = "look-up"       // a person's data were read
	Noticed       Kind = "notice"        // somebody was told something
	Approved      Kind = "approval"      // a person agreed to a proposal, or not
	Acted         Kind = "act"           // a step that touches somebody
	Changed       Kind = "change"        // of a case
	Configured    Kind = "configuration" // settings, users, tokens, templates
	Consented     Kind = "consent"       // given, withdrawn, replaced
	Exported      Kind = "export"        // data left the house
	Erased        Kind = "erasure"       // personal data were removed
	Pruned        Kind = "retention"     // old entries were removed
	SignedIn      Kind = "sign-in"       // or tried to
	SourceChanged Kind = "source"        // a source of knowledge began, ended or was lost
)

// Entry is one line of the book.
type Entry struct {
	Seq     uint64    // from 1, without gaps
	At      time.Time // UTC
	Kind    Kind
	Who     string // who did it; a role or a user, never a subscriber
	What    []byte // the decision or act as JSON, without personal data
	Private string // sum of the personal data that is kept apart, hexadecimal; "" none
	Prev    [32]byte
	Hash    [32]byte
}

// Chain makes the entry the next after prev; the first one follows the zero Entry.
func (e Entry) Chain(prev Entry) Entry {
	e.Seq, e.Prev = prev.Seq+1, prev.Hash
	e.Hash = e.sum()
	return e
}

// sum hashes every field with its length before it, so that no two entries
// read the same.
func (e *Entry) sum() [32]byte {
	b := binary.BigEndian.AppendUint64(nil, e.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixNano()))
	for _, f := range [][]byte{[]byte(e.Kind), []byte(e.Who), e.What, []byte(e.Private), e.Prev[:]} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(f)))
		b = append(b, f...)
	}
	return sha256.Sum256(b)
}

// Sum is the Private of data that are kept apart with a random salt: it shows
// that they are the same, and tells nothing of them once the salt is gone.
func Sum(salt, data []byte) string {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(salt))))
	h.Write(salt)
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// ErrBroken is what Verify returns when the chain doesn't hold.
var ErrBroken = errors.New("the chain of entries is broken")

// Verify checks entries that follow prev, and names the first that doesn't.
func Verify(prev Entry, entries []Entry) error {
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Seq != prev.Seq+1:
			return fmt.Errorf("%w: after entry %d comes %d", ErrBroken, prev.Seq, e.Seq)
		case e.Prev != prev.Hash:
			return fmt.Errorf("%w: entry %d doesn't follow entry %d as it is now", ErrBroken, e.Seq, prev.Seq)
		case e.Hash != e.sum():
			return fmt.Errorf("%w: entry %d was altered", ErrBroken, e.Seq)
		}
		prev = *e
	}
	return nil
}
