package subscriber

import (
	"encoding/base32"
	"errors"
	"strings"
)

// subjects are written without letters that are read wrongly.
var subjects = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// Subject is a pseudonym as people and other rooms see it: S- and 26 letters. It tells
// nothing of the contract.
func Subject(id [16]byte) string { return "S-" + subjects.EncodeToString(id[:]) }

// ErrSubject is what ParseSubject returns for what isn't one.
var ErrSubject = errors.New("not a subscriber's pseudonym: it is S- and 26 letters and digits")

// ParseSubject reads what Subject writes.
func ParseSubject(s string) (id [16]byte, err error) {
	text, is := strings.CutPrefix(s, "S-")
	if !is || len(text) != subjects.EncodedLen(len(id)) {
		return id, ErrSubject
	}
	if _, err := subjects.Decode(id[:], []byte(strings.ToLower(text))); err != nil {
		return id, ErrSubject
	}
	return id, nil
}
