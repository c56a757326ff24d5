package state

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// keyBytes is the length of a key: AES-256.
const keyBytes = 32

// Sealer seals what must not be in the database in the clear, with AES-256-GCM (NIST SP 800-38D). It is safe for
// concurrent use.
type Sealer struct {
	keys []cipher.AEAD // the first seals, all open
}

// NewSealer takes keys in base64, 32 random bytes each, with commas between them. A new key is put in front; the old one
// stays until everything that it sealed has ended.
func NewSealer(keys string) (*Sealer, error) {
	s := &Sealer{}
	for text := range strings.SplitSeq(keys, ",") {
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("key %d is not %d bytes in base64; make one with 'openssl rand -base64 32'", len(s.keys)+1, keyBytes)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("preparing key %d: %w", len(s.keys)+1, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("preparing key %d: %w", len(s.keys)+1, err)
		}
		s.keys = append(s.keys, aead)
	}
	return s, nil
}

// seal gives nonce and ciphertext. What is sealed opens only with the same owner, so that it cannot be moved to another row.
func (s *Sealer) seal(plain []byte, owner string) ([]byte, error) {
	nonce := make([]byte, s.keys[0].NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("sealing credentials: %w", err)
	}
	return s.keys[0].Seal(nonce, nonce, plain, []byte(owner)), nil
}

var errNotOpened = errors.New("opening sealed credentials: none of the keys fits")

func (s *Sealer) open(sealed []byte, owner string) ([]byte, error) {
	for _, key := range s.keys {
		if len(sealed) < key.NonceSize() {
			break
		}
		if plain, err := key.Open(nil, sealed[:key.NonceSize()], sealed[key.NonceSize():], []byte(owner)); err == nil {
			return plain, nil
		}
	}
	return nil, errNotOpened
}
