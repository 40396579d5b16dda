package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"

	"holdfast/internal/hypervisor"
)

// maxPicture is the largest picture that is kept, bytes of PNG: it lies in the
// catalog.
const maxPicture = 512 << 10

// screen is the console as a PNG; none when the VM shows none, or too much.
func screen(ctx context.Context, host hypervisor.Host, uuid string) ([]byte, error) {
	raw, err := host.Screenshot(ctx, uuid)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, nil // a server's VM often has no screen
	}
	if !bytes.HasPrefix(raw, []byte("\x89PNG")) {
		picture, err := readPPM(raw)
		if err != nil {
			return nil, nil
		}
		var out bytes.Buffer
		if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, picture); err != nil {
			return nil, fmt.Errorf("the picture of the console: %w", err)
		}
		raw = out.Bytes()
	}
	if len(raw) > maxPicture {
		return nil, nil
	}
	return raw, nil
}

// errPPM: bytes are no picture as QEMU's screendump writes it.
var errPPM = errors.New("not a binary PPM of 255 levels")

// readPPM reads a picture as QEMU's screendump writes it: "P6\nWIDTH HEIGHT\n255\n"
// and three bytes a pixel (netpbm's ppm(5); ui/ui-hmp-cmds.c of QEMU).
func readPPM(b []byte) (image.Image, error) {
	var w, h, levels int
	r := bytes.NewReader(b)
	if n, err := fmt.Fscanf(r, "P6\n%d %d\n%d\n", &w, &h, &levels); n != 3 || err != nil || levels != 255 {
		return nil, errPPM
	}
	pixels := b[len(b)-r.Len():]
	if w <= 0 || h <= 0 || w > 1<<14 || h > 1<<14 || len(pixels) != 3*w*h {
		return nil, errPPM
	}
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		copy(out.Pix[4*i:], pixels[3*i:3*i+3])
		out.Pix[4*i+3] = 255
	}
	return out, nil
}
