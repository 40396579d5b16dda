package nbd

import "encoding/binary"

// Numbers of the wire (proto.md, "Values"). All integers are big-endian.
const (
	magicInit       = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption     = 0x49484156454f5054 // "IHAVEOPT"
	magicReply      = 0x0003e889045565a9
	magicRequest    = 0x25609513
	magicSimple     = 0x67446698
	magicStructured = 0x668e33ef
)

// Handshake flags, of the server and (shifted to 32 bits) of the client.
const (
	flagFixedNewstyle = 1 << 0
	flagNoZeroes      = 1 << 1
)

// Options and their replies.
const (
	optAbort           = 2
	optInfo            = 6
	optGo              = 7
	optStructuredReply = 8
	optListMetaContext = 9
	optSetMetaContext  = 10

	repAck         = 1
	repInfo        = 3
	repMetaContext = 4
	repError       = 1 << 31

	repErrUnsupported = repError | 1
	repErrPolicy      = repError | 2
	repErrInvalid     = repError | 3
	repErrTLSRequired = repError | 5
	repErrUnknown     = repError | 6
	repErrTooBig      = repError | 9

	infoExport      = 0
	infoDescription = 2
	infoBlockSize   = 3
)

// Transmission flags: what the export can do.
const (
	canFlags      = 1 << 0
	isReadOnly    = 1 << 1
	canFlush      = 1 << 2
	canFUA        = 1 << 3
	canTrim       = 1 << 5
	canWriteZero  = 1 << 6
	canDontFrag   = 1 << 7
	canMultiConn  = 1 << 8
	canFastZero   = 1 << 11
	statusHole    = 1 << 0 // base:allocation
	statusZero    = 1 << 1 // base:allocation
	statusDirty   = 1 << 0 // qemu:dirty-bitmap:NAME
	contextPrefix = "qemu:dirty-bitmap:"
)

// Commands.
const (
	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6
	cmdBlockStatus = 7
)

var cmdNames = map[uint16]string{cmdRead: "read", cmdWrite: "write", cmdFlush: "flush",
	cmdTrim: "trim", cmdWriteZeroes: "zero", cmdBlockStatus: "block status"}

// Chunks of structured replies.
const (
	chunkDone        = 1 << 0 // flag
	chunkNone        = 0
	chunkData        = 1
	chunkHole        = 2
	chunkStatus      = 5
	chunkErrorBit    = 1 << 15
	chunkError       = chunkErrorBit | 1
	chunkErrorOffset = chunkErrorBit | 2
)

// Limits that this package keeps whatever the other side says.
const (
	maxString     = 4096     // any name (proto.md, "Values": strings up to 4096 bytes)
	maxOptReply   = 64 << 10 // one option reply, bytes
	maxOptReplies = 256      // replies to one option
	maxPayload    = 32 << 20 // bytes of one read or write; the protocol's own default
	maxStatusLen  = 16 << 20 // bytes of one block status chunk: two million extents
	maxChunks     = 1 << 17  // chunks of one structured reply
	maxErrorLen   = 8 << 10  // bytes of one error chunk
	maxMinBlock   = 64 << 10 // a server's minimum block, bytes
	maxSize       = 1 << 62  // an export, bytes
	// maxEffect is the longest trim or zero request: a multiple of every
	// allowed minimum block below 4 GiB.
	maxEffect = 1 << 30
	// maxStatusRange is the longest block status request, likewise.
	maxStatusRange = 1<<32 - maxMinBlock
)

// requestSize is the length of a request header.
const requestSize = 28

// putRequest encodes a request header.
func putRequest(b *[requestSize]byte, flags, cmd uint16, cookie uint64, off int64, length uint32) {
	binary.BigEndian.PutUint32(b[0:], magicRequest)
	binary.BigEndian.PutUint16(b[4:], flags)
	binary.BigEndian.PutUint16(b[6:], cmd)
	binary.BigEndian.PutUint64(b[8:], cookie)
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], length)
}

// appendOption encodes an option with its data.
func appendOption(b []byte, option uint32, data []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint32(b, option)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// appendString encodes a string with its 32-bit length before it.
func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
	return append(b, s...)
}
