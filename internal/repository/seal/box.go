package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

// Magic is the first eight bytes of a box: what kind of artifact it is.
type Magic [8]byte

// The kinds of box.
var (
	Config  = Magic([]byte("HFCONFIG"))
	KeySlot = Magic([]byte("HFKEYSLT"))
	Point   = Magic([]byte("HFPOINT\x00"))
	Ledger  = Magic([]byte("HFLEDGER"))
	State   = Magic([]byte("HFSTATE\x00"))
	Lease   = Magic([]byte("HFLEASE\x00"))
	Links   = Magic([]byte("HFLINKS\x00")) // beside the server only
)

const (
	boxVersion = 1
	boxHeader  = 40
	boxSum     = 32
	flagSealed = 1
	flagZstd   = 2
	// BoxMax is the longest content of a box, in bytes.
	BoxMax = 1 << 30
)

type boxHead struct {
	magic  Magic
	flags  byte
	number uint32
	salt   [16]byte
	plain  uint32
	length uint32
}

func (h boxHead) encode() []byte {
	b := make([]byte, boxHeader)
	copy(b, h.magic[:])
	binary.LittleEndian.PutUint16(b[8:], boxVersion)
	b[10] = h.flags
	binary.LittleEndian.PutUint32(b[12:], h.number)
	copy(b[16:], h.salt[:])
	binary.LittleEndian.PutUint32(b[32:], h.plain)
	binary.LittleEndian.PutUint32(b[36:], h.length)
	return b
}

// PlainBox wraps content that anyone may read, such as the config.
func PlainBox(m Magic, content []byte) []byte {
	h := boxHead{magic: m, plain: uint32(len(content)), length: uint32(len(content))}
	b := append(h.encode(), content...)
	return appendSum(b)
}

// OpenPlainBox is the content of a PlainBox of kind m.
func OpenPlainBox(m Magic, raw []byte) ([]byte, error) {
	h, payload, err := splitBox(m, raw)
	if err != nil {
		return nil, err
	}
	if h.flags != 0 || h.number != 0 || h.salt != [16]byte{} || h.plain != h.length {
		return nil, Damaged("box of %s should not be sealed", name(m))
	}
	return payload, nil
}

// Box compresses and seals content as the object called object, and proves
// that it opens again before it returns.
func (k *Keys) Box(m Magic, object string, content []byte) ([]byte, error) {
	if len(content) > BoxMax {
		return nil, fmt.Errorf("%s: %d bytes are too long for one object", object, len(content))
	}
	h := boxHead{magic: m, flags: flagSealed, number: k.Newest(), plain: uint32(len(content))}
	if _, err := rand.Read(h.salt[:]); err != nil {
		return nil, err
	}
	payload := content
	c := NewCodec()
	defer c.Close()
	if z, ok := c.Compress(nil, content); ok {
		payload, h.flags = z, h.flags|flagZstd
	}
	h.length = uint32(len(payload) + Overhead)
	aead, err := k.derive(h.number, "box", m[:], []byte(object), h.salt[:])
	if err != nil {
		return nil, err
	}
	head := h.encode()
	b := aead.Seal(bytes.Clone(head), make([]byte, NonceSize), payload, append(head, object...))
	b = appendSum(b)
	back, err := k.OpenBox(m, object, b)
	if err != nil || !bytes.Equal(back, content) {
		return nil, fmt.Errorf("%s: what was sealed does not open again (bad memory?): %w", object, err)
	}
	return b, nil
}

// OpenBox is the content of a box of kind m that was stored as object.
func (k *Keys) OpenBox(m Magic, object string, raw []byte) ([]byte, error) {
	h, payload, err := splitBox(m, raw)
	if err != nil {
		return nil, err
	}
	if h.flags&flagSealed == 0 {
		return nil, Damaged("box of %s is not sealed", name(m))
	}
	aead, err := k.derive(h.number, "box", m[:], []byte(object), h.salt[:])
	if err != nil {
		return nil, err
	}
	data := append(bytes.Clone(raw[:boxHeader]), object...)
	plain, err := aead.Open(nil, make([]byte, NonceSize), payload, data)
	if err != nil {
		return nil, Damaged("box of %s does not open under this repository's key and name", name(m))
	}
	if h.flags&flagZstd != 0 {
		c := NewCodec()
		defer c.Close()
		out := make([]byte, h.plain)
		if err := c.Decompress(out, plain); err != nil {
			return nil, Damaged("box of %s: %v", name(m), err)
		}
		return out, nil
	}
	if int(h.plain) != len(plain) {
		return nil, Damaged("box of %s has a wrong length", name(m))
	}
	return plain, nil
}

// BoxHeaderSize is how many bytes of a box BoxSize needs.
const BoxHeaderSize = boxHeader

// BoxSize is how long the box of kind m is that begins with head; false if none
// does.
func BoxSize(m Magic, head []byte) (int64, bool) {
	if len(head) < boxHeader || Magic(head[:8]) != m {
		return 0, false
	}
	return boxHeader + int64(binary.LittleEndian.Uint32(head[36:])) + boxSum, true
}

// CheckBox finds damage in a box of any kind without a key.
func CheckBox(raw []byte) error {
	if len(raw) < 8 {
		return Damaged("box is cut short")
	}
	_, _, err := splitBox(Magic(raw[:8]), raw)
	return err
}

// BoxSum is the hash at the end of a box: its name in the ledger's chain.
func BoxSum(raw []byte) [32]byte {
	if len(raw) < boxSum {
		return [32]byte{}
	}
	return [32]byte(raw[len(raw)-boxSum:])
}

func splitBox(m Magic, raw []byte) (boxHead, []byte, error) {
	if len(raw) < boxHeader+boxSum {
		return boxHead{}, nil, Damaged("box of %s is cut short at %d bytes", name(m), len(raw))
	}
	body := raw[:len(raw)-boxSum]
	if Hash(body) != BoxSum(raw) {
		return boxHead{}, nil, Damaged("box of %s has a wrong checksum", name(m))
	}
	h := boxHead{
		magic: Magic(raw[:8]), flags: raw[10],
		number: binary.LittleEndian.Uint32(raw[12:]), salt: [16]byte(raw[16:32]),
		plain: binary.LittleEndian.Uint32(raw[32:]), length: binary.LittleEndian.Uint32(raw[36:]),
	}
	if h.magic != m {
		return h, nil, Damaged("not a box of %s", name(m))
	}
	if v := binary.LittleEndian.Uint16(raw[8:]); v != boxVersion {
		return h, nil, fmt.Errorf("%w: box of %s has version %d, this release knows %d", ErrVersion, name(m), v, boxVersion)
	}
	if h.flags&^(flagSealed|flagZstd) != 0 || raw[11] != 0 || int(h.length) != len(body)-boxHeader || h.plain > BoxMax {
		return h, nil, Damaged("box of %s has a malformed header", name(m))
	}
	return h, body[boxHeader:], nil
}

func appendSum(b []byte) []byte {
	sum := Hash(b)
	return append(b, sum[:]...)
}

func name(m Magic) string { return string(bytes.ToLower(bytes.TrimRight(m[2:], "\x00"))) }
