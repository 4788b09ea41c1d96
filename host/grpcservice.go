package host

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// grpcService is the first argument of proxy_grpc_call and proxy_grpc_stream: a message
// envoy.config.core.v3.GrpcService.
type grpcService struct {
	cluster, authority string
	metadata           Headers
	isEnvoy, isGoogle  bool // which target it has; neither if it names none
}

// parseGRPCService returns false for what is not such a message.
//
// Envoy: api/envoy/config/core/v3/grpc_service.proto.
func parseGRPCService(b []byte) (s grpcService, ok bool) {
	ok = eachField(b, func(number protowire.Number, value []byte) bool {
		switch number {
		case 1: // envoy_grpc
			s.isEnvoy, s.isGoogle = true, false
			return eachField(value, func(number protowire.Number, value []byte) bool {
				switch number {
				case 1:
					s.cluster = string(value)
					return utf8.Valid(value)
				case 2:
					s.authority = string(value)
					return utf8.Valid(value)
				case 3, 4: // retry_policy, max_receive_message_length
					return isMessage(value)
				}
				return true
			})
		case 2: // google_grpc
			s.isEnvoy, s.isGoogle = false, true
			return isMessage(value)
		case 3, 6: // timeout, retry_policy
			return isMessage(value)
		case 5: // initial_metadata
			var h Header
			valid := eachField(value, func(number protowire.Number, value []byte) bool {
				switch number {
				case 1:
					h.Name = string(value)
				case 2:
					h.Value = string(value)
				}
				return number == 3 || utf8.Valid(value) // raw_value may be any bytes
			})
			s.metadata.add(h.Name, h.Value)
			return valid
		}
		return true
	})
	return s, ok
}

// eachField calls f for each field of a protobuf message that has a length, until f returns false.
// It returns false then, and also if b is no message.
func eachField(b []byte, f func(number protowire.Number, value []byte) bool) bool {
	for len(b) > 0 {
		number, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return false
		}
		rest := b[size:]
		if size = protowire.ConsumeFieldValue(number, kind, rest); size < 0 {
			return false
		}
		if kind == protowire.BytesType {
			if value, _ := protowire.ConsumeBytes(rest); !f(number, value) {
				return false
			}
		}
		b = rest[size:]
	}
	return true
}

func isMessage(b []byte) bool {
	return eachField(b, func(protowire.Number, []byte) bool { return true })
}
