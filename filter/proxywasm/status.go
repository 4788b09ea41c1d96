package proxywasm

import "strconv"

// Status is why a call to the host failed.
type Status uint32

const (
	NotFound      Status = 1
	Empty         Status = 7
	CasMismatch   Status = 8
	Unimplemented Status = 12
)

func (s Status) Error() string { return "host status " + strconv.FormatUint(uint64(s), 10) }

// err is nil for the status Ok.
func (s Status) err() error {
	if s == 0 {
		return nil
	}
	return s
}
