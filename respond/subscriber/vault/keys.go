package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Keys are what pseudonyms are made with, and what seals the identities. They lie in a
// file of their own, for its owner only: whoever has the store and not the file learns
// nothing of anybody.
type Keys struct {
	path string
	file keyFile
	aead map[int64]cipher.AEAD
	macs sync.Pool // of hash.Hash with the pseudonyms' key
}

type keyFile struct {
	Pseudonym []byte    `json:"pseudonym"` // HMAC-SHA256; never changes
	Seals     []seal    `json:"seals"`     // AES-256-GCM; the last one is used
	Made      time.Time `json:"made"`
}

type seal struct {
	Number int64     `json:"number"`
	Key    []byte    `json:"key"`
	Made   time.Time `json:"made"`
}

const keyBytes = 32

// LoadKeys reads the keys at path, or makes them when there is no such file.
func LoadKeys(path string, now time.Time) (*Keys, error) {
	k := &Keys{path: path, aead: map[int64]cipher.AEAD{}}
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.file = keyFile{Pseudonym: make([]byte, keyBytes), Made: now}
		if _, err := rand.Read(k.file.Pseudonym); err != nil {
			return nil, fmt.Errorf("make the keys of the identities: %w", err)
		}
		if err := k.Next(now); err != nil {
			return nil, err
		}
		return k, nil
	case err != nil:
		return nil, fmt.Errorf("read the keys of the identities: %w", err)
	}
	if err := json.Unmarshal(raw, &k.file); err != nil || len(k.file.Pseudonym) != keyBytes || len(k.file.Seals) == 0 {
		return nil, fmt.Errorf("%s isn't a file of keys: restore it from its copy; without it no identity can be read", path)
	}
	for _, s := range k.file.Seals {
		if err := k.use(s); err != nil {
			return nil, fmt.Errorf("%s: key %d: %w: restore the file from its copy", path, s.Number, err)
		}
	}
	return k, nil
}

func (k *Keys) use(s seal) error {
	if len(s.Key) != keyBytes {
		return errors.New("no key of 256 bits")
	}
	block, err := aes.NewCipher(s.Key)
	if err != nil {
		return err
	}
	k.aead[s.Number], err = cipher.NewGCMWithRandomNonce(block)
	return err
}

// Next makes a new key for what is sealed from now on, and keeps the old ones. It is on
// disk before it is used.
func (k *Keys) Next(now time.Time) error {
	s := seal{Number: 1, Key: make([]byte, keyBytes), Made: now}
	if n := len(k.file.Seals); n > 0 {
		s.Number = k.file.Seals[n-1].Number + 1
	}
	if _, err := rand.Read(s.Key); err != nil {
		return fmt.Errorf("make a key of the identities: %w", err)
	}
	next := k.file
	next.Seals = append(slices.Clone(k.file.Seals), s)
	return k.replace(next, s)
}

// Drop forgets all keys but the newest: what is still sealed with them can't be read any
// more.
func (k *Keys) Drop() error {
	next := k.file
	next.Seals = slices.Clone(k.file.Seals[len(k.file.Seals)-1:])
	return k.replace(next, next.Seals[0])
}

func (k *Keys) replace(next keyFile, s seal) error {
	raw, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(k.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("keep the keys of the identities: %w", err)
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("keep the keys of the identities: %w", err)
	}
	if err := os.Rename(k.path+".new", k.path); err != nil {
		return fmt.Errorf("keep the keys of the identities: %w", err)
	}
	k.file = next
	return k.use(s)
}

// Newest is the number of the key that seals.
func (k *Keys) Newest() int64 { return k.file.Seals[len(k.file.Seals)-1].Number }

// Pseudonym is what a contract is called everywhere but here.
func (k *Keys) Pseudonym(contract string) (id [16]byte) {
	h, have := k.macs.Get().(hash.Hash)
	if !have {
		h = hmac.New(sha256.New, k.file.Pseudonym)
	}
	defer k.macs.Put(h)
	h.Reset()
	h.Write([]byte(contract))
	var sum [sha256.Size]byte
	copy(id[:], h.Sum(sum[:0]))
	return id
}

// seal seals data for a place: it can't be opened elsewhere.
func (k *Keys) seal(place string, id [16]byte, data []byte) (number int64, sealed []byte) {
	number = k.Newest()
	return number, k.aead[number].Seal(nil, nil, data, append([]byte(place), id[:]...)) //nolint:gosec // it makes a random nonce each time
}

// ErrSealed is what is returned for what can't be opened.
var ErrSealed = errors.New("an identity can't be opened: its key is gone, or it was altered")

func (k *Keys) open(place string, id [16]byte, number int64, sealed []byte) ([]byte, error) {
	a := k.aead[number]
	if a == nil {
		return nil, fmt.Errorf("%w (key %d)", ErrSealed, number)
	}
	data, err := a.Open(nil, nil, sealed, append([]byte(place), id[:]...))
	if err != nil {
		return nil, ErrSealed
	}
	return data, nil
}
