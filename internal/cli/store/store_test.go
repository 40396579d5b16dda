package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/internal/cli/store"
	"holdfast/internal/objstore/check"
	"holdfast/internal/objstore/servertest"
)

// run runs `store` with args and returns what it printed.
func run(t *testing.T, args ...string) (out, errs string, err error) {
	t.Helper()
	c := store.Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	var o, e bytes.Buffer
	c.SetOut(&o)
	c.SetErr(&e)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return o.String(), e.String(), err
}

func exitCode(err error) int {
	var own interface{ ExitCode() int }
	if errors.As(err, &own) {
		return own.ExitCode()
	}
	return 0
}

func TestCheckDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "theirs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, progress, err := run(t, "check", "--bytes", "1048576", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"STORE", dir, "create-only", "kept", "not tried", "object lock", "MB/s", "slowest", "Fit: the store kept every promise"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if n := strings.Count(progress, "\n"); n != len(check.All()) {
		t.Errorf("%d lines of progress\n%s", n, progress)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "theirs" && e.Name() != "+tmp" {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"check", "ftp://host"}, 2, `scheme "ftp"`},
		{[]string{"check", "s3://id:secret@bucket"}, 2, "no user or password"},
		{[]string{"check", filepath.Join(dir, "not-there")}, 3, "not-there"},
		{[]string{"check", "--bytes", "1", dir}, 2, "--bytes is 1"},
		{[]string{"check", "--parallel", "0", dir}, 2, "--parallel is 0"},
		{[]string{"check"}, 0, "accepts 1 arg"},
	} {
		_, _, err := run(t, c.args...)
		if err == nil || exitCode(err) != c.code || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v with code %d, want one with code %d that says %q", c.args, err, exitCode(err), c.code, c.says)
		}
	}
}

// checkServer checks the store at url and wants it fit; the credentials are in
// the environment.
func checkServer(t *testing.T, url string) check.Report {
	t.Helper()
	out, _, err := run(t, "check", "--json", "--bytes", "1048576", url)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r check.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if !r.Fit || r.Store != url || len(r.Findings) != len(check.All()) || r.Speed == nil || len(r.Left) > 0 {
		t.Errorf("%+v", r)
	}
	if strings.Contains(out, servertest.SecretKey) || strings.Contains(out, servertest.AzureKey) {
		t.Error("the report holds a secret")
	}
	return r
}

func TestCheckS3(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", servertest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", servertest.SecretKey)
	server := servertest.VersityGW(t)
	c, err := minio.New(strings.TrimPrefix(server, "http://"), &minio.Options{Region: "us-east-1",
		Creds: credentials.NewStaticV4(servertest.AccessKey, servertest.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MakeBucket(t.Context(), "backups", minio.MakeBucketOptions{ObjectLocking: true}); err != nil {
		t.Fatal(err)
	}
	r := checkServer(t, "s3://backups/a/b?endpoint="+server)
	if !r.Lock || r.ConditionalPut == nil || !*r.ConditionalPut {
		t.Errorf("lock %v, conditional put %v", r.Lock, r.ConditionalPut)
	}
	for o := range c.ListObjects(context.Background(), "backups", minio.ListObjectsOptions{Recursive: true}) {
		t.Errorf("%q is left, %v", o.Key, o.Err)
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	if _, _, err := run(t, "check", "s3://backups?endpoint="+server); exitCode(err) != 8 {
		t.Errorf("wrong keys: %v", err)
	}
	if _, _, err := run(t, "check", "s3://nothing?endpoint="+server); exitCode(err) != 8 {
		t.Errorf("wrong keys, no bucket: %v", err)
	}
}

func TestCheckAzBlob(t *testing.T) {
	t.Setenv("AZURE_STORAGE_KEY", servertest.AzureKey)
	server := servertest.Azurite(t)
	key, err := container.NewSharedKeyCredential(servertest.AzureAccount, servertest.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(server+"/backups", key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	checkServer(t, "azblob://"+servertest.AzureAccount+"/backups?endpoint="+server)
	t.Setenv("AZURE_STORAGE_KEY", "d3Jvbmc=")
	if _, _, err := run(t, "check", "azblob://"+servertest.AzureAccount+"/backups?endpoint="+server); exitCode(err) != 8 {
		t.Errorf("wrong key: %v", err)
	}
}

func TestCheckGCS(t *testing.T) {
	t.Parallel()
	server := servertest.GCS(t)
	resp, err := http.Post(server+"/storage/v1/b?project=p", "application/json", strings.NewReader(`{"name":"backups"}`))
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	checkServer(t, "gs://backups/p?anonymous=true&endpoint="+server)
	if _, _, err := run(t, "check", "gs://nothing?anonymous=true&endpoint="+server); exitCode(err) != 3 {
		t.Errorf("no bucket: %v", err)
	}
}
