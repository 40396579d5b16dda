package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// localKMS is the key service whose key is in the URL.
func localKMS(t testing.TB, n byte) Key {
	t.Helper()
	k, err := KMS("base64key://" + base64.URLEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What names no key, or too much, is refused before anything is sealed with it,
// and no refusal repeats a secret.
func TestKMSAddress(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"", "base64key://", "awskms://?region=x", "hashivault://", "nonsense://key", "key",
		"hashivault://user:geheim@key", "base64key://geheim%zz"} {
		k, err := KMS(where)
		if err == nil {
			t.Errorf("%q is taken: %v", where, k)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: the error shows a secret: %v", where, err)
		}
	}
	if k, err := KMS("hashivault://k"); err != nil || fmt.Sprint(k) != "hashivault://k" {
		t.Errorf("%v, %v", k, err)
	}
	for _, where := range []string{"awskms://alias/a?region=eu-central-1", "azurekeyvault://v.vault.azure.net/keys/k", "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k"} {
		// Which it is depends on how this test was built.
		if k, err := KMS(where); (err != nil || fmt.Sprint(k) != where) && !strings.Contains(err.Error(), "-tags cloudkms") {
			t.Errorf("%q: %v, %v", where, k, err)
		}
	}
}

// A key in the URL is neither printed nor stored.
func TestKMSIsSilent(t *testing.T) {
	t.Parallel()
	k := localKMS(t, 7)
	secret := strings.TrimPrefix(k.(kmsKey).url, "base64key://")
	slot, err := Wrap(t.Context(), newRing(t), k, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(slot)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(b), fmt.Sprint(k), fmt.Sprintf("%#v", k), fmt.Sprintf("%+v", k)} {
		if strings.Contains(text, secret) {
			t.Errorf("the key shows: %s", text)
		}
	}
	if _, err := KMS(k.(kmsKey).url + "?geheim=" + secret); err == nil {
		_, err = Wrap(t.Context(), newRing(t), kmsKey{url: k.(kmsKey).url + "?x=1", shown: "base64key://"}, "", time.Time{})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("a refused URL: %v", err)
		}
	}
}

// Over Vault's transit API: what is sent is one key and never the ring; a
// service that refuses is not a wrong key.
func TestKMSVault(t *testing.T) {
	refuse := false
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		var in struct{ Plaintext, Ciphertext string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Vault-Token") != "token" || refuse {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		if plain, err := base64.StdEncoding.DecodeString(in.Plaintext); err != nil || in.Plaintext != "" && len(plain) != 32 {
			t.Errorf("the service was sent %d bytes", len(plain))
		}
		out := map[string]string{"ciphertext": "vault:v1:" + in.Plaintext}
		if in.Ciphertext != "" {
			out = map[string]string{"plaintext": strings.TrimPrefix(in.Ciphertext, "vault:v1:")}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": out})
	}))
	defer server.Close()
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "token")
	t.Setenv("VAULT_MAX_RETRIES", "0")
	key, err := KMS("hashivault://backup")
	if err != nil {
		t.Fatal(err)
	}
	ring := newRing(t)
	slot, err := Wrap(t.Context(), ring, key, "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := Unlock(t.Context(), key, []Slot{slot})
	if err != nil || got.ID != ring.ID {
		t.Fatalf("unlock: %v", err)
	}
	if strings.Join(asked, " ") != "/v1/transit/encrypt/backup /v1/transit/decrypt/backup" || slot.URL != "hashivault://backup" {
		t.Errorf("asked %v, slot of %s", asked, slot.URL)
	}
	refuse = true
	if _, _, err := Unlock(t.Context(), key, []Slot{slot}); err == nil || errors.Is(err, ErrWrongKey) {
		t.Errorf("a service that refuses: %v", err)
	}
}
