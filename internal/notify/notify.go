// Package notify brings alerts to people: to a webhook and by e-mail.
//
// It promises that an alert which was not taken is an error, so that its sender
// keeps it and tries again; that a webhook can tell a true alert from a forged
// one; and that no secret is in an error. It does not decide what an alert is
// about, nor does it keep any.
package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/smtp"
	"net/url"
	"strings"
	"time"

	"holdfast"
)

// patience is how long one delivery may take.
const patience = 30 * time.Second

// Channel takes alerts somewhere.
type Channel interface {
	Notify(ctx context.Context, a holdfast.Alert) error
}

// All is every channel at once. An error of one does not keep the others.
type All []Channel

// Notify gives the alert to every channel.
func (all All) Notify(ctx context.Context, a holdfast.Alert) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, c.Notify(ctx, a))
	}
	return errors.Join(errs...)
}

// Webhook posts alerts as JSON. With a Secret, the header X-Holdfast-Signature
// is "sha256=" and the HMAC-SHA256 of the body under it, in hexadecimal.
type Webhook struct {
	URL    string
	Secret string
	Client *http.Client // nil is http.DefaultClient
}

// Check refuses an address that cannot be one.
func (w Webhook) Check() error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("the webhook is not an http or https URL")
	}
	return nil
}

// Notify posts one alert; any answer but 2xx is an error.
func (w Webhook) Notify(ctx context.Context, a holdfast.Alert) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("webhook: the URL is malformed") // which may hold a secret
	}
	req.Header.Set("Content-Type", "application/json")
	if w.Secret != "" {
		mac := hmac.New(sha256.New, []byte(w.Secret))
		_, _ = mac.Write(body) // a hash does not fail
		req.Header.Set("X-Holdfast-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	client := w.Client
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL
		}
		return fmt.Errorf("webhook: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("webhook: it answered %s", resp.Status)
	}
	return nil
}

// Mail sends alerts by e-mail through an SMTP server, with TLS where that offers
// STARTTLS. A password is sent with TLS only (net/smtp sees to that).
type Mail struct {
	Server   string // HOST:PORT
	From     string
	To       []string
	User     string // "" signs in nowhere
	Password string
	TLS      *tls.Config // nil: the server's name, the system's authorities
}

// Check refuses settings with which no mail can be sent.
func (m Mail) Check() error {
	if _, _, err := net.SplitHostPort(m.Server); err != nil {
		return fmt.Errorf("the SMTP server %q is not HOST:PORT", m.Server)
	}
	for _, address := range append([]string{m.From}, m.To...) {
		if !strings.Contains(address, "@") || strings.ContainsAny(address, "\r\n<> ") {
			return fmt.Errorf("%q is not a mail address", address)
		}
	}
	if len(m.To) == 0 {
		return errors.New("there is nobody to send mail to")
	}
	return nil
}

// Notify sends one alert.
func (m Mail) Notify(ctx context.Context, a holdfast.Alert) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := m.send(ctx, a); err != nil {
		return fmt.Errorf("mail through %s: %w", m.Server, err)
	}
	return nil
}

func (m Mail) send(ctx context.Context, a holdfast.Alert) (err error) {
	host, _, err := net.SplitHostPort(m.Server)
	if err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.Server)
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		config := m.TLS
		if config == nil {
			config = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
		}
		if err := c.StartTLS(config); err != nil {
			return err
		}
	}
	if m.User != "" {
		if err := c.Auth(smtp.PlainAuth("", m.User, m.Password, host)); err != nil {
			return err
		}
	}
	if err := c.Mail(m.From); err != nil {
		return err
	}
	for _, to := range m.To {
		if err := c.Rcpt(to); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(m.message(a)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// message is the mail (RFC 5322). What comes from outside, such as the name of a
// VM, cannot add a header: line breaks are taken out of the subject, and the
// body is behind the headers.
func (m Mail) message(a holdfast.Alert) []byte {
	subject := fmt.Sprintf("[holdfast] %s: %s", a.Kind, a.Entity)
	subject = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, subject)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: %s\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%s@holdfast>\r\n", m.From, strings.Join(m.To, ", "),
		mime.QEncoding.Encode("utf-8", subject), a.Time.Format(time.RFC1123Z), a.ID)
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	lines := []string{a.Message, a.Hint, "", "At:       " + a.Time.UTC().Format(time.RFC3339), "Resource: " + a.Resource}
	if a.Job != "" {
		lines = append(lines, "Job:      "+a.Job)
	}
	b.WriteString(strings.ReplaceAll(strings.ReplaceAll(strings.Join(lines, "\n"), "\r", ""), "\n", "\r\n") + "\r\n")
	return b.Bytes()
}
