package api

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"sakimori/observe"
)

// sealer wraps what a client has to hand back unread and unchanged: cursors,
// and the ids of findings that name an address. The text has no character of
// which an address could seem to be made, so the masker leaves it alone.
type sealer struct {
	aead cipher.AEAD
	mac  []byte
}

var opaque = base32.NewEncoding("ghijklmnopqrstuvwxyz234567ABCDEF").WithPadding(base32.NoPadding)

// newSealer takes 32 secret bytes, or makes its own when there are none.
func newSealer(secret []byte) (*sealer, error) {
	if secret == nil {
		secret = make([]byte, secretBytes)
		if _, err := rand.Read(secret); err != nil {
			return nil, fmt.Errorf("make a secret: %w", err)
		}
	}
	if len(secret) != secretBytes {
		return nil, fmt.Errorf("the secret has %d bytes: it takes %d", len(secret), secretBytes)
	}
	block, err := aes.NewCipher(sum(secret, "cursor encryption"))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead, sum(secret, "cursor nonce")}, nil
}

func sum(key []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return h.Sum(nil)
}

// seal encrypts plain for one purpose. The same plain text gives the same seal,
// so the nonce is made from it (a synthetic one, as in RFC 8452).
func (s *sealer) seal(purpose string, plain []byte) string {
	nonce := sum(s.mac, purpose, string(plain))[:s.aead.NonceSize()]
	return opaque.EncodeToString(s.aead.Seal(nonce, nonce, plain, []byte(purpose)))
}

var errSeal = errors.New("not a seal of ours")

func (s *sealer) open(purpose, text string) ([]byte, error) {
	raw, err := opaque.DecodeString(text)
	if err != nil || len(raw) < s.aead.NonceSize() || opaque.EncodeToString(raw) != text {
		return nil, errSeal
	}
	n := s.aead.NonceSize()
	plain, err := s.aead.Open(nil, raw[:n], raw[n:], []byte(purpose))
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}

// cursor is where the next page of a list begins. It holds the span of the
// first page, which may have been "the last 24 hours", so that all pages speak
// of the same one.
type cursor struct {
	Query  string `json:"q"` // digest of the query; another query can't use it
	From   int64  `json:"f"` // Unix nanoseconds
	To     int64  `json:"t"`
	Open   bool   `json:"u,omitempty"` // without a span
	Offset int    `json:"o,omitempty"`
	After  string `json:"a,omitempty"`
}

func (c cursor) span() observe.Range {
	if c.Open {
		return observe.Range{}
	}
	return observe.Range{From: time.Unix(0, c.From).UTC(), To: time.Unix(0, c.To).UTC()}
}

func newCursor(query string, r observe.Range) cursor {
	if r.From.IsZero() && r.To.IsZero() {
		return cursor{Query: query, Open: true}
	}
	return cursor{Query: query, From: r.From.UnixNano(), To: r.To.UnixNano()}
}

// placed is where a page of a query begins: where its cursor says, and else at the
// beginning of the span that is asked for; without one, of everything.
func (s *Server) placed(text string, span SpanQuery, query string) (c cursor, err error) {
	if text != "" {
		return s.seal.openCursor(text, query)
	}
	var r observe.Range
	if span.From != "" || span.To != "" {
		if r, _, err = s.span(span); err != nil {
			return c, err
		}
	}
	return newCursor(query, r), nil
}

func (s *sealer) cursor(c cursor) *string {
	raw, err := json.Marshal(c)
	if err != nil { // a struct of numbers and strings
		return nil
	}
	text := s.seal("cursor", raw)
	return &text
}

// openCursor fails for a cursor that was changed, that was made by another
// console, or that belongs to another query.
func (s *sealer) openCursor(text, query string) (cursor, error) {
	raw, err := s.open("cursor", text)
	if err != nil {
		return cursor{}, fail("cursor_invalid")
	}
	var c cursor
	if err := json.Unmarshal(raw, &c); err != nil {
		return cursor{}, fail("cursor_invalid")
	}
	if c.Query != query {
		return cursor{}, fail("cursor_other_query")
	}
	return c, nil
}

// queryDigest names a query in a cursor.
func queryDigest(parts ...any) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return opaque.EncodeToString(h[:10])
}
