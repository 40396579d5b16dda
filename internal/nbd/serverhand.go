package nbd

import (
	"encoding/binary"
	"io"
)

// serverHandshake is the option haggling of one client.
type serverHandshake struct {
	server     *server
	rw         io.ReadWriter
	noZeroes   bool
	structured bool
	contexts   map[string]bool // exports for which base:allocation was asked
}

// Options that only a server meets.
const (
	optExportName = 1
	optList       = 3
	repServer     = 2
	infoName      = 1
)

// allocationID is the id of base:allocation in block status replies.
const allocationID = 1

// run greets, answers options, and returns the export that was entered, or nil
// where the client went away.
func (h *serverHandshake) run() (*served, error) {
	hello := binary.BigEndian.AppendUint64(nil, magicInit)
	hello = binary.BigEndian.AppendUint64(hello, magicOption)
	hello = binary.BigEndian.AppendUint16(hello, flagFixedNewstyle|flagNoZeroes)
	if _, err := h.rw.Write(hello); err != nil {
		return nil, err
	}
	var answer [4]byte
	if _, err := io.ReadFull(h.rw, answer[:]); err != nil {
		return nil, err
	}
	flags := binary.BigEndian.Uint32(answer[:])
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 || flags&flagFixedNewstyle == 0 {
		return nil, errHangup
	}
	h.noZeroes = flags&flagNoZeroes != 0
	h.contexts = map[string]bool{}
	for range maxOptions {
		option, data, err := h.option()
		if err != nil {
			return nil, err
		}
		e, done, err := h.answer(option, data)
		if err != nil || done {
			return e, err
		}
	}
	return nil, errHangup
}

// option reads one option.
func (h *serverHandshake) option() (uint32, []byte, error) {
	var head [16]byte
	if _, err := io.ReadFull(h.rw, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[12:])
	if binary.BigEndian.Uint64(head[:]) != magicOption || length > maxOptReply {
		return 0, nil, errHangup
	}
	data := make([]byte, length)
	_, err := io.ReadFull(h.rw, data)
	return binary.BigEndian.Uint32(head[8:]), data, err
}

// reply sends one reply to an option.
func (h *serverHandshake) reply(option, kind uint32, data []byte) error {
	b := binary.BigEndian.AppendUint64(nil, magicReply)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	_, err := h.rw.Write(append(b, data...))
	return err
}

// answer deals with one option. done ends the haggling, with the export or
// without one.
func (h *serverHandshake) answer(option uint32, data []byte) (e *served, done bool, err error) {
	switch option {
	case optExportName:
		return h.exportName(string(data))
	case optAbort:
		return nil, true, h.reply(option, repAck, nil)
	case optList:
		return nil, false, h.list(data)
	case optInfo, optGo:
		return h.enter(option, data)
	case optStructuredReply:
		if len(data) != 0 {
			return nil, false, h.reply(option, repErrInvalid, nil)
		}
		h.structured = true
		return nil, false, h.reply(option, repAck, nil)
	case optListMetaContext, optSetMetaContext:
		return nil, false, h.metaContext(option, data)
	}
	return nil, false, h.reply(option, repErrUnsupported, []byte("option is not known here"))
}

// exportName is the old way in; it has no way to say no.
func (h *serverHandshake) exportName(name string) (*served, bool, error) {
	e := h.server.find(name)
	if e == nil {
		return nil, false, errHangup
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(e.Source.Size()))
	b = binary.BigEndian.AppendUint16(b, e.flags())
	if !h.noZeroes {
		b = append(b, make([]byte, 124)...)
	}
	_, err := h.rw.Write(b)
	return e, true, err
}

func (h *serverHandshake) list(data []byte) error {
	if len(data) != 0 {
		return h.reply(optList, repErrInvalid, nil)
	}
	for _, e := range h.server.exports {
		if err := h.reply(optList, repServer, append(appendString(nil, e.Name), e.Description...)); err != nil {
			return err
		}
	}
	return h.reply(optList, repAck, nil)
}

// cutString takes a string with its 32-bit length off the front.
func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 4 {
		return "", nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) || n > maxString {
		return "", nil, false
	}
	return string(b[4 : 4+n]), b[4+n:], true
}

// enter answers NBD_OPT_INFO and NBD_OPT_GO.
func (h *serverHandshake) enter(option uint32, data []byte) (*served, bool, error) {
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 2 || len(rest) != 2+2*int(binary.BigEndian.Uint16(rest)) {
		return nil, false, h.reply(option, repErrInvalid, nil)
	}
	e := h.server.find(name)
	if e == nil {
		return nil, false, h.reply(option, repErrUnknown, []byte("no such export"))
	}
	info := binary.BigEndian.AppendUint16(nil, infoExport)
	info = binary.BigEndian.AppendUint64(info, uint64(e.Source.Size()))
	infos := [][]byte{binary.BigEndian.AppendUint16(info, e.flags())}
	blocks := binary.BigEndian.AppendUint16(nil, infoBlockSize)
	for _, n := range []uint32{1, 64 << 10, maxPayload} {
		blocks = binary.BigEndian.AppendUint32(blocks, n)
	}
	infos = append(infos, blocks,
		append(binary.BigEndian.AppendUint16(nil, infoName), name...),
		append(binary.BigEndian.AppendUint16(nil, infoDescription), e.Description...))
	for _, info := range infos {
		if err := h.reply(option, repInfo, info); err != nil {
			return nil, false, err
		}
	}
	return e, option == optGo, h.reply(option, repAck, nil)
}

// metaContext answers the queries for metadata contexts: there is
// base:allocation and nothing else.
func (h *serverHandshake) metaContext(option uint32, data []byte) error {
	name, rest, ok := cutString(data)
	if !ok || len(rest) < 4 || !h.structured {
		return h.reply(option, repErrInvalid, nil)
	}
	e := h.server.find(name)
	if e == nil {
		return h.reply(option, repErrUnknown, []byte("no such export"))
	}
	n := binary.BigEndian.Uint32(rest)
	rest = rest[4:]
	wanted := n == 0 && option == optListMetaContext
	for range n {
		query, after, ok := cutString(rest)
		if !ok {
			return h.reply(option, repErrInvalid, nil)
		}
		rest = after
		wanted = wanted || query == ContextAllocation || query == "base:" && option == optListMetaContext
	}
	if len(rest) != 0 {
		return h.reply(option, repErrInvalid, nil)
	}
	if option == optSetMetaContext {
		clear(h.contexts)
		h.contexts[name] = wanted
	}
	if wanted {
		id := uint32(allocationID)
		if option == optListMetaContext {
			id = 0
		}
		if err := h.reply(option, repMetaContext, append(binary.BigEndian.AppendUint32(nil, id), ContextAllocation...)); err != nil {
			return err
		}
	}
	return h.reply(option, repAck, nil)
}
