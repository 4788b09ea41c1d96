package main

import (
	"bytes"
	"cmp"
	"image"
	"image/color"
	"image/png"
	"maps"
	"slices"
)

// maxColors is the size of a PNG's largest palette.
const maxColors = 256

// shrink returns the screenshot as a PNG with a palette, which is smaller. Most colours of a
// screenshot are at the edges of letters, and losing some of them is not visible.
func shrink(shot []byte) ([]byte, error) {
	full, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return nil, err
	}
	small := image.NewPaletted(full.Bounds(), paletteOf(full))
	nearest := map[color.RGBA]uint8{}
	for y := small.Rect.Min.Y; y < small.Rect.Max.Y; y++ {
		for x := small.Rect.Min.X; x < small.Rect.Max.X; x++ {
			c := rgba(full, x, y)
			index, ok := nearest[c]
			if !ok {
				index = uint8(small.Palette.Index(c))
				nearest[c] = index
			}
			small.SetColorIndex(x, y, index)
		}
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	err = encoder.Encode(&out, small)
	return out.Bytes(), err
}

// paletteOf returns the most frequent colours. No two of them look the same.
func paletteOf(i image.Image) color.Palette {
	count := map[color.RGBA]int{}
	for y := i.Bounds().Min.Y; y < i.Bounds().Max.Y; y++ {
		for x := i.Bounds().Min.X; x < i.Bounds().Max.X; x++ {
			count[rgba(i, x, y)]++
		}
	}
	common := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), slices.Compare([]uint8{a.R, a.G, a.B}, []uint8{b.R, b.G, b.B}))
	})
	var palette color.Palette
	var chosen []color.RGBA
	for _, c := range common {
		if len(palette) == maxColors {
			break
		}
		if !slices.ContainsFunc(chosen, func(other color.RGBA) bool { return near(c, other) }) {
			chosen, palette = append(chosen, c), append(palette, c)
		}
	}
	return palette
}

// near reports whether two colours look the same.
func near(a, b color.RGBA) bool {
	const step = 4
	return abs(a.R, b.R) < step && abs(a.G, b.G) < step && abs(a.B, b.B) < step
}

func abs(a, b uint8) uint8 { return max(a, b) - min(a, b) }

func rgba(i image.Image, x, y int) color.RGBA {
	return color.RGBAModel.Convert(i.At(x, y)).(color.RGBA)
}
