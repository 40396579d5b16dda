package main

import (
	"os"

	"github.com/spf13/cobra"

	"holdfast/internal/notify"
)

// alertOptions say where alerts go.
type alertOptions struct {
	webhook      string
	server, from string
	to           []string
}

func (o *alertOptions) addFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.webhook, "alert-webhook", "", "`URL` that alerts are posted to as JSON")
	c.Flags().StringSliceVar(&o.to, "alert-mail-to", nil, "mail `ADDRESS` that alerts go to (may be given several times)")
	c.Flags().StringVar(&o.from, "alert-mail-from", "", "mail `ADDRESS` that they come from")
	c.Flags().StringVar(&o.server, "alert-smtp", "localhost:25", "`HOST:PORT` of the mail server")
	c.MarkFlagsRequiredTogether("alert-mail-to", "alert-mail-from")
}

// channels are where alerts go: nowhere without flags.
func (o *alertOptions) channels() (all notify.All, err error) {
	if o.webhook != "" {
		w := notify.Webhook{URL: o.webhook, Secret: os.Getenv("HOLDFAST_ALERT_SECRET")}
		if err := w.Check(); err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	if len(o.to) > 0 {
		m := notify.Mail{Server: o.server, From: o.from, To: o.to, User: os.Getenv("HOLDFAST_SMTP_USER"), Password: os.Getenv("HOLDFAST_SMTP_PASSWORD")}
		if err := m.Check(); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}
