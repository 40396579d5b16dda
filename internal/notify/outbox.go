package notify

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/clock"
)

const (
	// tryFor is how long a channel that does not take an alert is tried.
	tryFor = 7 * 24 * time.Hour
	// keepFor is how long alerts can be listed.
	keepFor = 90 * 24 * time.Hour
	// batch is how many deliveries one look at the catalog gives at most.
	batch = 100
	// firstPause and longestPause are between two tries; it doubles.
	firstPause, longestPause = time.Minute, time.Hour
)

// Config is what an Outbox needs.
type Config struct {
	Catalog  *catalog.Catalog
	Clock    clock.Clock
	Log      *slog.Logger
	Channels []Channel
}

// Outbox keeps alerts and brings them to its channels. It is safe for concurrent
// use.
type Outbox struct {
	Config
	wake chan struct{}
	turn sync.Mutex // one delivery at a time
}

// New makes an outbox. Run brings the alerts out.
func New(c Config) *Outbox {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Outbox{Config: c, wake: make(chan struct{}, 1)}
}

// Raise keeps an alert and what is to be delivered of it. While an alert about
// the same is open, a second one changes nothing. It returns the open one's id.
func (o *Outbox) Raise(tx *catalog.Tx, a holdfast.Alert) (string, error) {
	var open string
	err := tx.QueryRow(`SELECT id FROM alert WHERE about = ? AND resolved = 0`, a.About).Scan(&open)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return open, err
	}
	a.ID, a.Time = uuid.NewString(), tx.Now().UTC()
	if _, err := tx.Exec(`INSERT INTO alert (id, about, resource, body, created, resolved) VALUES (?, ?, ?, ?, ?, 0)`,
		a.ID, a.About, strings.ToLower(a.Resource), string(holdfast.Marshal(a)), catalog.Micros(a.Time)); err != nil {
		return "", err
	}
	return a.ID, o.post(tx, a.ID, Fired)
}

// Open says whether an alert about something is open.
func Open(tx *catalog.Tx, about string) (bool, error) {
	var n int
	err := tx.QueryRow(`SELECT count(*) FROM alert WHERE about = ? AND resolved = 0`, about).Scan(&n)
	return n > 0, err
}

// Resolve ends the open alert about something, if there is one, and tells so.
func (o *Outbox) Resolve(tx *catalog.Tx, about string) error {
	var id string
	err := tx.QueryRow(`SELECT id FROM alert WHERE about = ? AND resolved = 0`, about).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := tx.Exec(`UPDATE alert SET resolved = ? WHERE id = ?`, catalog.Micros(tx.Now()), id); err != nil {
		return err
	}
	return o.post(tx, id, Resolved)
}

// post makes the deliveries of an alert's state.
func (o *Outbox) post(tx *catalog.Tx, id string, s State) error {
	now := catalog.Micros(tx.Now())
	for _, c := range o.Channels {
		if _, err := tx.Exec(`INSERT INTO delivery (alert, channel, state, tries, created, due, ended, error) VALUES (?, ?, ?, 0, ?, ?, 0, '')`, id, c.Name(), s, now, now); err != nil {
			return err
		}
	}
	tx.AfterCommit(o.Wake)
	return nil
}

// Wake lets Run look for what is due.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default: // it is told already
	}
}

// Run delivers what is due whenever it is woken, until ctx ends.
func (o *Outbox) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.wake:
		}
		if err := o.Deliver(ctx); err != nil && ctx.Err() == nil {
			o.Log.Error("alerts", "error", err)
		}
	}
}

// delivery is one alert for one channel.
type delivery struct {
	alert   holdfast.Alert
	channel string
	state   State
	tries   int
	created time.Time
}

