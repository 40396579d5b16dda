package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"holdfast/internal/keyring"
	"holdfast/internal/objstore"
	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/ledger"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// Config is what a repository says of itself to anyone.
type Config struct {
	ID        string    `json:"id"`
	Format    int       `json:"format"`    // made with
	MinReader int       `json:"minReader"` // the oldest format that a reader must know
	MinWriter int       `json:"minWriter"` // the oldest format that a writer must know
	ChunkSize int       `json:"chunkSize"` // bytes
	Fanout    int       `json:"fanout"`
	Created   time.Time `json:"created"`
}

// copies are the suffixes of artifacts that are stored twice because nothing
// else could replace them.
var copies = []string{".a", ".b"}

const (
	configObject = "config"
	keysPrefix   = "keys/"
)

func newConfig(id string, now time.Time) Config {
	return Config{id, Format, Format, Format, chunk.Size, tree.Fanout, now.UTC()}
}

// writeFirst makes a repository: the keys first, so that there is never a
// config without keys, then the config, whose first copy decides a race.
func writeFirst(ctx context.Context, store objstore.Store, cfg Config, ring *keyring.Ring, key keyring.Key) (keyring.Slot, error) {
	none := keyring.Slot{}
	for info, err := range store.List(ctx, "", "") {
		if err != nil {
			return none, fmt.Errorf("look at %s: %w", store, err)
		}
		if strings.HasPrefix(info.Name, configObject) {
			return none, fmt.Errorf("%w: %s", ErrExists, store)
		}
	}
	slot, err := keyring.Wrap(ctx, ring, key, "first", cfg.Created)
	if err != nil {
		return none, err
	}
	content, err := json.Marshal(cfg)
	if err != nil {
		return none, err
	}
	// config.a is the claim; a crash before it leaves only a key slot that
	// opens nothing.
	err = putTwice(ctx, store, configObject, seal.PlainBox(seal.Config, content), func() error {
		return writeSlot(ctx, store, slot)
	})
	if errors.Is(err, objstore.ErrExist) {
		_ = deleteSlot(ctx, store, slot.ID)
		return none, fmt.Errorf("%w: %s", ErrExists, store)
	}
	return slot, err
}

func putTwice(ctx context.Context, store objstore.Store, name string, box []byte, before func() error) error {
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	for _, c := range copies {
		if err := put(ctx, store, name+c, box); err != nil {
			return err
		}
	}
	return nil
}

func put(ctx context.Context, store objstore.Store, name string, b []byte) error {
	if err := store.Put(ctx, name, bytes.NewReader(b), objstore.PutOptions{}); err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	return nil
}

// fetchTwice answers the content of the first whole copy of a plain box.
func fetchTwice(ctx context.Context, store objstore.Store, m seal.Magic, name string) ([]byte, error) {
	var damage, missing error
	for _, c := range copies {
		raw, err := ledger.Fetch(ctx, store, name+c)
		if errors.Is(err, objstore.ErrNotExist) {
			missing = err
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name+c, err)
		}
		content, err := seal.OpenPlainBox(m, raw)
		if err == nil {
			return content, nil
		}
		if !errors.Is(err, ErrDamaged) {
			return nil, err
		}
		damage = fmt.Errorf("%s: %w", name+c, err)
	}
	if damage != nil {
		return nil, damage
	}
	return nil, missing
}

func readConfig(ctx context.Context, store objstore.Store) (Config, error) {
	content, err := fetchTwice(ctx, store, seal.Config, configObject)
	if errors.Is(err, objstore.ErrNotExist) {
		return Config{}, fmt.Errorf("%w: %s", ErrNotRepository, store)
	}
	if err != nil {
		return Config{}, err
	}
	var cfg Config
	if err := json.Unmarshal(content, &cfg); err != nil {
		return Config{}, fmt.Errorf("config: %w", seal.Damaged("%v", err))
	}
	if cfg.MinReader > Format {
		return Config{}, fmt.Errorf("%w: the repository has format %d and is read from format %d on; this release knows %d to %d",
			ErrVersion, cfg.Format, cfg.MinReader, MinFormat, Format)
	}
	if cfg.Format < MinFormat || cfg.ChunkSize != chunk.Size || cfg.Fanout != tree.Fanout {
		return Config{}, fmt.Errorf("config: %w", seal.Damaged("format %d with chunks of %d and fan-out %d", cfg.Format, cfg.ChunkSize, cfg.Fanout))
	}
	return cfg, nil
}

func (c Config) writable() error {
	if c.MinWriter <= Format {
		return nil
	}
	return fmt.Errorf("%w: the repository has format %d and is written from format %d on; this release knows %d to %d and may only read",
		ErrVersion, c.Format, c.MinWriter, MinFormat, Format)
}

func writeSlot(ctx context.Context, store objstore.Store, s keyring.Slot) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return putTwice(ctx, store, keysPrefix+s.ID, seal.PlainBox(seal.KeySlot, content), nil)
}

func deleteSlot(ctx context.Context, store objstore.Store, id string) error {
	for _, c := range copies {
		if err := store.Delete(ctx, keysPrefix+id+c); err != nil && !errors.Is(err, objstore.ErrNotExist) {
			return err
		}
	}
	return nil
}

// readSlots reads every key slot of which a copy is whole. It fails only if
// none is and one was damaged or could not be read.
func readSlots(ctx context.Context, store objstore.Store) ([]keyring.Slot, error) {
	names := map[string]bool{}
	var order []string
	for info, err := range store.List(ctx, keysPrefix, "") {
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		base := strings.TrimSuffix(strings.TrimSuffix(info.Name, copies[0]), copies[1])
		if !names[base] {
			names[base] = true
			order = append(order, base)
		}
	}
	var slots []keyring.Slot
	var failed error
	for _, name := range order {
		content, err := fetchTwice(ctx, store, seal.KeySlot, name)
		var s keyring.Slot
		if err == nil {
			if err = json.Unmarshal(content, &s); err != nil {
				err = fmt.Errorf("%s: %w", name, seal.Damaged("%v", err))
			}
		}
		if err != nil {
			failed = err
			continue
		}
		slots = append(slots, s)
	}
	if len(slots) == 0 {
		if failed == nil {
			failed = seal.Damaged("the repository has no key slot")
		}
		return nil, failed
	}
	return slots, nil
}
