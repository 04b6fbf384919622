package blocklist

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"sakimori/lawful"
)

// Export is one file that was made: what stands in its signature, which is a file of its
// own beside it.
type Export struct {
	Form    Form      `json:"form"`
	Version uint64    `json:"version"` // of the form's files, always growing
	File    string    `json:"file"`
	Entries int       `json:"entries"`
	Omitted Omitted   `json:"omitted"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"` // by then it must be out of force wherever it is
	Basis   Basis     `json:"basis"`
	SHA256  string    `json:"sha256"` // of the file, hexadecimal
	Key     string    `json:"key"`    // Ed25519 public key, base64
	Sig     string    `json:"sig"`    // of text, base64
}

// Basis is the ground of a file in words.
type Basis struct {
	Measure lawful.Measure `json:"measure"`
	Grant   string         `json:"grant"`
	Rule    string         `json:"rule"`
	Title   lawful.Text    `json:"title"`
	Source  string         `json:"source"`
	Until   time.Time      `json:"until"`
	Lines   int            `json:"lines"` // on how many subscribers' lines alone; 0 as the words say
	Words   lawful.Text    `json:"words"` // how far it reaches
}

// text is what is signed: all that a reader acts on.
func (x *Export) text() []byte {
	return fmt.Appendf(nil, "sakimori blocklist\n%s\n%d\n%s\n%d\n%s\n%s\n%s\n%s\n%s\n%d\n%s\n", x.Form, x.Version, x.File, x.Entries,
		x.Made.UTC().Format(time.RFC3339), x.Expires.UTC().Format(time.RFC3339), x.Basis.Measure, x.Basis.Grant, x.Basis.Rule, x.Basis.Lines, x.SHA256)
}

func (x *Export) sign(key ed25519.PrivateKey) error {
	public, is := key.Public().(ed25519.PublicKey)
	if !is {
		return errors.New("blocklist: no Ed25519 key")
	}
	x.Key = base64.StdEncoding.EncodeToString(public)
	x.Sig = base64.StdEncoding.EncodeToString(ed25519.Sign(key, x.text()))
	return nil
}

// Verify checks a file against its detached signature: that it is the one that was signed,
// by that key, and hasn't come to its end. A nil key believes the one in the signature,
// which proves no more than that the file is whole.
func Verify(signature []byte, file io.Reader, key ed25519.PublicKey, now time.Time) (x Export, err error) {
	if err := json.Unmarshal(signature, &x); err != nil {
		return x, fmt.Errorf("%w: its signature can't be read: %w", ErrForged, err)
	}
	said, err1 := base64.StdEncoding.DecodeString(x.Key)
	sig, err2 := base64.StdEncoding.DecodeString(x.Sig)
	switch {
	case err1 != nil || err2 != nil || len(said) != ed25519.PublicKeySize:
		return x, fmt.Errorf("%w: its signature can't be read", ErrForged)
	case key != nil && !key.Equal(ed25519.PublicKey(said)):
		return x, fmt.Errorf("%w: it was signed by another key", ErrForged)
	case !ed25519.Verify(said, x.text(), sig):
		return x, fmt.Errorf("%w: the signature isn't of what stands beside it", ErrForged)
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return x, fmt.Errorf("read the file: %w", err)
	}
	if hex.EncodeToString(h.Sum(nil)) != x.SHA256 {
		return x, fmt.Errorf("%w: it was changed", ErrForged)
	}
	if !now.Before(x.Expires) {
		return x, fmt.Errorf("%w (%s)", ErrExpired, x.Expires.Format(time.RFC3339))
	}
	return x, nil
}
