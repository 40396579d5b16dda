package compute

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// vhdEpoch is where the times of a VHD begin.
var vhdEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// VHDFooter is the footer of a fixed VHD of a disk of size bytes: the disk, then
// these 512 bytes ("Virtual Hard Disk Image Format Specification", Microsoft,
// 2006, Hard Disk Footer Format; big-endian):
//
//	0 cookie "conectix" | 8 features 2 | 12 version 1.0 | 16 data offset, all ones |
//	24 time, seconds since 2000 | 28 creator "hf  " | 32 creator version 1.0 |
//	36 host "Wi2k" | 40 original size | 48 current size | 56 geometry |
//	60 type 2, fixed | 64 checksum | 68 unique id | 84 saved state 0 | 85 zeroes
//
// The creator's host says nothing that a reader uses; the size does.
func VHDFooter(size int64, made time.Time) []byte {
	f := make([]byte, 512)
	copy(f, "conectix")
	be := binary.BigEndian
	be.PutUint32(f[8:], 2)
	be.PutUint32(f[12:], 1<<16)
	be.PutUint64(f[16:], ^uint64(0))
	be.PutUint32(f[24:], uint32(max(0, made.Sub(vhdEpoch)/time.Second)))
	copy(f[28:], "hf  ")
	be.PutUint32(f[32:], 1<<16)
	copy(f[36:], "Wi2k")
	be.PutUint64(f[40:], uint64(size))
	be.PutUint64(f[48:], uint64(size))
	cylinders, heads, sectors := geometry(size / 512)
	be.PutUint16(f[56:], cylinders)
	f[58], f[59] = heads, sectors
	be.PutUint32(f[60:], 2)
	id := sha256.Sum256(f) // of what is there: the same disk has the same
	copy(f[68:84], id[:])
	var sum uint32
	for _, b := range f {
		sum += uint32(b)
	}
	be.PutUint32(f[64:], ^sum)
	return f
}

// geometry is the CHS geometry of a disk (the specification's appendix).
func geometry(total int64) (cylinders uint16, heads, sectors uint8) {
	total = min(total, 65535*16*255)
	var h, spt, ch int64
	switch {
	case total >= 65535*16*63:
		spt, h, ch = 255, 16, total/255
	default:
		spt, ch = 17, total/17
		h = max((ch+1023)/1024, 4)
		if ch >= h*1024 || h > 16 {
			spt, h, ch = 31, 16, total/31
		}
		if ch >= h*1024 {
			spt, h, ch = 63, 16, total/63
		}
	}
	return uint16(ch / h), uint8(h), uint8(spt)
}