// Deliver gives the channels what is due, oldest first. A channel that cannot be
// reached is left alone until the next call. The error is of the catalog only:
// what a channel says is kept with the delivery and logged.
func (o *Outbox) Deliver(ctx context.Context) error {
	o.turn.Lock()
	defer o.turn.Unlock()
	for _, c := range o.Channels {
		for more := true; more && ctx.Err() == nil; {
			due, err := o.due(ctx, c.Name())
			if err != nil {
				return err
			}
			more = len(due) == batch
			for _, d := range due {
				sent := c.Send(ctx, d.alert, d.state)
				if ctx.Err() != nil { // the next start tries again
					return nil
				}
				if err := o.record(ctx, d, sent); err != nil {
					return err
				}
				if sent != nil && !errors.Is(sent, ErrRefused) {
					more = false
					break
				}
			}
		}
	}
	return o.forget(ctx)
}

func (o *Outbox) due(ctx context.Context, channel string) (all []delivery, err error) {
	err = o.Catalog.View(ctx, func(tx *catalog.Tx) error {
		all, err = catalog.Collect(tx, func(scan func(...any) error) (d delivery, err error) {
			var created, resolved int64
			var body string
			if err := scan(&d.channel, &d.state, &d.tries, &created, &body, &resolved); err != nil {
				return d, err
			}
			d.created = catalog.Time(created)
			d.alert, err = decode(body, resolved)
			return d, err
		}, fmt.Sprintf(`SELECT d.channel, d.state, d.tries, d.created, a.body, a.resolved FROM delivery d JOIN alert a ON a.id = d.alert
			WHERE d.ended = 0 AND d.due <= ? AND d.channel = ? ORDER BY d.created, d.alert LIMIT %d`, batch), catalog.Micros(o.Clock()), channel)
		return err
	})
	return all, err
}

// record keeps what became of one try.
func (o *Outbox) record(ctx context.Context, d delivery, sent error) error {
	now := o.Clock()
	pause := longestPause
	if d.tries < 6 { // 1 min doubled 6 times is more than the longest
		pause = firstPause << d.tries
	}
	ended, text := time.Time{}, ""
	switch {
	case sent == nil:
		ended = now
	case now.Sub(d.created) >= tryFor:
		ended, text = now, "given up: "+sent.Error()
		o.Log.Error("alert given up", "alert", d.alert.ID, "kind", d.alert.Kind, "entity", d.alert.Entity, "channel", d.channel, "error", sent)
	default:
		text = sent.Error()
		o.Log.Warn("alert not taken", "alert", d.alert.ID, "kind", d.alert.Kind, "channel", d.channel, "try", d.tries+1, "error", sent)
	}
	return o.Catalog.Update(context.WithoutCancel(ctx), func(tx *catalog.Tx) error {
		_, err := tx.Exec(`UPDATE delivery SET tries = tries + 1, due = ?, ended = ?, error = ? WHERE alert = ? AND channel = ? AND state = ?`,
			catalog.Micros(now.Add(pause)), catalog.Micros(ended), text, d.alert.ID, d.channel, d.state)
		return err
	})
}

// forget drops alerts that are old. A condition that lasts raises a new one.
func (o *Outbox) forget(ctx context.Context) error {
	old := catalog.Micros(o.Clock().Add(-keepFor))
	var n int
	err := o.Catalog.View(ctx, func(tx *catalog.Tx) error {
		return tx.QueryRow(`SELECT count(*) FROM alert WHERE created < ?`, old).Scan(&n)
	})
	if err != nil || n == 0 {
		return err
	}
	return o.Catalog.Update(ctx, func(tx *catalog.Tx) error {
		if _, err := tx.Exec(`DELETE FROM delivery WHERE alert IN (SELECT id FROM alert WHERE created < ?)`, old); err != nil {
			return err
		}
		_, err := tx.Exec(`DELETE FROM alert WHERE created < ?`, old)
		return err
	})
}

func decode(body string, resolved int64) (a holdfast.Alert, err error) {
	err = json.Unmarshal([]byte(body), &a)
	a.Resolved = catalog.Time(resolved)
	return a, err
}
