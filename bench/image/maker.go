package image

import (
	"bufio"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// maker writes the kinds of files that people and programs make. What it
// writes follows from its seed alone.
type maker struct {
	rng   *rand.Rand
	words []string
	zipf  *rand.Zipf
}

const vocabulary = 20000

func newMaker(seed, stream uint64) *maker {
	own := rand.New(rand.NewPCG(seed, 0)) // the language is the same every day
	words := make([]string, vocabulary)
	syllables := []string{"an", "ber", "con", "da", "el", "for", "gra", "hi", "in", "ka", "lo", "men",
		"na", "or", "per", "qua", "re", "sta", "ti", "un", "ver", "wi", "xe", "yo", "zu", "sch", "tion", "ing"}
	for i := range words {
		for range 1 + own.IntN(4) {
			words[i] += syllables[own.IntN(len(syllables))]
		}
	}
	rng := rand.New(rand.NewPCG(seed, stream))
	return &maker{rng: rng, words: words, zipf: rand.NewZipf(rng, 1.1, 4, vocabulary-1)}
}

func (m *maker) word() string { return m.words[m.zipf.Uint64()] }

// write opens path for appending, makes its folder, and calls fill.
func (m *maker) write(path string, fill func(io.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 256<<10)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// prose appends about size bytes of text in lines.
func (m *maker) prose(path string, size int64) error {
	return m.write(path, func(w io.Writer) error {
		for n, column := int64(0), 0; n < size; {
			k, err := fmt.Fprint(w, m.word(), " ")
			if err != nil {
				return err
			}
			n, column = n+int64(k), column+k
			if column > 76 {
				column = 0
				fmt.Fprintln(w)
			}
		}
		return nil
	})
}

// table appends about size bytes of comma-separated measurements.
func (m *maker) table(path string, size int64) error {
	return m.write(path, func(w io.Writer) error {
		level := 20.0
		for n, i := int64(0), 0; n < size; i++ {
			level += m.rng.NormFloat64() * 0.05
			k, err := fmt.Fprintf(w, "%d,%s,%.3f,%.3f,%d\n", i, m.word(), level, level*0.3+m.rng.Float64(), m.rng.IntN(1000))
			if err != nil {
				return err
			}
			n += int64(k)
		}
		return nil
	})
}

// log appends about size bytes of a web server's log from start on.
func (m *maker) log(path string, size int64, start time.Time) error {
	agents := []string{"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Mobile/15E148", "curl/7.88.1", "Googlebot/2.1"}
	return m.write(path, func(w io.Writer) error {
		for n := int64(0); n < size; {
			start = start.Add(time.Duration(m.rng.IntN(900)) * time.Millisecond)
			k, err := fmt.Fprintf(w, "%d.%d.%d.%d - - [%s] \"GET /%s/%s?id=%d HTTP/1.1\" %d %d \"-\" \"%s\"\n",
				1+m.rng.IntN(220), m.rng.IntN(256), m.rng.IntN(256), m.rng.IntN(256), start.Format("02/Jan/2006:15:04:05 -0700"),
				m.word(), m.word(), m.rng.IntN(1<<20), []int{200, 200, 200, 304, 404}[m.rng.IntN(5)], m.rng.IntN(60000), agents[m.rng.IntN(4)])
			if err != nil {
				return err
			}
			n += int64(k)
		}
		return nil
	})
}

// photo writes a JPEG of six million pixels: smooth shapes under the noise of
// a sensor. It is about 600 kB.
func (m *maker) photo(path string) error {
	const width, height = 3000, 2000
	img := image.NewYCbCr(image.Rect(0, 0, width, height), image.YCbCrSubsampleRatio420)
	fx, fy, phase := 1+m.rng.Float64()*9, 1+m.rng.Float64()*9, m.rng.Float64()*6
	across, down := make([]float64, width), make([]float64, height)
	for x := range across {
		across[x] = 50 * math.Sin(fx*float64(x)/width*6+phase)
	}
	for y := range down {
		down[y] = 50 * math.Cos(fy*float64(y)/height*6)
	}
	grain := 3 + m.rng.IntN(8)
	for y := range height {
		row := img.Y[y*img.YStride : y*img.YStride+width]
		noise := m.rng.Uint64()
		for x := range row {
			noise = noise*6364136223846793005 + 1442695040888963407
			row[x] = uint8(128 + across[x] + down[y] + float64(int(noise>>33)%grain))
		}
	}
	for y := range height / 2 {
		for x := range width / 2 {
			img.Cb[y*img.CStride+x] = uint8(128 + across[2*x])
			img.Cr[y*img.CStride+x] = uint8(128 + down[2*y])
		}
	}
	return m.write(path, func(w io.Writer) error { return jpeg.Encode(w, img, &jpeg.Options{Quality: 88}) })
}
