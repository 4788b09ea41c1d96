package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep objects and lists may be nested. The schema needs seven levels.
const maxDepth = 16

// jsonSpace are the characters that JSON ignores between tokens.
const jsonSpace = " \t\r\n"

// parseJSON reads one JSON value with nothing after it. It is as strict as RFC 8259, and refuses
// invalid UTF-8 and incomplete surrogate pairs. It accepts repeated names in an object: they are
// reported later, with their path.
func parseJSON(data []byte) (node, error) {
	if len(bytes.Trim(data, jsonSpace)) == 0 {
		return node{}, errors.New(`empty configuration, want an object with "rules"`)
	}
	p := jsonParser{jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true)), data}
	root, err := p.node(1)
	if err != nil {
		return node{}, err
	}
	end := int(p.InputOffset())
	if rest := bytes.TrimLeft(data[end:], jsonSpace); len(rest) > 0 {
		return node{}, errorAt(data, len(data)-len(rest), "unexpected data after the configuration")
	}
	return root, nil
}

// A jsonParser makes nodes of the tokens of a document.
type jsonParser struct {
	*jsontext.Decoder
	data []byte
}

// node reads the next value. The root has depth 1.
func (p *jsonParser) node(depth int) (node, error) {
	token, err := p.ReadToken()
	if err != nil {
		return node{}, p.syntaxError(err)
	}
	switch token.Kind() {
	case '{', '[':
		if depth > maxDepth {
			problem := fmt.Sprintf("objects and lists are nested deeper than %d levels", maxDepth)
			return node{}, errorAt(p.data, int(p.InputOffset())-1, problem)
		}
		if token.Kind() == '{' {
			return p.object(depth)
		}
		return p.list(depth)
	case '"':
		return node{kind: text, content: token.String()}, nil
	case '0':
		return node{kind: number, content: token.String()}, nil
	case 't', 'f':
		return node{kind: boolean, truth: token.Bool()}, nil
	}
	return node{kind: null}, nil
}

// object reads the rest of an object, after its "{".
func (p *jsonParser) object(depth int) (node, error) {
	n := node{kind: object}
	for {
		token, err := p.ReadToken()
		if err != nil {
			return node{}, p.syntaxError(err)
		}
		if token.Kind() == '}' {
			return n, nil
		}
		key := token.String()
		value, err := p.node(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{key, value})
	}
}

// list reads the rest of a list, after its "[".
func (p *jsonParser) list(depth int) (node, error) {
	n := node{kind: list}
	for {
		if p.PeekKind() == ']' {
			_, err := p.ReadToken()
			return n, err
		}
		item, err := p.node(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
}

// syntaxError adds the line and the column to an error of the decoder.
func (p *jsonParser) syntaxError(err error) error {
	last := len(p.data) - 1
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errorAt(p.data, last, "unexpected end of the document")
	}
	var syntax *jsontext.SyntacticError
	if errors.As(err, &syntax) {
		return errorAt(p.data, min(int(syntax.ByteOffset), last), syntax.Err.Error())
	}
	return errorAt(p.data, last, err.Error())
}
