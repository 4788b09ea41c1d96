module github.com/streamlatch/streamlatch/e2e/sdks

go 1.26.0

replace github.com/streamlatch/streamlatch => ../..

require github.com/streamlatch/streamlatch v0.0.0
