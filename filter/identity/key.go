package identity

// AppendKey appends the key that sources with these values give: what Append would have read. It is false, and dst
// comes back, if there is no value or an empty one.
func AppendKey(dst []byte, values ...string) (key []byte, ok bool) {
	key = dst
	for _, value := range values {
		if key, ok = appendPart(key, value); !ok {
			return key[:len(dst)], false
		}
	}
	return key, len(values) > 0
}
