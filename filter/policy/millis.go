package policy

// Millis is a length of time in milliseconds, which is how finely the filter counts. It is no time.Duration because
// package time, once imported, is 200 KB of the module, its initialisation being kept however little is used of it.
type Millis int64

const (
	Second Millis = 1000
	Minute        = 60 * Second
	Hour          = 60 * Minute
)
