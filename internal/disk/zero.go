package disk

import (
	"bytes"
	"iter"
)

var zeroGrain [grain]byte

// IsZero says whether p is all zero bytes.
func IsZero(p []byte) bool {
	for len(p) > grain {
		if !bytes.Equal(p[:grain], zeroGrain[:]) {
			return false
		}
		p = p[grain:]
	}
	return bytes.Equal(p, zeroGrain[:len(p)])
}

// zeroRuns cuts p, which lies at off on the disk, into runs that are zero and
// runs that are not, on borders of the grain.
func zeroRuns(p []byte, off int64) iter.Seq2[Extent, bool] {
	return func(yield func(Extent, bool) bool) {
		var run Extent
		var zero bool
		for at := int64(0); at < int64(len(p)); {
			n := min(grain-(off+at)%grain, int64(len(p))-at)
			z := IsZero(p[at : at+n])
			if run.Length > 0 && z != zero {
				if !yield(run, zero) {
					return
				}
				run = Extent{}
			}
			if run.Length == 0 {
				run, zero = Extent{Offset: off + at}, z
			}
			run.Length += n
			at += n
		}
		if run.Length > 0 {
			yield(run, zero)
		}
	}
}
