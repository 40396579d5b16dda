package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast"
	"holdfast/internal/catalog"
	"holdfast/internal/catalog/catalogtest"
)

func TestMain(m *testing.M) { os.Exit(catalogtest.Main(m)) }

// fake is a channel that says what the test wants.
type fake struct {
	name string
	fail error
	got  []string
	sent chan string
}

func (f *fake) Name() string { return f.name }

func (f *fake) Send(_ context.Context, a holdfast.Alert, s State) error {
	f.got = append(f.got, a.Entity+" "+string(s))
	if f.sent != nil {
		f.sent <- a.Entity
	}
	return f.fail
}

func (f *fake) take() string { got := strings.Join(f.got, ","); f.got = nil; return got }

// bench is an outbox on a catalog of its own, with a clock that the test sets.
type bench struct {
	*Outbox
	now time.Time
}

func open(t *testing.T, place string, now time.Time, channels ...Channel) *bench {
	t.Helper()
	b := &bench{now: now}
	c, err := catalog.Open(t.Context(), place, func() time.Time { return b.now })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	b.Outbox = New(Config{Catalog: c, Clock: func() time.Time { return b.now }, Channels: channels})
	return b
}

func (b *bench) raise(t *testing.T, about string) (id string) {
	t.Helper()
	err := b.Catalog.Update(t.Context(), func(tx *catalog.Tx) (err error) {
		id, err = b.Raise(tx, holdfast.Alert{Kind: holdfast.AlertNearlyFull, About: about, Resource: "/subscriptions/S/resourceGroups/" + about, Entity: about, Message: "Full."})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (b *bench) deliver(t *testing.T, after time.Duration) {
	t.Helper()
	b.now = b.now.Add(after)
	if err := b.Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestOutbox: each channel by itself, with growing pauses; what one has taken it
// is not given again; a channel that is away gets one try a round.
func TestOutbox(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]string{"sqlite": filepath.Join(t.TempDir(), "c.db"), "postgres": "postgres"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "postgres" {
				place = catalogtest.Postgres(t)
			}
			hook, mail := &fake{name: WebhookName}, &fake{name: MailName, fail: errors.New("away")}
			b := open(t, place, moment, hook, mail)
			b.raise(t, "a")
			b.now = b.now.Add(time.Second)
			b.raise(t, "b")
			b.raise(t, "b") // is open already
			b.deliver(t, 0)
			if h, m := hook.take(), mail.take(); h != "a Fired,b Fired" || m != "a Fired" {
				t.Errorf("first round: webhook %q, mail %q", h, m)
			}
			b.deliver(t, 59*time.Second)
			if h, m := hook.take(), mail.take(); h != "" || m != "b Fired" {
				t.Errorf("within the pause: webhook %q, mail %q", h, m)
			}
			mail.fail = fmt.Errorf("%w: full", ErrRefused)
			b.deliver(t, time.Minute)
			if m := mail.take(); m != "a Fired,b Fired" {
				t.Errorf("refused: mail %q", m)
			}
			b.deliver(t, time.Minute) // the second pause is 2 minutes
			if m := mail.take(); m != "" {
				t.Errorf("too early: mail %q", m)
			}
			mail.fail = nil
			b.deliver(t, 2*time.Minute)
			if m := mail.take(); m != "a Fired,b Fired" {
				t.Errorf("mail %q", m)
			}
			if err := b.Catalog.Update(t.Context(), func(tx *catalog.Tx) error { return errors.Join(b.Resolve(tx, "b"), b.Resolve(tx, "nothing")) }); err != nil {
				t.Fatal(err)
			}
			b.deliver(t, 0)
			if h, m := hook.take(), mail.take(); h != "b Resolved" || m != "b Resolved" {
				t.Errorf("resolved: webhook %q, mail %q", h, m)
			}
			b.deliver(t, keepFor+time.Hour)
			b.list(t, Filter{}, "")
		})
	}
}

// TestGiveUp after a week, and not before.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	c := &fake{name: WebhookName, fail: errors.New("away")}
	b := open(t, filepath.Join(t.TempDir(), "c.db"), moment, c)
	id := b.raise(t, "a")
	tries := 0
	for range 8 * 24 {
		b.deliver(t, time.Hour)
		tries += len(c.got)
		c.got = nil
	}
	var all []Delivery
	if err := b.Catalog.View(t.Context(), func(tx *catalog.Tx) (err error) { all, err = Deliveries(tx, id); return err }); err != nil {
		t.Fatal(err)
	}
	if tries != 7*24 || len(all) != 1 || all[0].Taken || !all[0].Next.IsZero() || all[0].Error != "given up: away" {
		t.Errorf("%d tries, %+v", tries, all)
	}
}

// TestRestartLosesNothing: an alert is in the transaction of what it tells, and
// what the last process did not bring out the next one does.
func TestRestartLosesNothing(t *testing.T) {
	t.Parallel()
	place := filepath.Join(t.TempDir(), "c.db")
	dead := open(t, place, moment, &fake{name: WebhookName})
	err := dead.Catalog.Update(t.Context(), func(tx *catalog.Tx) error {
		if _, err := dead.Raise(tx, holdfast.Alert{About: "undone", Entity: "undone"}); err != nil {
			return err
		}
		return errors.New("what it tells did not happen")
	})
	if err == nil {
		t.Fatal("the transaction was committed")
	}
	dead.raise(t, "kept")
	if err := dead.Catalog.Close(); err != nil {
		t.Fatal(err)
	}
	c := &fake{name: WebhookName, sent: make(chan string)}
	next := open(t, place, moment.Add(time.Minute), c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { next.Run(ctx); close(done) }()
	next.Wake()
	if got := <-c.sent; got != "kept" {
		t.Errorf("after the restart: %q", got)
	}
	cancel()
	<-done
}

func (b *bench) list(t *testing.T, f Filter, want string) {
	t.Helper()
	var got []string
	err := b.Catalog.View(t.Context(), func(tx *catalog.Tx) error {
		all, err := List(tx, f)
		for _, a := range all {
			got = append(got, a.Entity)
		}
		return err
	})
	if err != nil || strings.Join(got, ",") != want {
		t.Errorf("%+v: %v, %v; want %s", f, got, err, want)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "c.db"), moment)
	for _, about := range []string{"a", "ab", "a/x"} {
		b.raise(t, about)
		b.now = b.now.Add(time.Minute)
	}
	b.list(t, Filter{}, "a/x,ab,a")
	b.list(t, Filter{Scope: "/subscriptions/s/resourcegroups/A"}, "a/x,a")
	b.list(t, Filter{From: moment.Add(time.Minute), Limit: 1}, "a/x")
	err := b.Catalog.View(t.Context(), func(tx *catalog.Tx) error {
		first, err := List(tx, Filter{Limit: 1})
		if err != nil {
			return err
		}
		if _, err := Get(tx, strings.ToUpper(first[0].ID)); err != nil {
			t.Error(err)
		}
		if _, err := Get(tx, "no"); holdfast.KindOf(err) != holdfast.NotFound {
			t.Error(err)
		}
		rest, err := List(tx, Filter{After: &first[0]})
		if len(rest) != 2 {
			t.Errorf("after the first: %v", rest)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
