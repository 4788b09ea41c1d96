package policy

// Millis is a length of time in milliseconds. Everything that it is added to or compared with, such
// as the time a stream was claimed at, is a count of milliseconds too.
type Millis int64

// Common lengths of time.
const (
	Second Millis = 1000
	Minute        = 60 * Second
	Hour          = 60 * Minute
)
