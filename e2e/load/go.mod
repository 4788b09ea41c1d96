module github.com/streamlatch/streamlatch/e2e/load

go 1.26.0

replace github.com/streamlatch/streamlatch => ../..

require (
	github.com/HdrHistogram/hdrhistogram-go v1.4.0
	github.com/streamlatch/streamlatch v0.0.0
	golang.org/x/net v0.56.0
)

require golang.org/x/text v0.38.0 // indirect
