package restore

import (
	"context"
	"os"
	"testing"

	"holdfast"
	"holdfast/internal/hypervisor"
	"holdfast/internal/mover"
)

// defined is a host with one domain, of which it tells no more than Undo asks.
type defined struct {
	hypervisor.Host
	xml string
}

func (h defined) Close() error { return nil }

func (h defined) Domains(context.Context) ([]hypervisor.Domain, error) {
	return []hypervisor.Domain{{UUID: "u", Name: "renamed since"}}, nil
}

func (h defined) DomainXML(context.Context, string) (string, error) { return h.xml, nil }

// TestUndo takes back a dead run's files; those that a VM was made of stay,
// whatever the VM is called by now.
func TestUndo(t *testing.T) {
	const of = `<domain><metadata><holdfast:restored xmlns:holdfast="` + mover.MarkSpace + `" restore="`
	for _, c := range []struct {
		name, xml string
		mode      holdfast.RestoreMode
		left      []string
	}{
		{"its VM is there", of + `r1"/></metadata></domain>`, holdfast.CreateVM, []string{".holdfast-restore-r1", "a"}},
		{"another restore's VM", of + `r2"/></metadata></domain>`, holdfast.CreateVM, nil},
		{"another VM", `<domain/>`, holdfast.CreateVM, nil},
		{"disks only", `<domain/>`, holdfast.RestoreDisks, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, _ := begun(t)
			m := Mover{Hosts: func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) { return defined{xml: c.xml}, nil }}
			args := holdfast.RestoreArgs{RestoreID: "r1", Directory: dir, Mode: c.mode}
			done, err := m.Undo(t.Context(), args)
			if err != nil || done != (c.left != nil) {
				t.Fatalf("done %v, %v", done, err)
			}
			want(t, dir, c.left...)
			if err := m.Forget(t.Context(), args); err != nil {
				t.Fatal(err)
			}
			if done {
				want(t, dir, "a")
			}
		})
	}
}

func TestUndoWithoutAnythingDone(t *testing.T) {
	dir := t.TempDir()
	m := Mover{Hosts: func(context.Context, holdfast.SiteRef) (hypervisor.Host, error) {
		return defined{xml: "<domain/>"}, nil
	}}
	if _, err := m.Undo(t.Context(), holdfast.RestoreArgs{RestoreID: "r1", Directory: dir, Mode: holdfast.CreateVM}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
