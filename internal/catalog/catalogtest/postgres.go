// Package catalogtest gives tests a PostgreSQL server of their own: started by
// the first test that asks, with its files in a temporary directory, and ended
// with the test process. It has no fsync: it is for tests only.
//
// Its databases order text as people do (ICU, en-US), not byte by byte, so that
// a query that counts on the latter is found out.
package catalogtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

var (
	once    sync.Once
	running *server
	failed  error
	count   atomic.Int32
)

// server is the one server of a test process.
type server struct {
	dir string
	cmd *exec.Cmd
}

// Main runs the tests of a package and ends the server, if one was started.
func Main(m *testing.M) int {
	code := m.Run()
	if running != nil {
		running.stop()
	}
	return code
}

// Postgres gives the URL of a new, empty database. A test without PostgreSQL
// installed is skipped, which it says. The package's TestMain calls Main.
func Postgres(t testing.TB) string {
	t.Helper()
	bin := binaries()
	if bin == "" {
		t.Skip("SKIPPED: PostgreSQL is not installed (apt-get install postgresql)")
	}
	once.Do(func() { running, failed = start(bin) })
	if failed != nil {
		t.Fatalf("PostgreSQL for tests: %v", failed)
	}
	name := fmt.Sprintf("test%d", count.Add(1))
	conn, err := pgx.Connect(context.Background(), running.url("postgres"))
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return running.url(name)
}

// binaries is the directory of the newest PostgreSQL that is installed, "" for none.
func binaries() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	best, newest := "", 0
	for _, f := range found {
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(f)))); err == nil && n > newest {
			best, newest = filepath.Dir(f), n
		}
	}
	return best
}

func (s *server) url(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + url.QueryEscape(s.dir)
}

// start makes a cluster and serves it on a socket. PostgreSQL does not run as
// root: there it runs as the user that its package made.
func start(bin string) (*server, error) {
	dir, err := os.MkdirTemp("", "holdfast-pg-")
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGINT}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return nil, err
		}
	}
	s := &server{dir: dir}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale-provider=icu", "--icu-locale=en-US", "--locale=C.UTF-8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	var log strings.Builder
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200")
	s.cmd.SysProcAttr, s.cmd.Dir, s.cmd.Stderr = attr, dir, &log
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := pgx.Connect(context.Background(), s.url("postgres"))
		if err == nil {
			return s, conn.Close(context.Background())
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("%w\n%s", err, log.String())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stop ends the server at once (a fast shutdown) and takes its files away.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	_ = s.cmd.Wait()
	_ = os.RemoveAll(s.dir)
}
