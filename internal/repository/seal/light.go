package seal

import "github.com/minio/minlz"

// compressLight answers src as a MinLZ block (SPEC.md of github.com/minio/minlz)
// in dst's space if that is big enough, and false if src does not get smaller by
// at least 1/32.
func compressLight(dst, src []byte) ([]byte, bool) {
	if len(src) == 0 {
		return nil, false
	}
	out, err := minlz.Encode(dst, src, minlz.LevelFastest)
	if err != nil || len(out) > len(src)-len(src)/32 {
		return nil, false
	}
	return out, true
}

// decompressLight fills dst, whose length is the exact plain length, from src.
func decompressLight(dst, src []byte) error {
	is, n, err := minlz.IsMinLZ(src)
	switch {
	case err != nil:
		return Damaged("MinLZ: %v", err)
	case !is || n != len(dst):
		return Damaged("not a MinLZ block of %d bytes", len(dst))
	}
	if _, err := minlz.Decode(dst, src); err != nil {
		return Damaged("MinLZ: %v", err)
	}
	return nil
}
