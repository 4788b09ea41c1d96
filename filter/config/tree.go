package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth bounds how deep objects and lists may nest. The schema needs seven.
const maxDepth = 16

type kind int

const (
	object kind = iota + 1
	list
	text
	number
	boolean
	null
)

// A node is a value as it was written, in JSON or in a Struct: members keep their order and their
// duplicates, numbers their spelling.
type node struct {
	kind    kind
	content string   // of a text; of a number, its spelling
	truth   bool     // of a boolean
	items   []node   // of a list
	members []member // of an object
}

type member struct {
	key   string
	value node
}

// String names n in a fault: what it is, or its value if it has one.
func (n node) String() string {
	switch n.kind {
	case object:
		return "an object"
	case list:
		return "a list"
	case text:
		return quote(n.content)
	case number:
		return clip(n.content)
	case boolean:
		return strconv.FormatBool(n.truth)
	}
	return "null"
}

// appendJSON appends n as compact JSON to dst.
func (n node) appendJSON(dst []byte) []byte {
	switch n.kind {
	case object:
		dst = append(dst, '{')
		for i, m := range n.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendText(dst, m.key), ':')
			dst = m.value.appendJSON(dst)
		}
		return append(dst, '}')
	case list:
		dst = append(dst, '[')
		for i, item := range n.items {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = item.appendJSON(dst)
		}
		return append(dst, ']')
	case text:
		return appendText(dst, n.content)
	case number:
		return append(dst, n.content...)
	case boolean:
		return strconv.AppendBool(dst, n.truth)
	}
	return append(dst, "null"...)
}

func appendText(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // fails for invalid UTF-8 only, and writes U+FFFD for it
	return dst
}

// parseTree reads one JSON value and nothing after it. The tokenizer is as
// strict as RFC 8259 and refuses invalid UTF-8 and halves of surrogate pairs;
// duplicate names are let through to be reported with their path.
func parseTree(data []byte) (node, error) {
	if len(bytes.Trim(data, " \t\r\n")) == 0 {
		return node{}, invalid("empty configuration, want an object with %q", "rules")
	}
	t := tree{Decoder: jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true)), data: data}
	root, err := t.node(1)
	if err != nil {
		return node{}, err
	}
	end := int(t.InputOffset())
	if rest := bytes.TrimLeft(data[end:], " \t\r\n"); len(rest) > 0 {
		return node{}, invalidAt(data, len(data)-len(rest), "more after the end of the configuration")
	}
	return root, nil
}

// A tree is a document on its way into nodes, token by token.
type tree struct {
	*jsontext.Decoder
	data []byte
}

// node reads the next value, which is the depth-th from the root.
func (t *tree) node(depth int) (node, error) {
	token, err := t.ReadToken()
	if err != nil {
		return node{}, t.syntaxError(err)
	}
	switch token.Kind() {
	case '{', '[':
		if depth > maxDepth {
			return node{}, invalidAt(t.data, int(t.InputOffset())-1, sprintf("more than %d objects and lists inside each other", maxDepth))
		}
		if token.Kind() == '{' {
			return t.object(depth)
		}
		return t.list(depth)
	case '"':
		return node{kind: text, content: token.String()}, nil
	case '0':
		return node{kind: number, content: token.String()}, nil
	case 't', 'f':
		return node{kind: boolean, truth: token.Bool()}, nil
	}
	return node{kind: null}, nil
}

// object reads the rest of an object.
func (t *tree) object(depth int) (node, error) {
	n := node{kind: object}
	for {
		token, err := t.ReadToken()
		if err != nil {
			return node{}, t.syntaxError(err)
		}
		if token.Kind() == '}' {
			return n, nil
		}
		key := token.String()
		value, err := t.node(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{key, value})
	}
}

// list reads the rest of a list.
func (t *tree) list(depth int) (node, error) {
	n := node{kind: list}
	for {
		if t.PeekKind() == ']' {
			_, err := t.ReadToken()
			return n, err
		}
		item, err := t.node(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
}

// syntaxError places an error of the tokenizer in the document.
func (t *tree) syntaxError(err error) error {
	at, what := len(t.data)-1, err
	var bad *jsontext.SyntacticError
	if errors.As(err, &bad) {
		at, what = min(int(bad.ByteOffset), at), bad.Err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalidAt(t.data, len(t.data)-1, "the document is cut short")
	}
	return invalidAt(t.data, at, what.Error())
}
