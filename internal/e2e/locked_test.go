package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/internal/guestlab"
	"holdfast/internal/objstore/servertest"
)

// TestLockedVault locks a vault in a bucket with object lock on a real server:
// nobody, through the API or with the vault's own credentials straight at the
// store, takes a point away before its time. That the store lets go afterwards is
// shown by the repository's tests on the same servers.
func TestLockedVault(t *testing.T) {
	for name, start := range map[string]func(testing.TB) string{
		"versitygw": func(t testing.TB) string { return servertest.VersityGW(t) },
		"minio":     servertest.MinIO,
	} {
		t.Run(name, func(t *testing.T) { lockedVault(t, start(t)) })
	}
}

const lockedBucket = "locked"

func lockedVault(t *testing.T, endpoint string) {
	t.Setenv("AWS_ACCESS_KEY_ID", servertest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", servertest.SecretKey)
	c, err := minio.New(strings.TrimPrefix(endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, ""), Region: "us-east-1"})
	if err == nil {
		err = c.MakeBucket(t.Context(), lockedBucket, minio.MakeBucketOptions{ObjectLocking: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	g := guestlab.New(t, guestlab.Options{Name: "locked", Disks: []guestlab.Disk{{Size: 16 << 20}}, Off: true})
	s := &story{server: serve(t, t.TempDir()), guest: g, dir: guestlab.Dir(t)}
	if out, err := exec.Command("sh", "-c", "head -c 15000000 /dev/urandom > "+s.dir+"/noise && qemu-img convert -O qcow2 "+s.dir+"/noise "+g.Disks[1]).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	place := "s3://" + lockedBucket + "/safe?endpoint=" + endpoint
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe", "--repository", place)
	s.run("policy", "create", "nightly", "--daily", "01:00", "--retain-days", "90")
	s.run("protect", "start", g.Name, "--policy", "nightly")
	before := s.backup() // of the time when nothing was held
	s.run("vault", "immutability", "safe", "--lock", "--yes")
	if out := s.run("vault", "immutability", "safe"); !strings.Contains(out, "refuses deletions for 14 days") {
		t.Fatalf("locked: %s", out)
	}
	if state := s.ended("HoldRecoveryPoints"); state != "Completed" {
		t.Fatalf("what was there is not held: the job is %s", state)
	}
	after := s.backup()
	s.nobodyDeletes(g.Name)
	keys, _ := filepath.Glob(filepath.Join(s.data, "keys", "*.key"))
	s.stop()

	attack(t, c)
	fresh := t.TempDir()
	for _, key := range keys {
		if strings.HasPrefix(filepath.Base(key), "operational") {
			continue
		}
		b, err := os.ReadFile(key)
		if err == nil {
			err = os.MkdirAll(filepath.Join(fresh, "keys"), 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(fresh, "keys", "rescued.key"), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.server = serve(t, fresh) // it has nothing but the key and what the store kept
	s.run("site", "register", "home", "--uri", guestlab.URI, "--resource-group", "lab")
	s.run("vault", "create", "safe", "--repository", place, "--key", "rescued")
	for _, point := range []string{before, after} {
		s.run("restore", "disks", g.Name, "--point", point, "--directory", s.dir, "--name-prefix", "p"+point)
		back, _ := filepath.Glob(filepath.Join(s.dir, "p"+point+"*vdb*"))
		if len(back) != 1 {
			t.Fatalf("restored: %v", back)
		}
		if out, err := exec.Command("qemu-img", "compare", back[0], g.Disks[1]).CombinedOutput(); err != nil {
			t.Errorf("point %s: %s", point, out)
		}
	}
}

// nobodyDeletes tries, as owner and as operator, what would take a point away or
// make it go sooner.
func (s *story) nobodyDeletes(vm string) {
	s.t.Helper()
	role := filepath.Join(s.t.TempDir(), "contributor.env")
	s.run("principal", "create", "helper", "--role", "Backup Contributor", "--env-file", role)
	for _, s.who = range []string{role, ""} {
		s.refuses([]string{"immutable (Locked)"}, "protect", "stop", vm, "--delete-data", "--yes")
		s.refuses([]string{"immutable (Locked)"}, "policy", "create", "nightly", "--daily", "01:00", "--retain-days", "7", "--replace")
		s.refuses([]string{"cannot be undone"}, "vault", "immutability", "safe", "--off")
		s.refuses(nil, "vault", "delete", "safe", "--yes")
	}
}

// attack does with the vault's credentials all that S3 offers against what it
// holds, and then takes away what lies over it, as the bucket's owner would.
func attack(t *testing.T, c *minio.Client) {
	t.Helper()
	ctx := t.Context()
	soon := time.Now().Add(time.Minute)
	held, gone := 0, 0
	for o := range c.ListObjects(ctx, lockedBucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		err := c.RemoveObject(ctx, lockedBucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID, GovernanceBypass: true, ForceDelete: false})
		if err == nil {
			gone++ // needed by nothing any more, or else the restore will say so
			continue
		}
		held++
		mode := minio.Compliance
		if c.PutObjectRetention(ctx, lockedBucket, o.Key, minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &soon, VersionID: o.VersionID, GovernanceBypass: true}) == nil {
			t.Errorf("%s: the hold was shortened", o.Key)
		}
		if c.PutObjectRetention(ctx, lockedBucket, o.Key, minio.PutObjectRetentionOptions{VersionID: o.VersionID, GovernanceBypass: true}) == nil {
			t.Errorf("%s: the hold was taken away", o.Key)
		}
		if err := c.RemoveObject(ctx, lockedBucket, o.Key, minio.RemoveObjectOptions{}); err != nil { // hidden, not gone
			t.Errorf("%s: %v", o.Key, err)
		}
	}
	if held < 10 || c.RemoveBucketWithOptions(ctx, lockedBucket, minio.RemoveBucketOptions{}) == nil {
		t.Errorf("the store holds %d objects and let %d go", held, gone)
	}
	uncover(ctx, t, c)
}

// uncover takes delete markers away.
func uncover(ctx context.Context, t *testing.T, c *minio.Client) {
	t.Helper()
	var markers []minio.ObjectInfo
	for o := range c.ListObjects(ctx, lockedBucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
		if o.Err == nil && o.IsDeleteMarker {
			markers = append(markers, o)
		}
	}
	for _, o := range markers {
		if err := c.RemoveObject(ctx, lockedBucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
			t.Errorf("uncover %s: %v", o.Key, err)
		}
	}
}
