package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os"
	"testing"
)

// Common colours stay what they are. Rare ones become the nearest common one.
func TestShrink(t *testing.T) {
	full := image.NewRGBA(image.Rect(0, 0, 64, 64))
	colors := []color.RGBA{{255, 255, 255, 255}, {163, 38, 46, 255}, {18, 105, 58, 255}}
	for y := range 64 {
		for x := range 64 {
			full.SetRGBA(x, y, colors[x*len(colors)/64])
		}
	}
	full.SetRGBA(0, 0, color.RGBA{253, 254, 255, 255})
	var shot bytes.Buffer
	if err := png.Encode(&shot, full); err != nil {
		t.Fatal(err)
	}
	text, err := shrink(shot.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	small, err := png.Decode(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := small.ColorModel().(color.Palette); !ok || len(p) != len(colors) {
		t.Errorf("palette %v, want the %d colours", small.ColorModel(), len(colors))
	}
	full.SetRGBA(0, 0, colors[0])
	for y := range 64 {
		for x := range 64 {
			if got, want := rgba(small, x, y), full.RGBAAt(x, y); got != want {
				t.Fatalf("pixel %d, %d: %v, want %v", x, y, got, want)
			}
		}
	}
}

// A page of many colours keeps the most frequent ones.
func TestShrinkManyColors(t *testing.T) {
	full := image.NewRGBA(image.Rect(0, 0, 1000, 16))
	for y := range 16 {
		for x := range 1000 {
			full.SetRGBA(x, y, color.RGBA{uint8(x), uint8(x / 256 * 60), uint8(y * 16), 255})
		}
	}
	palette := paletteOf(full)
	if len(palette) != maxColors {
		t.Errorf("%d colours, want %d", len(palette), maxColors)
	}
}

func TestShrinkRefusesOtherFiles(t *testing.T) {
	if _, err := shrink([]byte("no picture")); err == nil {
		t.Error("no error for what is not a PNG")
	}
}

// The pictures that the repository has load quickly on the front page, which shows them.
func TestPictures(t *testing.T) {
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile("../../../envoy/demo/" + name)
		if err != nil {
			t.Fatal(err)
		}
		config, err := png.DecodeConfig(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > maxSize || config.Width != scale*width {
			t.Errorf("%s: %d bytes, %d pixels wide; want %d bytes at most, and %d pixels", name, len(text), config.Width, maxSize, scale*width)
		}
		if !bytes.Contains(readme, []byte("envoy/demo/"+name+"\"")) {
			t.Errorf("README.md does not show %s", name)
		}
	}
}
