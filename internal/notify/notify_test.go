package notify

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"testing"
	"time"

	"holdfast"
)

var alert = holdfast.Alert{ID: "a-1", Kind: holdfast.AlertFailed, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Resource: "/vault", Entity: "wéb\r\nBcc: x@y", Message: "No room.", Hint: "Make some.", Job: "j-1"}

func TestWebhook(t *testing.T) {
	t.Parallel()
	code := http.StatusNoContent
	var got holdfast.Alert
	var signed bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, []byte("key"))
		mac.Write(b)
		signed = r.Header.Get("X-Holdfast-Signature") == "sha256="+hex.EncodeToString(mac.Sum(nil))
		w.WriteHeader(code)
	}))
	defer s.Close()
	w := Webhook{URL: s.URL + "/?token=secret", Secret: "key"}
	if err := w.Check(); err != nil {
		t.Error(err)
	}
	if err := w.Notify(t.Context(), alert); err != nil || got != alert || !signed {
		t.Errorf("%+v, signed %v: %v", got, signed, err)
	}
	code = http.StatusBadGateway
	if err := w.Notify(t.Context(), alert); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("refused: %v", err)
	}
	s.Close()
	if err := w.Notify(t.Context(), alert); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("away: %v", err)
	}
	for _, bad := range []string{"", "ftp://x", "https://", "%zz"} {
		if (Webhook{URL: bad}).Check() == nil {
			t.Errorf("%q passes as a webhook", bad)
		}
	}
}

// mailServer speaks as much SMTP (RFC 5321) as one mail needs, and gives its text.
func mailServer(t *testing.T, refuse string) (address string, mails <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan string, 9)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "220 here\r\n")
			var text strings.Builder
			data := false
			for in := bufio.NewScanner(c); in.Scan(); {
				line := in.Text()
				switch {
				case data && line == ".":
					data = false
					out <- text.String()
					fmt.Fprint(c, "250 taken\r\n")
				case data:
					text.WriteString(line + "\r\n")
				case refuse != "" && strings.HasPrefix(line, refuse):
					fmt.Fprint(c, "550 no\r\n")
				case line == "DATA":
					data = true
					fmt.Fprint(c, "354 go on\r\n")
				case line == "QUIT":
					fmt.Fprint(c, "221 bye\r\n")
				default:
					fmt.Fprint(c, "250 ok\r\n")
				}
			}
			c.Close()
		}
	}()
	return l.Addr().String(), out
}

func TestMail(t *testing.T) {
	t.Parallel()
	address, mails := mailServer(t, "")
	m := Mail{Server: address, From: "holdfast@example.org", To: []string{"ops@example.org", "me@example.org"}}
	if err := m.Check(); err != nil {
		t.Fatal(err)
	}
	if err := m.Notify(t.Context(), alert); err != nil {
		t.Fatal(err)
	}
	got, err := mail.ReadMessage(strings.NewReader(<-mails))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || !strings.Contains(string(body), "No room.\r\nMake some.") || !strings.Contains(string(body), "j-1") || got.Header.Get("Bcc") != "" || !strings.Contains(got.Header.Get("Subject"), "JobFailed") {
		t.Errorf("%v\n%s\n%v", got.Header, body, err)
	}
	address, _ = mailServer(t, "RCPT")
	m.Server = address
	if err := (All{m, m}).Notify(t.Context(), alert); err == nil || strings.Count(err.Error(), "550") != 2 {
		t.Errorf("refused: %v", err)
	}
	for _, bad := range []Mail{{Server: "x", From: "a@b", To: []string{"a@b"}}, {Server: "x:25", From: "ab", To: []string{"a@b"}}, {Server: "x:25", From: "a@b", To: []string{"a@b\r\nDATA"}}, {Server: "x:25", From: "a@b"}} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}
