package snapshot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/internal/disk"
	"holdfast/internal/hypervisor"
)

func TestSince(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.qcow2")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := hypervisor.Disk{Target: "vdb", Kind: "file", Path: path, Size: 100}
	last := &Checkpoint{Name: "holdfast-1", Disks: []CheckpointDisk{{Target: "vdb", ChangeID: changeID(d), Size: 100}}}
	copied := path + ".copy"
	if err := os.WriteFile(copied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		last   *Checkpoint
		change func(*hypervisor.Disk)
		ok     bool
		reason string
	}{
		{"the same", last, func(*hypervisor.Disk) {}, true, ""},
		{"grown", last, func(d *hypervisor.Disk) { d.Size = 200 }, true, ""},
		{"shrunk", last, func(d *hypervisor.Disk) { d.Size = 50 }, false, "shrank"},
		{"the first point", nil, func(*hypervisor.Disk) {}, false, "no earlier point"},
		{"new disk", last, func(d *hypervisor.Disk) { d.Target = "vdc" }, false, "did not track"},
		{"another image", last, func(d *hypervisor.Disk) { d.Path = copied }, false, "another image"},
	} {
		p := planned{disk: d}
		c.change(&p.disk)
		p.since(c.last)
		if p.incremental != c.ok || !strings.Contains(p.reason, c.reason) || p.incremental == (p.reason != "") || c.ok && p.base != 100 {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
	// A copy renamed over the image has its path and not its inode.
	if err := os.Rename(copied, path); err != nil {
		t.Fatal(err)
	}
	p := planned{disk: d}
	if p.since(last); p.incremental {
		t.Error("a copy renamed over the image counts as the image")
	}
}

func TestUsableBitmap(t *testing.T) {
	t.Parallel()
	img := func(flags ...string) string {
		return `{"format":"qcow2","virtual-size":1,"format-specific":{"data":{"compat":"1.1","bitmaps":[{"name":"b","flags":["` +
			strings.Join(flags, `","`) + `"]}]}}}`
	}
	const none = `{"format":"qcow2","virtual-size":1,"format-specific":{"data":{"compat":"0.10"}}}`
	for doc, reason := range map[string]string{
		"[" + img("auto") + "]":                     "",
		"[" + img("auto") + "," + none + "]":        "",
		"[" + img("auto", "in-use") + "]":           "in use",
		"[" + img("") + "]":                         "switched off",
		"[" + none + "]":                            "missing",
		"[" + none + "," + img("auto") + "]":        "backing",
		"[" + img("auto") + "," + img("auto") + "]": "backing",
	} {
		c, err := parseChain([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if ok, why := c.usable("b"); ok != (reason == "") || !strings.Contains(why, reason) {
			t.Errorf("%s: %v, %q, want %q", doc, ok, why, reason)
		}
	}
	if c, _ := parseChain([]byte("[" + none + "]")); !c.version2() {
		t.Error("version 2 is not known as such")
	}
}

func FuzzChain(f *testing.F) {
	f.Add([]byte(`[{"format":"qcow2","format-specific":{"data":{"bitmaps":[{"name":"b","flags":["auto"]}]}}}]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := parseChain(raw); err == nil {
			c.version2()
			c.usable("b")
		}
	})
}

func TestDoubts(t *testing.T) {
	t.Parallel()
	same := func(off, n int64) disk.Extent { return disk.Extent{Offset: off, Length: n, Kind: disk.Same} }
	data := func(off, n int64) disk.Extent { return disk.Extent{Offset: off, Length: n, Kind: disk.Data} }
	for _, c := range []struct {
		also []Range
		e    disk.Extent
		want []disk.Extent
	}{
		{nil, same(0, 10), []disk.Extent{same(0, 10)}},
		{nil, same(0, 100), []disk.Extent{same(0, 100)}},
		{nil, same(90, 20), []disk.Extent{same(90, 10), data(100, 10)}},
		{nil, same(100, 20), []disk.Extent{data(100, 20)}},
		{nil, same(110, 20), []disk.Extent{data(110, 20)}},
		{nil, data(90, 20), []disk.Extent{data(90, 20)}},
		{[]Range{{0, 5}, {10, 5}}, same(0, 20), []disk.Extent{data(0, 5), same(5, 5), data(10, 5), same(15, 5)}},
		{[]Range{{0, 5}, {10, 5}}, same(12, 8), []disk.Extent{data(12, 3), same(15, 5)}},
		{[]Range{{95, 20}}, same(90, 20), []disk.Extent{same(90, 5), data(95, 5), data(100, 10)}},
		{[]Range{{0, 50}}, same(10, 10), []disk.Extent{data(10, 10)}},
	} {
		d := doubts{100, c.also}
		if got := d.apply(c.e); !slices.Equal(got, c.want) {
			t.Errorf("%+v doubting %v: %+v, want %+v", c.e, c.also, got, c.want)
		}
	}
}

// TestChangedCoversWhatChanged makes random maps: the ranges cover every change,
// in order, within the bound, and doubting them leaves no such block unread.
func TestChangedCoversWhatChanged(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4, 2))
	for range 300 {
		m := memory{data: make([]byte, 1000)}
		for at := int64(0); at < 1000; {
			n := min(1+random.Int64N(30), 1000-at)
			m.extents = append(m.extents, disk.Extent{Offset: at, Length: n, Kind: disk.Kind(random.IntN(3))})
			at += n
		}
		most := 1 + random.IntN(20)
		also, err := changed(t.Context(), m, most)
		if err != nil || len(also) > most {
			t.Fatalf("%d ranges of %d, %v", len(also), most, err)
		}
		d := doubts{1000, also}
		var got [1000]disk.Kind
		for at := int64(0); at < 1000; at += 100 { // a bitmap that knows of nothing
			for _, e := range d.apply(disk.Extent{Offset: at, Length: 100, Kind: disk.Same}) {
				for i := e.Offset; i < e.End(); i++ {
					got[i] = e.Kind
				}
			}
		}
		for _, e := range m.extents {
			for i := e.Offset; e.Kind != disk.Same && i < e.End(); i++ {
				if got[i] != disk.Data {
					t.Fatalf("byte %d has changed and is not read; ranges %v", i, also)
				}
			}
		}
	}
}

// TestWatchdogOrders gives the watchdog orders and looks at what it owes then.
func TestWatchdogOrders(t *testing.T) {
	t.Parallel()
	const quiet = `quiet {"Path":"/post"}` + "\n"
	for _, c := range []struct {
		orders          string
		thaw, post, job bool
	}{
		{"", false, false, true},
		{"freeze\n", true, false, true},
		{"freeze\nthawed\n", false, false, true},
		{"freeze\nthawed\nfreeze\n", true, false, true},
		{quiet, false, true, true},
		{quiet + "freeze\n", true, true, true},
		{quiet + "freeze\nthawed\n", false, true, true},
		{quiet + "freeze\nthawed\nloud\n", false, false, true},
		{quiet + "freeze\nthawed\nloud\nended\n", false, false, false},
		{"freeze\nended\n", true, false, false},
		{"nonsense\nquiet {\n", false, false, true},
	} {
		d := duty{deadline: time.Hour, debts: debts{job: true}}
		d.follow(strings.NewReader(c.orders), func() { t.Errorf("%q: the deadline passed", c.orders) })
		if d.thaw != c.thaw || (d.post != nil) != c.post || d.job != c.job {
			t.Errorf("%q: owes %+v", c.orders, d.debts)
		}
	}
	// The deadline passes while the parent lives and says nothing; then it ends.
	r, w := io.Pipe()
	go io.WriteString(w, "freeze\n")
	d := duty{deadline: time.Millisecond}
	late := 0
	d.follow(r, func() {
		if late++; !d.thaw {
			t.Error("the deadline passed and nothing is owed")
		}
		w.Close()
	})
	if late != 1 {
		t.Errorf("the deadline passed %d times", late)
	}
}

// memory is a disk in memory.
type memory struct {
	data    []byte
	extents []disk.Extent
}

func (m memory) Size() int64 { return int64(len(m.data)) }
func (m memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.data).ReadAt(p, off)
}
func (m memory) Extents(context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for _, e := range m.extents {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func TestSelfCheck(t *testing.T) {
	t.Parallel()
	const blocks = 64
	base := memory{data: make([]byte, blocks*sampleBlock)}
	now := memory{data: slices.Clone(base.data), extents: []disk.Extent{
		{Offset: 0, Length: 16 * sampleBlock, Kind: disk.Same},
		{Offset: 16 * sampleBlock, Length: 16 * sampleBlock, Kind: disk.Data},
		{Offset: 32 * sampleBlock, Length: 32*sampleBlock - 1, Kind: disk.Same},
		{Offset: blocks*sampleBlock - 1, Length: 1, Kind: disk.Data},
	}}
	check := func(seed uint64) error {
		return SelfCheck(t.Context(), now, base, 16, rand.New(rand.NewPCG(seed, 0)))
	}
	now.data[20*sampleBlock] = 1 // said to have changed
	for seed := range uint64(20) {
		if err := check(seed); err != nil {
			t.Fatalf("a true bitmap: %v", err)
		}
	}
	// A quarter of the unchanged blocks are wrong: 16 samples miss that with
	// the chance 0.75¹⁶, one in a hundred.
	for i := 33; i < 45; i++ {
		now.data[i*sampleBlock+7] = 1
	}
	missed := 0
	for seed := range uint64(200) {
		switch err := check(seed); {
		case err == nil:
			missed++
		case !errors.Is(err, ErrTracking):
			t.Fatal(err)
		}
	}
	if missed > 12 {
		t.Errorf("a lie of a quarter was missed %d times of 200, about 2 are expected", missed)
	}
	if err := SelfCheck(t.Context(), now, memory{data: base.data[:1]}, 4, rand.New(rand.NewPCG(1, 1))); !errors.Is(err, ErrTracking) {
		t.Errorf("a short base: %v, want ErrTracking", err)
	}
	for e, err := range Full(now).Extents(t.Context()) {
		if err != nil || e.Kind != disk.Data {
			t.Errorf("full: %+v, %v", e, err)
		}
	}
}

// TestRemovedBesideOthers: a working directory goes while others wait for its lock,
// which make the lock's file anew.
func TestRemovedBesideOthers(t *testing.T) {
	t.Parallel()
	for range 500 {
		w := &workdir{path: filepath.Join(t.TempDir(), "holdfast-1")}
		if err := os.Mkdir(w.path, 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if w.lock, err = lock(filepath.Join(w.path, lockFile)); err != nil {
			t.Fatal(err)
		}
		var others sync.WaitGroup
		for range removeTries / 2 {
			others.Go(func() {
				if f, err := os.OpenFile(filepath.Join(w.path, lockFile), os.O_RDWR|os.O_CREATE, 0o600); err == nil {
					f.Close()
				}
			})
		}
		err = w.remove()
		others.Wait()
		if err != nil {
			t.Fatal(err)
		}
	}
}
