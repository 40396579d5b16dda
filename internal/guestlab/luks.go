package guestlab

import (
	"context"
	"crypto/rand"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/google/uuid"

	"holdfast/internal/hypervisor"
	"holdfast/internal/luks"
)

// encrypt makes the image of an encrypted disk, empty or with the template's content.
func (g *Guest) encrypt(path string, d Disk) {
	g.T.Helper()
	g.secret()
	if err := luks.Create(g.T.Context(), path, d.Format, d.Size, g.Secret.Value, true); err != nil {
		g.T.Fatal(err)
	}
	if d.Path == "" {
		return
	}
	if err := Encrypt(d.Path, path, g.Secret.Value); err != nil {
		g.T.Fatal(err)
	}
}

// Encrypt makes an encrypted qcow2 image of another one.
func Encrypt(from, to string, key luks.Key) error {
	return luks.Retry(func() error {
		cmd := exec.Command("qemu-img", "convert", "-q", "-O", "qcow2", "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10")
		args, started, err := key.Hand(cmd)
		if err != nil {
			return err
		}
		defer started()
		cmd.Args = append(append(cmd.Args, args...), from, to)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("encrypt %s: %w: %s", from, err, out)
		}
		return nil
	})
}

// secret has libvirt know a new secret, once.
func (g *Guest) secret() {
	g.T.Helper()
	if g.Secret.UUID != "" {
		return
	}
	id := uuid.NewString()
	g.Secret = hypervisor.Secret{UUID: id, Value: []byte(rand.Text()),
		XML: "<secret ephemeral='no' private='no'><uuid>" + id + "</uuid><usage type='volume'><volume>" + g.Name + "</volume></usage></secret>"}
	if _, err := g.Host.DefineSecret(g.T.Context(), g.Secret); err != nil {
		g.T.Fatal(err)
	}
	g.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := g.Host.UndefineSecret(ctx, id); err != nil {
			g.T.Error(err)
		}
	})
}

// encryption is the element of a disk that says how it is opened.
func (g *Guest) encryption(d Disk) string {
	if !d.LUKS {
		return ""
	}
	return strings.ReplaceAll("<encryption format='luks'><secret type='passphrase' uuid='ID'/></encryption>", "ID", g.Secret.UUID)
}

// Plain reads an encrypted image of the lab's format as its guest sees it.
func Plain(t interface {
	Helper()
	Fatalf(string, ...any)
}, path, format string, key []byte, to string) {
	t.Helper()
	cmd := exec.Command("qemu-img", "convert", "-q", "-U", "-O", "raw")
	args, started, err := luks.Key(key).Hand(cmd)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer started()
	cmd.Args = append(append(cmd.Args, args...), "--image-opts", luks.Opts(format, path), to)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("decrypt %s: %v: %s", path, err, out)
	}
}
