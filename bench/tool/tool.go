// Package tool knows how each compared program is told to back up a disk
// image, to bring it back and to verify what it stored.
//
// All encrypt (with a passphrase from a file), compress and deduplicate as
// they do by default, but for the two that only copy: qemu-img, which
// compresses, and nbdcopy, which is the floor.
package tool

import (
	"path/filepath"

	"holdfast/bench/measure"
)

// Place is where a program works.
type Place struct {
	Store  string // its own folder: the backups
	Cache  string // its own folder: what it keeps beside them
	Secret string // the file with the passphrase
	Image  string // the disk to back up
}

// Tool is one compared program. What a program cannot do is nil.
type Tool struct {
	Name    string   // in figures; a second way to run one is name/variant
	Variant string   // how it is told to compress, where there is a choice
	Version []string // the command that prints it
	Env     func(p Place) []string
	Init    func(p Place) []string
	// Backup takes the image as a new point; on a store that has a point of
	// the day before, base names it and dirty is the file of extents that
	// changed since. Both may be empty.
	Backup func(p Place, point, base, dirty string) []string
	// Incremental says that a second Backup stores only what is new.
	Incremental bool
	// Scans says that Backup can be told the dirty extents, so that going
	// without them is a case of its own.
	Scans   bool
	Verify  func(p Place) []string
	Restore func(p Place, point, folder string) []string
	// RestoreQcow2 restores to a qcow2 image instead of a raw one.
	RestoreQcow2 func(p Place, point, folder string) []string
}

// Command is args made ready to run at the place.
func (t Tool) Command(p Place, args []string) measure.Command {
	c := measure.Command{Args: args, Dir: filepath.Dir(p.Image)}
	if t.Env != nil {
		c.Env = t.Env(p)
	}
	return c
}

// Peers are the programs that Holdfast is compared with.
func Peers() []Tool {
	return []Tool{restic(), borg("borg", "lz4"), borg("borg/zstd", "zstd,3"), qemuImg(), nbdcopy()}
}

// Holdfast is our own binary at path. It is opened by a key file, as a server
// opens it that backs up by itself.
func Holdfast(path string) Tool {
	url := func(p Place) string { return "file://" + p.Store }
	key := func(p Place) string { return "--key-file=" + filepath.Join(p.Cache, "key") }
	return Tool{
		Name:    "holdfast",
		Version: []string{path, "version"},
		Env:     func(p Place) []string { return []string{"XDG_CACHE_HOME=" + p.Cache} },
		Init:    func(p Place) []string { return []string{path, "repository", "init", url(p), key(p)} },
		Backup: func(p Place, point, base, dirty string) []string {
			args := []string{path, "repository", "import", p.Image, "--format", "raw", "--repo", url(p), key(p), "--name", point}
			if base != "" {
				args = append(args, "--base", base)
			}
			if dirty != "" {
				args = append(args, "--dirty-map", dirty)
			}
			return args
		},
		Incremental: true,
		Scans:       true,
		Verify:      func(p Place) []string { return []string{path, "repository", "verify", url(p), key(p)} },
		Restore: func(p Place, point, folder string) []string {
			return []string{path, "repository", "export", point, "--repo", url(p), key(p), "--to", filepath.Join(folder, "disk.raw")}
		},
		RestoreQcow2: func(p Place, point, folder string) []string {
			return []string{path, "repository", "export", point, "--repo", url(p), key(p), "--to", filepath.Join(folder, "disk.qcow2")}
		},
	}
}

func restic() Tool {
	args := func(p Place, more ...string) []string {
		return append([]string{"restic", "-q", "-r", p.Store, "--cache-dir", p.Cache}, more...)
	}
	return Tool{
		Name:    "restic",
		Version: []string{"restic", "version"},
		Env:     func(p Place) []string { return []string{"RESTIC_PASSWORD_FILE=" + p.Secret} },
		Init:    func(p Place) []string { return args(p, "init", "--repository-version", "2") },
		Backup: func(p Place, point, _, _ string) []string {
			return args(p, "backup", "--compression", "auto", "--tag", point, p.Image)
		},
		Incremental: true,
		Verify:      func(p Place) []string { return args(p, "check", "--read-data") },
		Restore: func(p Place, point, folder string) []string {
			return args(p, "restore", "--tag", point, "--target", folder, "latest")
		},
	}
}

func borg(name, compression string) Tool {
	return Tool{
		Name:    name,
		Variant: compression,
		Version: []string{"borg", "--version"},
		Env: func(p Place) []string {
			return []string{"BORG_PASSCOMMAND=cat " + p.Secret, "BORG_BASE_DIR=" + p.Cache, "BORG_RELOCATED_REPO_ACCESS_IS_OK=yes"}
		},
		Init: func(p Place) []string { return []string{"borg", "init", "-e", "repokey", p.Store} },
		Backup: func(p Place, point, _, _ string) []string {
			return []string{"borg", "create", "-C", compression, p.Store + "::" + point, filepath.Base(p.Image)}
		},
		Incremental: true,
		Verify:      func(p Place) []string { return []string{"borg", "check", "--verify-data", p.Store} },
		Restore: func(p Place, point, folder string) []string {
			return []string{"sh", "-c", `cd "$1" && exec borg extract --sparse "$2"`, "borg", folder, p.Store + "::" + point}
		},
	}
}

func qemuImg() Tool {
	return Tool{
		Name:    "qemu-img",
		Version: []string{"qemu-img", "--version"},
		Backup: func(p Place, point, _, _ string) []string {
			return []string{"qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd",
				p.Image, filepath.Join(p.Store, point)}
		},
		Restore: func(p Place, point, folder string) []string {
			return []string{"qemu-img", "convert", "-f", "qcow2", "-O", "raw", filepath.Join(p.Store, point), filepath.Join(folder, "disk.raw")}
		},
	}
}

func nbdcopy() Tool {
	return Tool{
		Name:    "nbdcopy",
		Version: []string{"nbdcopy", "--version"},
		Backup: func(p Place, point, _, _ string) []string {
			return []string{"nbdcopy", "--flush", p.Image, filepath.Join(p.Store, point)}
		},
		Restore: func(p Place, point, folder string) []string {
			return []string{"nbdcopy", "--flush", filepath.Join(p.Store, point), filepath.Join(folder, "disk.raw")}
		},
	}
}
