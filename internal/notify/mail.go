package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"holdfast"
)

// Mail sends alerts by e-mail through an SMTP server, under TLS: from the first
// byte on port 465, else by STARTTLS, without which only a server on this
// machine is spoken to, and no password is sent.
type Mail struct {
	Server   string // HOST:PORT
	From     string
	To       []string
	User     string // "" signs in nowhere
	Password string
	TLS      *tls.Config // nil: the server's name, the system's authorities
}

// smtps is the port on which SMTP is under TLS from the first byte (RFC 8314).
const smtps = 465

// address is where the server listens.
func (m Mail) address() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(m.Server)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || host == "" || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("the SMTP server %q is not HOST:PORT", m.Server)
	}
	return host, port, nil
}

// Check refuses settings with which no mail can be sent.
func (m Mail) Check() error {
	if _, _, err := m.address(); err != nil {
		return err
	}
	if len(m.To) == 0 {
		return errors.New("there is nobody to send mail to")
	}
	for _, address := range append([]string{m.From}, m.To...) {
		if parsed, err := netmail.ParseAddress(address); err != nil || parsed.Address != address {
			return fmt.Errorf("%q is not a mail address", address)
		}
	}
	if (m.User == "") != (m.Password == "") {
		return errors.New("the SMTP user and password are given together or not at all")
	}
	return nil
}

// Name is MailName.
func (Mail) Name() string { return MailName }

// Send mails one alert.
func (m Mail) Send(ctx context.Context, a holdfast.Alert, s State) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := m.client()
	if err != nil {
		return err
	}
	letter, err := m.letter(a, s)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	err = client.DialAndSendWithContext(ctx, letter)
	var failed *mail.SendError
	if errors.As(err, &failed) && !failed.IsTemp() {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (m Mail) client() (*mail.Client, error) {
	host, port, err := m.address()
	if err != nil {
		return nil, err
	}
	options := []mail.Option{mail.WithPort(port), mail.WithTimeout(patience)}
	switch {
	case port == smtps:
		options = append(options, mail.WithSSL())
	case loopback(host):
		options = append(options, mail.WithTLSPolicy(mail.TLSOpportunistic))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.TLS != nil {
		options = append(options, mail.WithTLSConfig(m.TLS))
	}
	if m.User != "" { // the methods which show the password are left out without TLS
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(m.User), mail.WithPassword(m.Password))
	}
	return mail.NewClient(host, options...)
}

// letter is the mail. What comes from outside, such as the name of a VM, is in
// the body, or in a subject that go-mail encodes.
func (m Mail) letter(a holdfast.Alert, s State) (*mail.Msg, error) {
	letter := mail.NewMsg()
	if err := errors.Join(letter.From(m.From), letter.To(m.To...)); err != nil {
		return nil, err
	}
	letter.Subject(oneLine(fmt.Sprintf("[holdfast] %s %s: %s", s, a.Kind, a.Entity)))
	letter.SetMessageIDWithValue(a.ID + "-" + strings.ToLower(string(s)) + "@holdfast")
	letter.SetDateWithValue(a.Time)
	lines := []string{a.Message, a.Hint, "", "State:    " + string(s), "Severity: " + a.Severity(), "At:       " + a.Time.UTC().Format(time.RFC3339), "Resource: " + a.Resource}
	if s == Resolved {
		lines = append(lines, "Resolved: "+a.Resolved.UTC().Format(time.RFC3339))
	}
	if a.Job != "" {
		lines = append(lines, "Job:      "+a.Job+" (holdfast job show "+a.Job+")")
	}
	letter.SetBodyString(mail.TypeTextPlain, strings.Join(lines, "\n")+"\n")
	return letter, nil
}

// oneLine takes out what could begin another header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
