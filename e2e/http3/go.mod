module github.com/streamlatch/streamlatch/e2e/http3

go 1.26.0

replace github.com/streamlatch/streamlatch => ../..

require (
	github.com/quic-go/quic-go v0.65.0
	github.com/streamlatch/streamlatch v0.0.0
)

require (
	github.com/quic-go/qpack v0.6.0 // indirect
	github.com/tetratelabs/wazero v1.12.0 // indirect
	golang.org/x/crypto v0.54.0 // indirect
	golang.org/x/net v0.56.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.40.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
