package nbd

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strings"
)

// Info is what the server said of the export.
type Info struct {
	Size        int64  // bytes
	Description string // the server's words; may be empty
	ReadOnly    bool
	CanFlush    bool
	CanFUA      bool
	CanTrim     bool
	CanZero     bool
	CanFastZero bool
	MultiConn   bool // a flush on one connection covers the writes of all
	Structured  bool // structured replies are on
	MinBlock    int64
	Preferred   int64
	MaxPayload  int64    // longest read or write, bytes
	Contexts    []string // metadata contexts that are on
}

// negotiation is one connection's handshake.
type negotiation struct {
	rw   io.ReadWriter
	info Info
	ids  map[uint32]string // metadata context ids of this connection
}

// handshake runs the handshake to its end: on success the connection is in
// the transmission phase.
func handshake(rw io.ReadWriter, export string, contexts []string) (*negotiation, error) {
	n := &negotiation{rw: rw, ids: map[uint32]string{}}
	if err := n.greet(); err != nil {
		return nil, err
	}
	if err := n.structured(); err != nil {
		return nil, err
	}
	if n.info.Structured && len(contexts) > 0 {
		if err := n.metaContexts(export, contexts); err != nil {
			return nil, err
		}
	}
	if err := n.enter(export); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *negotiation) greet() error {
	var b [18]byte
	if _, err := io.ReadFull(n.rw, b[:16]); err != nil {
		return fmt.Errorf("nbd: read greeting: %w", err)
	}
	if binary.BigEndian.Uint64(b[:]) != magicInit {
		return protocolError("no NBD server here: greeting %q", printable(b[:8]))
	}
	if binary.BigEndian.Uint64(b[8:]) != magicOption {
		return fmt.Errorf("%w: oldstyle server", ErrUnsupported)
	}
	if _, err := io.ReadFull(n.rw, b[16:]); err != nil {
		return fmt.Errorf("nbd: read greeting: %w", err)
	}
	flags := binary.BigEndian.Uint16(b[16:])
	if flags&flagFixedNewstyle == 0 {
		return fmt.Errorf("%w: server is not fixed newstyle", ErrUnsupported)
	}
	answer := uint32(flagFixedNewstyle) | uint32(flags&flagNoZeroes)
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], answer)
	if _, err := n.rw.Write(a[:]); err != nil {
		return fmt.Errorf("nbd: answer greeting: %w", err)
	}
	return nil
}

// ask sends an option and hands every reply to each, until an ACK or an error
// reply ends it. An error reply is returned as its type and message.
func (n *negotiation) ask(option uint32, data []byte, each func(kind uint32, data []byte) error) (uint32, string, error) {
	if _, err := n.rw.Write(appendOption(nil, option, data)); err != nil {
		return 0, "", fmt.Errorf("nbd: send option %d: %w", option, err)
	}
	for range maxOptReplies {
		kind, data, err := n.reply(option)
		switch {
		case err != nil:
			return 0, "", err
		case kind == repAck:
			return repAck, "", nil
		case kind&repError != 0:
			return kind, printable(data), nil
		case each == nil:
			return 0, "", protocolError("reply type %d to option %d", kind, option)
		}
		if err := each(kind, data); err != nil {
			return 0, "", err
		}
	}
	return 0, "", protocolError("more than %d replies to option %d", maxOptReplies, option)
}

func (n *negotiation) reply(option uint32) (kind uint32, data []byte, err error) {
	var h [20]byte
	if _, err := io.ReadFull(n.rw, h[:]); err != nil {
		return 0, nil, fmt.Errorf("nbd: read option reply: %w", err)
	}
	if binary.BigEndian.Uint64(h[:]) != magicReply {
		return 0, nil, protocolError("option reply without its magic")
	}
	if got := binary.BigEndian.Uint32(h[8:]); got != option {
		return 0, nil, protocolError("reply to option %d, asked %d", got, option)
	}
	length := binary.BigEndian.Uint32(h[16:])
	if length > maxOptReply {
		return 0, nil, protocolError("option reply of %d bytes", length)
	}
	data = make([]byte, length)
	if _, err := io.ReadFull(n.rw, data); err != nil {
		return 0, nil, fmt.Errorf("nbd: read option reply: %w", err)
	}
	return binary.BigEndian.Uint32(h[12:]), data, nil
}

func (n *negotiation) structured() error {
	kind, msg, err := n.ask(optStructuredReply, nil, nil)
	if err != nil {
		return err
	}
	switch kind {
	case repAck:
		n.info.Structured = true
	case repErrTLSRequired:
		return fmt.Errorf("%w: server wants TLS: %s", ErrUnsupported, msg)
	}
	return nil // any other refusal: simple replies will do
}

