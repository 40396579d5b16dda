package notify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"holdfast"
)

var (
	moment = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	alert  = holdfast.Alert{ID: "a-1", Kind: holdfast.AlertFailed, About: "job:j-1", Time: moment, Resource: "/subscriptions/s/resourceGroups/g/providers/P/vaults/v", Entity: "wéb\r\nBcc: x@example.org", Message: "No room.", Hint: "Make some.", Job: "j-1"}
	frozen = func() time.Time { return moment.Add(time.Hour) }
)

// TestWebhook posts to a real server, which checks the signature as its owner would.
func TestWebhook(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef")
	code := http.StatusNoContent
	var got struct {
		SchemaID string `json:"schemaId"`
		Data     struct {
			Essentials map[string]any `json:"essentials"`
			Context    holdfast.Alert `json:"alertContext"`
		} `json:"data"`
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); r.Header.Get("webhook-signature") != want || r.Header.Get("webhook-id") != "a-1-fired" || r.Header.Get("webhook-timestamp") != fmt.Sprint(frozen().Unix()) {
			t.Errorf("headers: %v, want the signature %s", r.Header, want)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", "https://elsewhere.example.org/")
		w.WriteHeader(code)
	}))
	defer s.Close()
	w := Webhook{URL: s.URL + "/?token=hush", Secret: key, Clock: frozen}
	if err := errors.Join(w.Check(), w.Send(t.Context(), alert, Fired)); err != nil {
		t.Fatal(err)
	}
	e := got.Data.Essentials
	if got.SchemaID != "azureMonitorCommonAlertSchema" || e["severity"] != "Sev1" || e["monitorCondition"] != "Fired" || e["description"] != "No room. Make some." || e["alertId"] != "/subscriptions/s/providers/Microsoft.AlertsManagement/alerts/a-1" || !reflect.DeepEqual(got.Data.Context, alert) {
		t.Errorf("body: %+v", got)
	}
	for _, refused := range []int{http.StatusBadGateway, http.StatusFound} {
		code = refused
		if err := w.Send(t.Context(), alert, Fired); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), fmt.Sprint(refused)) {
			t.Errorf("%d: %v", refused, err)
		}
	}
	s.Close()
	if err := w.Send(t.Context(), alert, Fired); err == nil || errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "hush") {
		t.Errorf("away: %v", err)
	}
}

func TestWebhookSettings(t *testing.T) {
	t.Parallel()
	for url, good := range map[string]bool{"https://example.org/x": true, "http://127.0.0.1:1/": true, "http://localhost/": true, "http://example.org/": false, "": false, "ftp://x": false, "https://": false, "%zz": false} {
		if err := (Webhook{URL: url}).Check(); (err == nil) != good {
			t.Errorf("%q: %v", url, err)
		}
	}
	for content, want := range map[string]string{"0123456789abcdef\n": "0123456789abcdef", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==": "0123456789abcdef", "short": "", "whsec_###": "", "": ""} {
		if got, err := SecretOf([]byte(content)); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", content, got, err)
		}
	}
}

// post is a real SMTP server (github.com/emersion/go-smtp) that keeps its mail.
type post struct {
	mu     sync.Mutex
	refuse error // of RCPT
	to     []string
	user   string
	tls    bool
	mails  [][]byte
}

type session struct {
	*post
	conn *smtp.Conn
}

func (p *post) NewSession(c *smtp.Conn) (smtp.Session, error) { return session{p, c}, nil }

func (s session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "ops" || password != "hush" {
			return smtp.ErrAuthFailed
		}
		s.user = user
		s.post.user = user
		return nil
	}), nil
}

func (s session) Mail(string, *smtp.MailOptions) error {
	_, s.post.tls = s.conn.TLSConnectionState()
	return nil
}

func (s session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if s.refuse == nil {
		s.post.to = append(s.post.to, to)
	}
	return s.refuse
}

func (s session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mails = append(s.mails, b)
	return err
}

func (session) Reset()        {}
func (session) Logout() error { return nil }

// listen starts a mail server; with a certificate it offers STARTTLS.
func (p *post) listen(t *testing.T, cert *tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(p)
	s.Domain = "localhost"
	if cert != nil {
		s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// certificate is one for 127.0.0.1, and who trusts it.
func certificate(t *testing.T) (tls.Certificate, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
}

// TestMail sends through a server with STARTTLS that wants a password.
func TestMail(t *testing.T) {
	t.Parallel()
	cert, trust := certificate(t)
	p := &post{}
	m := Mail{Server: p.listen(t, &cert), From: "holdfast@example.org", To: []string{"ops@example.org", "me@example.org"}, User: "ops", Password: "hush", TLS: trust}
	if err := errors.Join(m.Check(), m.Send(t.Context(), alert, Fired)); err != nil {
		t.Fatal(err)
	}
	if !p.tls || p.user != "ops" || fmt.Sprint(p.to) != "[ops@example.org me@example.org]" {
		t.Errorf("session: %+v", p)
	}
	got, err := netmail.ReadMessage(bytes.NewReader(p.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(got.Body)
	if err != nil || !strings.Contains(string(body), "No room.") || !strings.Contains(string(body), "j-1") || got.Header.Get("Bcc") != "" || got.Header.Get("Message-ID") != "<a-1-fired@holdfast>" {
		t.Errorf("%v\n%s\n%v", got.Header, body, err)
	}
	m.Password = "wrong"
	if err := m.Send(t.Context(), alert, Fired); err == nil || strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	m.Password, m.TLS = "hush", nil
	if err := m.Send(t.Context(), alert, Fired); err == nil || len(p.mails) != 1 {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

// TestMailWithoutTLS goes to this machine only, and never with a password.
func TestMailWithoutTLS(t *testing.T) {
	t.Parallel()
	p := &post{}
	m := Mail{Server: p.listen(t, nil), From: "holdfast@example.org", To: []string{"ops@example.org"}}
	if err := m.Send(t.Context(), alert, Resolved); err != nil || p.tls || len(p.mails) != 1 {
		t.Errorf("%v, %+v", err, p)
	}
	m.User, m.Password = "ops", "hush"
	if err := m.Send(t.Context(), alert, Fired); err == nil || p.user != "" {
		t.Errorf("a password in plaintext: %v", err)
	}
	m.User, m.Password = "", ""
	p.refuse = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "nobody here"}
	if err := m.Send(t.Context(), alert, Fired); !errors.Is(err, ErrRefused) {
		t.Errorf("refused: %v", err)
	}
	p.refuse = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "later"}
	if err := m.Send(t.Context(), alert, Fired); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("later: %v", err)
	}
	for _, bad := range []Mail{{Server: "x", From: "a@b", To: []string{"a@b"}}, {Server: "x:0", From: "a@b", To: []string{"a@b"}}, {Server: "x:25", From: "ab", To: []string{"a@b"}}, {Server: "x:25", From: "a@b", To: []string{"a@b\r\nDATA"}},
		{Server: "x:25", From: "a@b"}, {Server: "x:25", From: "a@b", To: []string{"a@b"}, User: "u"}} {
		if bad.Check() == nil {
			t.Errorf("%+v passes", bad)
		}
	}
}
