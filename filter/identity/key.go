package identity

// AppendKey appends the key for these values: the key that Append makes if its sources have these
// values. If there is no value, or one is empty, ok is false and key equals dst.
func AppendKey(dst []byte, values ...string) (key []byte, ok bool) {
	key = dst
	for _, value := range values {
		if key, ok = appendPart(key, value); !ok {
			return key[:len(dst)], false
		}
	}
	return key, len(values) > 0
}
