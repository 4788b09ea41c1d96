package config

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

type kind int

const (
	object kind = iota + 1
	list
	text
	number
	boolean
	null
)

// A node is a value of a document, JSON or Struct, before the schema is applied. Members keep their
// order and repeated names. Numbers stay as they were written.
type node struct {
	kind    kind
	content string   // for text and number
	truth   bool     // for boolean
	items   []node   // for list
	members []member // for object
}

type member struct {
	key   string
	value node
}

// String describes n in a fault: by its value if it has a short one, else by its kind.
func (n node) String() string {
	switch n.kind {
	case object:
		return "an object"
	case list:
		return "a list"
	case text:
		return quoted(n.content).String()
	case number:
		return numeral(n.content).String()
	case boolean:
		return strconv.FormatBool(n.truth)
	}
	return "null"
}

// appendJSON appends n to dst as compact JSON.
func (n node) appendJSON(dst []byte) []byte {
	switch n.kind {
	case object:
		dst = append(dst, '{')
		for i, m := range n.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendQuoted(dst, m.key), ':')
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
		return appendQuoted(dst, n.content)
	case number:
		return append(dst, n.content...)
	case boolean:
		return strconv.AppendBool(dst, n.truth)
	}
	return append(dst, "null"...)
}

func appendQuoted(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // the error only means that U+FFFD replaces invalid UTF-8
	return dst
}

func textNode(s string) node { return node{kind: text, content: s} }

func textsNode(texts []string) node {
	n := node{kind: list}
	for _, s := range texts {
		n.items = append(n.items, textNode(s))
	}
	return n
}

func numberNode(i int) node { return node{kind: number, content: strconv.Itoa(i)} }

func booleanNode(b bool) node { return node{kind: boolean, truth: b} }
