// Package notify brings alerts to people: to a webhook and by e-mail.
//
// It promises that an alert is kept in the transaction of what it tells, so that
// none is lost when the server dies; that each channel is given each alert at
// least once, with growing pauses while it does not take it, for a week; that a
// webhook can tell a true alert from a forged one; and that no secret is in an
// error. It does not promise that a channel gets an alert only once: what it is
// given has an id by which a second one is known. It does not decide what an
// alert is about.
package notify

import (
	"context"
	"errors"
	"net"
	"time"

	"holdfast"
)

// The channels' names, by which a delivery is kept.
const (
	WebhookName = "webhook"
	MailName    = "mail"
)

// State is what is told of an alert.
type State string

// The states, in Azure's words (monitorCondition).
const (
	Fired    State = "Fired"
	Resolved State = "Resolved"
)

// Channel takes alerts somewhere. It is called by one goroutine at a time.
type Channel interface {
	Name() string
	// Send brings one alert there. An error that is ErrRefused is about this
	// alert; any other one is about the way there, and the next alert waits.
	Send(ctx context.Context, a holdfast.Alert, s State) error
}

// ErrRefused says that the other side was reached and did not take the alert.
var ErrRefused = errors.New("it was refused")

// patience is how long one delivery may take.
const patience = 30 * time.Second

// loopback says whether a host is this machine, to which plaintext may go (SEC-02).
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
