package repository

import (
	"sync"

	"holdfast/internal/repository/chunk"
	"holdfast/internal/repository/pack"
	"holdfast/internal/repository/seal"
	"holdfast/internal/repository/tree"
)

// nodeFrame is how many bytes of nodes are sealed together; nodeMax bounds one
// node: 64 ids, 64 packs and 64 location runs.
const (
	nodeFrame = 128 << 10
	nodeMax   = 4 << 10
)

// nodes stores tree nodes. The place of a node is known before its frame is
// sealed, for nobody else fills node packs of this writer.
type nodes struct {
	w *Writer
	p *packer

	mu    sync.Mutex
	at    tree.Ref // place of the frame's first node
	blobs [][]byte
	ids   []chunk.ID
	size  int
}

func newNodes(w *Writer, p *packer) *nodes { return &nodes{w: w, p: p} }

// add stores a node that is not zero, unless the repository has it.
func (s *nodes) add(n *tree.Node) (tree.Ref, error) {
	id := n.ID(s.w.s.r.namer)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref, ok, err := s.w.find(id); ok || err != nil {
		return ref, err
	}
	if len(s.blobs) == 0 {
		at, err := s.p.next(nodeFrame + nodeMax + 4*(nodeFrame/64))
		if err != nil {
			return tree.Ref{}, err
		}
		s.at = at
	}
	blob := tree.Encode(n)
	ref := tree.Ref{ID: id, Pack: s.at.Pack, Ordinal: s.at.Ordinal + uint32(len(s.blobs))}
	s.blobs, s.ids, s.size = append(s.blobs, blob), append(s.ids, id), s.size+len(blob)
	s.w.note(id, ref, 0)
	if s.size >= nodeFrame {
		return ref, s.seal()
	}
	return ref, nil
}

// seal puts the nodes gathered so far into a frame.
func (s *nodes) seal() error {
	if len(s.blobs) == 0 {
		return nil
	}
	codec := seal.NewCodec()
	defer codec.Close()
	plain := pack.NodePayload(s.blobs)
	at, err := s.p.add(codec.Payload(plain, nil), s.ids, codec, nil)
	if err != nil {
		return err
	}
	if at.Pack != s.at.Pack || at.Ordinal != s.at.Ordinal {
		panic("a node frame was not sealed where it was promised")
	}
	s.blobs, s.ids, s.size = nil, nil, 0
	return nil
}

// flush makes all nodes durable.
func (s *nodes) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.seal(); err != nil {
		return err
	}
	return s.p.flush()
}
