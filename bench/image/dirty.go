package image

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// Extent is a range of the disk in bytes.
type Extent struct {
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

func writeDirtyMap(path string, list []Extent) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	for _, e := range list {
		if _, err := fmt.Fprintf(w, "{\"offset\":%d,\"length\":%d}\n", e.Offset, e.Length); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// ReadDirtyMap reads a file of dirty extents and checks their order.
func ReadDirtyMap(path string) ([]Extent, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []Extent
	end := int64(0)
	for d := json.NewDecoder(f); ; {
		var e Extent
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if e.Offset < end || e.Length <= 0 {
			return nil, fmt.Errorf("%s: extent %d+%d is out of order or empty", path, e.Offset, e.Length)
		}
		end = e.Offset + e.Length
		list = append(list, e)
	}
}

func total(list []Extent) int64 {
	n := int64(0)
	for _, e := range list {
		n += e.Length
	}
	return n
}

// saveData keeps the bytes of the extents of the file at from, one after the
// other, at to.
func saveData(from, to string, list []Extent) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	defer dst.Close()
	for _, e := range list {
		if _, err := io.Copy(dst, io.NewSectionReader(src, e.Offset, e.Length)); err != nil {
			return err
		}
	}
	return dst.Sync()
}

// Apply turns the raw image at path from the day before into day n.
func (c *Chain) Apply(n int, path string) error {
	list, err := ReadDirtyMap(c.DirtyMap(n))
	if err != nil {
		return err
	}
	return applyData(c.Data(n), path, list)
}

func applyData(from, to string, list []Extent) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	for _, e := range list {
		if n, err := io.Copy(io.NewOffsetWriter(dst, e.Offset), io.LimitReader(src, e.Length)); err != nil {
			return err
		} else if n != e.Length {
			return fmt.Errorf("%s ends %d bytes early", from, e.Length-n)
		}
	}
	return dst.Close()
}
