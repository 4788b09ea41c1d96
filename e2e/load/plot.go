package main

import (
	"bytes"
	"fmt"
	"html/template"
	"math"
	"strings"
)

// A chart is one of the pictures in a plot: lines over time, with a scale that begins at 0.
type chart struct {
	Title  string
	Top    int     // the place of the chart in the picture
	Most   float64 // the value at the upper end of the scale
	Curves []curve
}

type curve struct {
	Name, Color, Points string
	At                  int // the place of the name
}

const (
	plotWidth, plotHeight = 720, 180 // of a chart, without what is around it
	plotLeft, plotGap     = 60, 60
)

// plot draws memory and takeovers over time, as an SVG.
func plot(samples []sample) []byte {
	charts := []chart{
		draw(0, "memory, MB", samples, line{"RSS of Envoy", "#1f77b4", func(s sample) float64 { return mb(s.memory.rss) }},
			line{"linear memory of all VMs", "#ff7f0e", func(s sample) float64 { return mb(s.memory.guests) }},
			line{"registry", "#2ca02c", func(s sample) float64 { return mb(int64(s.bytes)) }}),
		draw(1, "takeover, ms", samples, line{"p50", "#1f77b4", func(s sample) float64 { return s.p50 }},
			line{"p99", "#d62728", func(s sample) float64 { return s.p99 }}),
	}
	var out bytes.Buffer
	if err := picture.Execute(&out, map[string]any{
		"Charts": charts, "Width": plotLeft + plotWidth + 20, "Height": len(charts)*(plotHeight+plotGap) + 20, "Left": plotLeft, "W": plotWidth, "H": plotHeight,
		"Minutes": fmt.Sprintf("%.1f minutes", samples[len(samples)-1].at.Minutes()),
	}); err != nil {
		panic(err) // the template is ours, and so are the values
	}
	return out.Bytes()
}

type line struct {
	name, color string
	value       func(sample) float64
}

func draw(n int, title string, samples []sample, lines ...line) chart {
	c := chart{Title: title, Top: 40 + n*(plotHeight+plotGap)}
	for _, l := range lines {
		for _, s := range samples {
			c.Most = max(c.Most, l.value(s))
		}
	}
	c.Most = roundUp(c.Most)
	for i, l := range lines {
		var points []string
		for _, s := range samples {
			x := plotWidth * s.at.Seconds() / samples[len(samples)-1].at.Seconds()
			points = append(points, fmt.Sprintf("%.0f,%.1f", x, plotHeight*(1-l.value(s)/c.Most)))
		}
		c.Curves = append(c.Curves, curve{l.name, l.color, strings.Join(points, " "), 120 + 200*i})
	}
	return c
}

// roundUp returns the next of 1, 2, 5, 10, 20, 50 and so on.
func roundUp(most float64) float64 {
	step := math.Pow(10, math.Floor(math.Log10(max(most, 0.001))))
	for _, n := range []float64{1, 2, 5} {
		if n*step >= most {
			return n * step
		}
	}
	return 10 * step
}

var picture = template.Must(template.New("").Parse(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="white"/>
{{- $p := .}}{{range .Charts}}
<g transform="translate({{$p.Left}} {{.Top}})">
<text y="-12" font-weight="bold">{{.Title}}</text>
<rect width="{{$p.W}}" height="{{$p.H}}" fill="none" stroke="#ccc"/>
<text x="-8" y="8" text-anchor="end">{{.Most}}</text>
<text x="-8" y="{{$p.H}}" text-anchor="end">0</text>
<text x="{{$p.W}}" y="{{$p.H}}" dy="16" text-anchor="end">{{$p.Minutes}}</text>
{{- range .Curves}}
<text x="{{.At}}" y="-12" fill="{{.Color}}">{{.Name}}</text>
<polyline fill="none" stroke="{{.Color}}" points="{{.Points}}"/>
{{- end}}
</g>
{{- end}}
</svg>
`))
