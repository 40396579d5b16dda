package snapshot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits of what is kept besides disks; libvirt's own files are far smaller.
const (
	maxNVRAM    = 16 << 20
	maxTPMFile  = 1 << 20
	maxTPMFiles = 16
)

// File is one small file of a VM's firmware.
type File struct {
	Name string `json:"name"` // without directory
	Data []byte `json:"data"`
}

// firmware keeps what a machine has outside its disks: UEFI's variables and the
// emulated TPM's state. They are read right after the instant; both change
// rarely, and never in halves (a file each, replaced or written in one go). What
// cannot be read is a warning: the machine's disks are worth having without.
func (t *taken) firmware() {
	if path := t.domain.NVRAM; path != "" {
		data, err := readSmall(path, maxNVRAM)
		switch {
		case errors.Is(err, os.ErrNotExist): // never started: the template's content
		case err != nil:
			t.warn("the UEFI variables are not in this point: %v", err)
		default:
			t.snap.NVRAM = data
		}
	}
	if t.domain.TPM == nil || t.domain.TPM.StatePath == "" {
		return
	}
	files, err := readTPM(t.domain.TPM.StatePath)
	if err != nil {
		t.warn("the TPM's state is not in this point: what is sealed with it (BitLocker, LUKS) needs its recovery key after a restore: %v", err)
	}
	t.snap.TPM = files
}

// readTPM reads swtpm's state directory: a permanent state file, and more of
// them while it runs. Its lock is not state.
func readTPM(dir string) ([]File, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // never started
	}
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool {
		return !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".")
	})
	if len(entries) > maxTPMFiles {
		return nil, fmt.Errorf("%s: %d files, at most %d are expected", dir, len(entries), maxTPMFiles)
	}
	var files []File
	for _, e := range entries {
		data, err := readSmall(filepath.Join(dir, e.Name()), maxTPMFile)
		if errors.Is(err, os.ErrNotExist) {
			continue // swtpm replaces its files
		}
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: e.Name(), Data: data})
	}
	return files, nil
}

// readSmall reads a file that is at most limit bytes long.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