// metaContexts asks for the contexts. Those that the server lacks are simply
// not in Info.Contexts; a server that refuses the option has none.
func (n *negotiation) metaContexts(export string, contexts []string) error {
	data := appendString(nil, export)
	data = binary.BigEndian.AppendUint32(data, uint32(len(contexts)))
	for _, c := range contexts {
		data = appendString(data, c)
	}
	kind, msg, err := n.ask(optSetMetaContext, data, func(kind uint32, data []byte) error {
		if kind != repMetaContext {
			return protocolError("reply type %d to a metadata context query", kind)
		}
		return n.addContext(data, contexts)
	})
	switch {
	case err != nil:
		return err
	case kind == repErrUnknown:
		return fmt.Errorf("%w: %q: %s", ErrUnknownExport, export, msg)
	case kind != repAck:
		clear(n.ids)
		n.info.Contexts = nil
	}
	return nil
}

func (n *negotiation) addContext(data []byte, asked []string) error {
	if len(data) < 4 || len(data) > 4+maxString {
		return protocolError("metadata context reply of %d bytes", len(data))
	}
	id, name := binary.BigEndian.Uint32(data), string(data[4:])
	known := false
	for _, c := range asked {
		known = known || c == name
	}
	if !known {
		return protocolError("metadata context %q was not asked for", printable(data[4:]))
	}
	for other, c := range n.ids {
		if other == id || c == name {
			return protocolError("metadata context %q answered twice", printable(data[4:]))
		}
	}
	n.ids[id] = name
	n.info.Contexts = append(n.info.Contexts, name)
	return nil
}

// enter opens the export with NBD_OPT_GO.
func (n *negotiation) enter(export string) error {
	data := appendString(nil, export)
	data = binary.BigEndian.AppendUint16(data, 2)
	data = binary.BigEndian.AppendUint16(data, infoBlockSize)
	data = binary.BigEndian.AppendUint16(data, infoDescription)
	n.info.MinBlock, n.info.Preferred, n.info.MaxPayload = 1, 4096, maxPayload
	seen := false
	kind, msg, err := n.ask(optGo, data, func(kind uint32, data []byte) error {
		if kind != repInfo {
			return protocolError("reply type %d to NBD_OPT_GO", kind)
		}
		export, err := n.info.decode(data)
		seen = seen || export
		return err
	})
	switch {
	case err != nil:
		return err
	case kind == repAck && seen:
		return nil
	case kind == repAck:
		return protocolError("NBD_OPT_GO without NBD_INFO_EXPORT")
	case kind == repErrUnknown:
		return fmt.Errorf("%w: %q: %s", ErrUnknownExport, export, msg)
	case kind == repErrUnsupported:
		return fmt.Errorf("%w: NBD_OPT_GO: %s", ErrUnsupported, msg)
	}
	return fmt.Errorf("nbd: server refused export %q (reply %#x): %s", export, kind, msg)
}

// decode reads one NBD_REP_INFO. It says whether it was the export's size and
// flags. Infos that were not asked for are skipped.
func (i *Info) decode(data []byte) (export bool, err error) {
	if len(data) < 2 {
		return false, protocolError("information reply of %d bytes", len(data))
	}
	kind, data := binary.BigEndian.Uint16(data), data[2:]
	switch kind {
	case infoExport:
		if len(data) != 10 {
			return false, protocolError("export information of %d bytes", len(data))
		}
		size := binary.BigEndian.Uint64(data)
		if size > maxSize {
			return false, protocolError("export of %d bytes", size)
		}
		i.Size = int64(size)
		i.setFlags(binary.BigEndian.Uint16(data[8:]))
		return true, nil
	case infoBlockSize:
		return false, i.setBlocks(data)
	case infoDescription:
		i.Description = strings.TrimSpace(printable(data))
	}
	return false, nil
}

func (i *Info) setFlags(f uint16) {
	i.ReadOnly = f&isReadOnly != 0
	i.CanFlush = f&canFlush != 0
	i.CanFUA = f&canFUA != 0
	i.CanTrim = f&canTrim != 0
	i.CanZero = f&canWriteZero != 0
	i.CanFastZero = f&canFastZero != 0
	i.MultiConn = f&canMultiConn != 0
}

// setBlocks takes the block sizes (proto.md, "Block size constraints"):
// minimum and preferred are powers of two, the maximum a multiple of the
// minimum or "unlimited".
func (i *Info) setBlocks(data []byte) error {
	if len(data) != 12 {
		return protocolError("block size information of %d bytes", len(data))
	}
	least := binary.BigEndian.Uint32(data)
	preferred := binary.BigEndian.Uint32(data[4:])
	most := binary.BigEndian.Uint32(data[8:])
	switch {
	case bits.OnesCount32(least) != 1 || least > maxMinBlock:
		return protocolError("minimum block of %d bytes", least)
	case bits.OnesCount32(preferred) != 1 || preferred < least:
		return protocolError("preferred block of %d bytes, minimum %d", preferred, least)
	case most < least || most != 1<<32-1 && most%least != 0:
		return protocolError("maximum block of %d bytes, minimum %d", most, least)
	}
	i.MinBlock, i.Preferred = int64(least), int64(preferred)
	i.MaxPayload = min(int64(most), maxPayload)
	return nil
}
