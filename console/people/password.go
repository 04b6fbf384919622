package people

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"

	"sakimori/console"
)

const (
	passwordRunes = 12 // at least
	passwordBytes = 256
	variety       = 5 // different characters, at least
)

// preparePassword is a password as it is hashed (RFC 8265 §4.2): the same on every
// keyboard.
func preparePassword(password string) (string, error) {
	// Normalizing shortens a text to a third at most: what is longer needn't be read.
	if len(password) <= 4*passwordBytes {
		if p, err := precis.OpaqueString.String(password); err == nil && len(p) <= passwordBytes {
			return p, nil
		}
	}
	return "", console.Refuse("パスワードに使えない文字があるか、%d バイトを超えています。",
		"The password holds a character that can't be used, or has more than %d bytes.", passwordBytes)
}

// checkPassword refuses what is guessed first (NIST SP 800-63B §5.1.1.2: length and
// a list, no rules about kinds of characters).
func checkPassword(prepared, name string) error {
	if utf8.RuneCountInString(prepared) < passwordRunes {
		return console.Refuse("パスワードは %d 文字以上にしてください。", "A password takes at least %d characters.", passwordRunes)
	}
	different := map[rune]bool{}
	for _, c := range prepared {
		different[c] = true
	}
	bare := bareWord(prepared)
	if len(different) < variety || bare == "" || common[bare] || bare == bareWord(name) {
		return console.Refuse("このパスワードは推測されやすいものです。関係のない語をいくつか並べてください。",
			"This password is among the first that are tried: put a few words together that have nothing to do with each other.")
	}
	return nil
}

// bareWord strips a password of what people add to a common one: capitals, digits
// for letters, digits and signs around it, the same again, the name of the product.
func bareWord(s string) string {
	s = strings.NewReplacer("0", "o", "1", "l", "3", "e", "4", "a", "5", "s", "@", "a", "$", "s", "!", "i").
		Replace(strings.TrimFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) }))
	s = strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return r
	}, s)
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s {
			return s[:n]
		}
	}
	return s
}

// common are the words behind the commonest passwords, as bareWord leaves them.
var common = wordSet(`
	password passwd passwort passphrase letmein letmeinnow iloveyou iloveyouforever welcome welcomehome changeme changemenow
	admin administrator adminadmin root superuser login loginlogin secret topsecret master default guest user test testing testtest
	qwerty qwertyuiop qwertyuiopasdfghjkl asdfgh asdfghjkl zxcvbn zxcvbnm qazwsx qazwsxedc qazwsxedcrfv abcdef abcdefgh abcdefghijkl
	abcdefghijklmnopqrstuvwxyz monkey dragon sunshine princess football baseball superman batman trustno trustnoone whatever
	hello helloworld freedom shadow michael jennifer charlie jordan computer internet starwars pokemon google summer winter spring
	autumn january december company corporate telecom telephone network security operator sakimori sakura nihon nippon japan tokyo osaka
	arigatou konnichiwa aishiteru pasuwado correcthorsebatterystaple
`)

func wordSet(list string) map[string]bool {
	set := map[string]bool{}
	for w := range strings.FieldsSeq(list) {
		set[w] = true
	}
	return set
}

// hasher hashes and compares, a few at a time: each takes its memory.
type hasher struct {
	params argon2id.Params
	turns  chan struct{}
	nobody string // the hash against which a password of nobody is compared
}

const hashesAtOnce = 2

func newHasher(p argon2id.Params) (*hasher, error) {
	if !sane(&p) {
		return nil, fmt.Errorf("argon2id with %d KiB, %d passes, %d lanes, salt %d and key %d bytes: take at least 8 KiB a lane, a pass, a lane, 8 and 16 bytes",
			p.Memory, p.Iterations, p.Parallelism, p.SaltLength, p.KeyLength)
	}
	// No password fits a key that was drawn, and it takes as long as any to find out.
	b := make([]byte, p.SaltLength+p.KeyLength)
	if _, err := rand.Read(b); err != nil {
		return nil, fmt.Errorf("make a hash: %w", err)
	}
	enc := base64.RawStdEncoding
	return &hasher{
		params: p, turns: make(chan struct{}, hashesAtOnce),
		nobody: fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Iterations, p.Parallelism,
			enc.EncodeToString(b[:p.SaltLength]), enc.EncodeToString(b[p.SaltLength:])),
	}, nil
}

// sane keeps out parameters of a damaged store, which would break the hash function
// or take all memory there is.
func sane(p *argon2id.Params) bool {
	const mostMemory, mostPasses = 1 << 20, 100 // KiB: a gibibyte
	return p.Iterations >= 1 && p.Iterations <= mostPasses && p.Parallelism >= 1 && p.Memory >= 8*uint32(p.Parallelism) && p.Memory <= mostMemory &&
		p.SaltLength >= 8 && p.SaltLength <= 64 && p.KeyLength >= 16 && p.KeyLength <= 64
}

func (h *hasher) turn(ctx context.Context) (end func(), err error) {
	select {
	case h.turns <- struct{}{}:
		return func() { <-h.turns }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hasher) hash(ctx context.Context, prepared string) (string, error) {
	end, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer end()
	return argon2id.CreateHash(prepared, &h.params)
}

// check compares a password with a hash, "" for nobody's. stale tells that the
// parameters have changed since.
func (h *hasher) check(ctx context.Context, password, hash string) (fits, stale bool, err error) {
	prepared, bad := preparePassword(password)
	if hash == "" || bad != nil {
		prepared, hash = "nobody's password", h.nobody
	}
	p, _, _, err := argon2id.DecodeHash(hash)
	if err == nil && !sane(p) {
		err = argon2id.ErrInvalidHash
	}
	if err != nil {
		return false, false, fmt.Errorf("a stored password can't be read: %w: give its user a new one with `sakimori user reset`", err)
	}
	end, err := h.turn(ctx)
	if err != nil {
		return false, false, err
	}
	defer end()
	fits, p, err = argon2id.CheckHash(prepared, hash)
	return fits, err == nil && *p != h.params, err
}
