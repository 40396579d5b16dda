package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/internal/objstore"
)

// Speed is what was measured. Bytes can't be compressed. MB are 10^6 bytes.
type Speed struct {
	Bytes    int64   `json:"bytes"`    // written and read
	Parallel int     `json:"parallel"` // transfers at once
	PutMBps  float64 `json:"putMBps"`
	GetMBps  float64 `json:"getMBps"`
	// Latency of one verb on an object of 4 KiB, one after the other.
	Put    Latency `json:"put"`
	Get    Latency `json:"get"`
	Stat   Latency `json:"stat"`
	List   Latency `json:"list"`
	Delete Latency `json:"delete"`
}

// Latency is how long calls took.
type Latency struct {
	Median  time.Duration `json:"medianNanoseconds"`
	Slowest time.Duration `json:"slowestNanoseconds"`
}

// object is the size of the objects put for the speed, about that of a pack.
const object = 16 << 20

func measure(ctx context.Context, s objstore.Store, opt Options) (*Speed, error) {
	sp := &Speed{Bytes: opt.Bytes, Parallel: opt.Parallel}
	if sp.Bytes == 0 {
		sp.Bytes = 128 << 20
	}
	if sp.Parallel == 0 {
		sp.Parallel = 4
	}
	if err := sp.latency(ctx, s); err != nil {
		return nil, err
	}
	n := int((sp.Bytes + object - 1) / object)
	sp.Bytes = int64(n) * object
	data := content(uint64(time.Now().UnixNano()), object)
	var err error
	sp.PutMBps, err = sp.rate(n, func(i int) error { return put(ctx, s, fmt.Sprintf("big/%d", i), data) })
	if err != nil {
		return nil, err
	}
	sp.GetMBps, err = sp.rate(n, func(i int) error { return discard(ctx, s, fmt.Sprintf("big/%d", i)) })
	return sp, err
}

// rate runs one transfer of an object for each i below n, and returns MB/s.
func (sp *Speed) rate(n int, transfer func(i int) error) (float64, error) {
	var g errgroup.Group
	g.SetLimit(sp.Parallel)
	start := time.Now()
	for i := range n {
		g.Go(func() error { return transfer(i) })
	}
	err := g.Wait()
	return float64(n) * object / 1e6 / time.Since(start).Seconds(), err
}

func discard(ctx context.Context, s objstore.Store, name string) error {
	r, err := s.Get(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

func (sp *Speed) latency(ctx context.Context, s objstore.Store) error {
	const n = 20
	small := content(1, 4096)
	name := func(i int) string { return fmt.Sprintf("small/%02d", i) }
	verbs := []struct {
		to  *Latency
		run func(i int) error
	}{
		{&sp.Put, func(i int) error {
			return s.Put(ctx, name(i), bytes.NewReader(small), objstore.PutOptions{})
		}},
		{&sp.Get, func(i int) error { return discard(ctx, s, name(i)) }},
		{&sp.Stat, func(i int) error { _, err := s.Stat(ctx, name(i)); return err }},
		{&sp.List, func(i int) error { _, err := list(ctx, s, "small/", ""); return err }},
		{&sp.Delete, func(i int) error { return s.Delete(ctx, name(i)) }},
	}
	for _, v := range verbs {
		took := make([]time.Duration, n)
		for i := range n {
			start := time.Now()
			if err := v.run(i); err != nil {
				return err
			}
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		*v.to = Latency{took[n/2], took[n-1]}
	}
	return nil
}
