package crash

import (
	"maps"
	"math/rand/v2"
)

// page is the unit in which an un-synced file may have reached the disk.
const page = 4096

// PowerLoss returns a new disk with what may be left of d if the power goes
// now; d itself goes on. Chance decides by rng about what wasn't synced; with a
// nil rng all of it is lost. The new disk has no hook, and no open files.
func (d *Disk) PowerLoss(rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{root: copier{map[*node]*node{}, func(n *node) *node { return n.afterLoss(rng) }}.copy(d.root)}
}

// Kill returns a new disk with all that d holds now, synced or not, as when the
// process dies and the machine goes on. What wasn't synced still isn't: a
// PowerLoss of the new disk can lose it.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{root: copier{map[*node]*node{}, (*node).asIs}.copy(d.root)}
}

// copier copies a tree; a file with two names stays one file.
type copier struct {
	done map[*node]*node
	one  func(*node) *node // copies a node but not what its entries point to
}

func (c copier) copy(n *node) *node {
	if n == nil {
		return nil
	}
	if m, ok := c.done[n]; ok {
		return m
	}
	m := c.one(n)
	c.done[n] = m
	for name, child := range m.entries {
		m.entries[name] = c.copy(child)
	}
	for i, ch := range m.pending {
		m.pending[i] = change{ch.name, c.copy(ch.node), c.copy(ch.old)}
	}
	return m
}

func (n *node) asIs() *node {
	return &node{dir: n.dir, data: n.data[:len(n.data):len(n.data)], synced: n.synced,
		entries: maps.Clone(n.entries), pending: append([]change(nil), n.pending...)}
}

func (n *node) afterLoss(rng *rand.Rand) *node {
	if n.dir {
		return &node{dir: true, entries: n.entriesAfterLoss(rng)}
	}
	data := n.data[:n.synced:n.synced]
	if rest := n.data[n.synced:]; rng != nil && len(rest) > 0 {
		data = append(data, torn(rng, rest)...)
	}
	return &node{data: data, synced: len(data)}
}

// entriesAfterLoss undoes the pending changes, then does some of them again.
func (n *node) entriesAfterLoss(rng *rand.Rand) map[string]*node {
	entries := maps.Clone(n.entries)
	apply := func(name string, to *node) {
		if to == nil {
			delete(entries, name)
			return
		}
		entries[name] = to
	}
	for i := len(n.pending) - 1; i >= 0; i-- {
		apply(n.pending[i].name, n.pending[i].old)
	}
	for _, ch := range n.pending {
		if rng != nil && rng.IntN(2) == 0 {
			apply(ch.name, ch.node)
		}
	}
	return entries
}

// torn returns what is left of written, un-synced bytes.
func torn(rng *rand.Rand, written []byte) []byte {
	left := append([]byte(nil), written[:rng.IntN(len(written)+1)]...)
	for off := 0; off < len(left); off += page {
		if rng.IntN(4) == 0 {
			clear(left[off:min(off+page, len(left))])
		}
	}
	return left
}
