// Package keyringtest has a key service for tests: the transit engine of HashiCorp's
// Vault as its clients see it. It forgets all when its test ends. A process has one:
// its client remembers where the first was.
package keyringtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Token is the one that the service knows.
const Token = "token-of-the-server"

// Service is the key service: what it encrypts, nobody without its key reads. Key and
// Away are changed in Set.
type Service struct {
	Key  [32]byte // of all names
	Away bool     // it refuses everything

	mu     sync.Mutex
	plains [][]byte
}

// New starts a service with a new key, and has this process's hashivault://NAME be
// there.
func New(t *testing.T) *Service {
	t.Helper()
	k := &Service{}
	_, _ = rand.Read(k.Key[:]) // never fails
	server := httptest.NewServer(k)
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", Token)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	return k
}

// Set changes the service between two requests.
func (k *Service) Set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// Plains are what the service was asked to encrypt.
func (k *Service) Plains() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([][]byte(nil), k.plains...)
}

func (k *Service) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.Key[:])
	if err == nil {
		var aead cipher.AEAD
		if aead, err = cipher.NewGCMWithRandomNonce(block); err == nil {
			return aead
		}
	}
	panic(err)
}

// ServeHTTP answers encrypt and decrypt.
func (k *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var in struct{ Plaintext, Ciphertext string }
	if k.Away || r.Header.Get("X-Vault-Token") != Token || json.NewDecoder(r.Body).Decode(&in) != nil {
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	}
	data := map[string]string{}
	switch {
	case strings.HasPrefix(r.URL.Path, "/v1/transit/encrypt/"):
		plain, _ := base64.StdEncoding.DecodeString(in.Plaintext)
		k.plains = append(k.plains, plain)
		data["ciphertext"] = "vault:v1:" + base64.StdEncoding.EncodeToString(k.aead().Seal(nil, nil, plain, nil))
	case strings.HasPrefix(r.URL.Path, "/v1/transit/decrypt/"):
		sealed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(in.Ciphertext, "vault:v1:"))
		plain, err := k.aead().Open(nil, nil, sealed, nil)
		if err != nil {
			http.Error(w, `{"errors":["cipher: message authentication failed"]}`, http.StatusBadRequest)
			return
		}
		data["plaintext"] = base64.StdEncoding.EncodeToString(plain)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
}
