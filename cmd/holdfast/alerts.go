package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"holdfast/internal/clock"
	"holdfast/internal/notify"
)

// alertOptions say where alerts go.
type alertOptions struct {
	webhook, secretFile string
	server, from        string
	to                  []string
	user, passwordFile  string
}

func (o *alertOptions) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.webhook, "alert-webhook", "", "`URL` (https) that alerts are posted to, in the common alert schema")
	c.Flags().StringVar(&o.secretFile, "alert-webhook-secret-file", "", "`FILE` with the key that the webhook's posts are signed with")
	c.Flags().StringVar(&o.server, "alert-smtp", "", "`HOST:PORT` of the mail server that alerts go through, under TLS")
	c.Flags().StringVar(&o.from, "alert-from", "", "mail `ADDRESS` that alerts come from")
	c.Flags().StringSliceVar(&o.to, "alert-to", nil, "mail `ADDRESS` that alerts go to (may be given several times)")
	c.Flags().StringVar(&o.user, "alert-smtp-user", "", "`USER` at the mail server")
	c.Flags().StringVar(&o.passwordFile, "alert-smtp-password-file", "", "`FILE` with that user's password")
	c.MarkFlagsRequiredTogether("alert-smtp", "alert-from", "alert-to")
	c.MarkFlagsRequiredTogether("alert-smtp-user", "alert-smtp-password-file")
	for _, file := range []string{"alert-webhook-secret-file", "alert-smtp-password-file"} {
		_ = c.MarkFlagFilename(file)
	}
}

// channels are where alerts go: nowhere without flags.
func (o *alertOptions) channels() (all []notify.Channel, err error) {
	switch {
	case o.secretFile != "" && o.webhook == "":
		return nil, errors.New("--alert-webhook-secret-file needs --alert-webhook")
	case o.user != "" && o.server == "":
		return nil, errors.New("--alert-smtp-user needs --alert-smtp")
	}
	if o.webhook != "" {
		w := notify.Webhook{URL: o.webhook, Clock: clock.System}
		if err := w.Check(); err != nil {
			return nil, fmt.Errorf("--alert-webhook: %w", err)
		}
		if o.secretFile != "" {
			content, err := secret(o.secretFile)
			if err == nil {
				w.Secret, err = notify.SecretOf(content)
			}
			if err != nil {
				return nil, fmt.Errorf("--alert-webhook-secret-file: %w", err)
			}
		}
		all = append(all, w)
	}
	if o.server == "" {
		return all, nil
	}
	m := notify.Mail{Server: o.server, From: o.from, To: o.to, User: o.user}
	if o.passwordFile != "" {
		content, err := secret(o.passwordFile)
		if err != nil {
			return nil, fmt.Errorf("--alert-smtp-password-file: %w", err)
		}
		m.Password = strings.TrimRight(string(content), "\r\n")
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("alerts by mail: %w", err)
	}
	return append(all, m), nil
}

// secret reads a file that only its owner's group may read, too.
func secret(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("everybody may read or write %s; chmod 600 it", file)
	}
	return os.ReadFile(file)
}
