package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
)

// References makes the numbers that a subscriber can check on the operator's page:
// eleven digits from a keyed hash and a check digit. Whoever tries numbers meets one
// of n notices once in 10¹¹/n tries, and the page limits tries.
type References struct{ key [32]byte }

// NewReferences makes references from a secret of 32 bytes at least. With another
// secret, numbers given out before can't be checked any more.
func NewReferences(secret []byte) (*References, error) {
	if len(secret) < 32 {
		return nil, errors.New("the secret of reference numbers needs 32 bytes: make one with a random generator and keep it with the ledger's key")
	}
	r := &References{}
	copy(r.key[:], sum(secret, "sakimori notice references"))
	return r, nil
}

func sum(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}

// of is the reference of a notice. try goes up when the number is another notice's.
func (r *References) of(id string, try int) string {
	const most = 100_000_000_000 // 10¹¹
	v := binary.BigEndian.Uint64(sum(r.key[:], "number", id, strconv.Itoa(try))) % most
	digits := make([]byte, 12)
	for i := 10; i >= 0; i-- {
		digits[i] = byte('0' + v%10)
		v /= 10
	}
	digits[11] = '0' + damm(digits[:11])
	return string(digits)
}

// proof is what a reference is looked up by. How long a comparison of proofs takes
// says nothing about references.
func (r *References) proof(reference string) []byte { return sum(r.key[:], "proof", reference) }

// Grouped writes a reference as it is printed: 4821-0937-5516.
func Grouped(reference string) string {
	if len(reference) != 12 {
		return reference
	}
	return reference[:4] + "-" + reference[4:8] + "-" + reference[8:]
}

// ErrMistyped is what ReadReference returns for what can't be a reference.
var ErrMistyped = errors.New("this is no reference number: it has twelve digits, and one of them may be mistyped")

// ReadReference reads a reference as a person types it: with or without hyphens and
// spaces, in half-width or full-width digits.
func ReadReference(typed string) (string, error) {
	if len(typed) > 100 {
		return "", ErrMistyped
	}
	var b strings.Builder
	for _, c := range typed {
		switch {
		case c >= '0' && c <= '9':
			b.WriteRune(c)
		case c >= '０' && c <= '９':
			b.WriteRune(c - '０' + '0')
		case strings.ContainsRune(" \t　-‐‑‒–—―−ーｰ－", c):
		default:
			return "", ErrMistyped
		}
	}
	if b.Len() != 12 || damm([]byte(b.String())) != 0 {
		return "", ErrMistyped
	}
	return b.String(), nil
}

// quasigroup is Damm's table of order ten. With it a check digit finds every single
// wrong digit and every swap of neighbours (H. M. Damm, Total anti-symmetrische
// Quasigruppen, Marburg 2004).
var quasigroup = [10][10]byte{
	{0, 3, 1, 7, 5, 9, 8, 6, 4, 2},
	{7, 0, 9, 2, 1, 5, 4, 8, 6, 3},
	{4, 2, 0, 6, 8, 7, 1, 3, 5, 9},
	{1, 7, 5, 0, 9, 8, 3, 4, 2, 6},
	{6, 1, 2, 3, 0, 4, 5, 9, 7, 8},
	{3, 6, 7, 4, 2, 0, 9, 5, 8, 1},
	{5, 8, 6, 9, 7, 2, 0, 1, 3, 4},
	{8, 9, 4, 5, 3, 6, 2, 0, 1, 7},
	{9, 4, 3, 8, 6, 1, 7, 2, 0, 5},
	{2, 5, 8, 1, 4, 3, 6, 7, 9, 0},
}

// damm is the check digit of digits; 0 when the check digit is among them and right.
func damm(digits []byte) (check byte) {
	for _, d := range digits {
		check = quasigroup[check][d-'0']
	}
	return check
}
