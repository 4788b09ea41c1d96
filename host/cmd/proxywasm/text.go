package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// decodeText reads the text format of protocol buffers into a pointer to a struct, whose fields
// have their names in the tag "yaml". A field that is a slice may stand there several times.
//
// https://protobuf.dev/reference/protobuf/textformat-spec/
func decodeText(text string, into any) (err error) {
	d := &textDecoder{rest: text, line: 1}
	defer func() {
		if fault, ok := recover().(textFault); ok {
			err = fmt.Errorf("%d: %s", d.line, string(fault))
		}
	}()
	d.message(reflect.ValueOf(into).Elem(), "")
	return nil
}

// textFault is what a textDecoder panics with.
type textFault string

type textDecoder struct {
	rest string
	line int
}

func (d *textDecoder) fail(format string, arguments ...any) {
	panic(textFault(fmt.Sprintf(format, arguments...)))
}

// peek skips white space and comments, and returns the next character; 0 at the end.
func (d *textDecoder) peek() byte {
	for d.rest != "" {
		switch c := d.rest[0]; c {
		case '\n':
			d.line++
		case ' ', '\t', '\r':
		case '#':
			comment, _, _ := strings.Cut(d.rest, "\n")
			d.rest = d.rest[len(comment):]
			continue
		default:
			return c
		}
		d.rest = d.rest[1:]
	}
	return 0
}

// accept skips one of these characters if it is next.
func (d *textDecoder) accept(characters string) bool {
	c := d.peek()
	if c == 0 || !strings.ContainsRune(characters, rune(c)) {
		return false
	}
	d.rest = d.rest[1:]
	return true
}

// word returns a name, a number or a constant.
func (d *textDecoder) word() string {
	d.peek()
	end := strings.IndexFunc(d.rest, func(r rune) bool {
		return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(d.rest)
	}
	if end == 0 {
		d.fail("%.10q is no name", d.rest)
	}
	word := d.rest[:end]
	d.rest = d.rest[end:]
	return word
}

// text returns a string of one or several literals.
func (d *textDecoder) text() string {
	var b strings.Builder
	for d.peek() == '"' || d.peek() == '\'' {
		quote := d.rest[0]
		for d.rest = d.rest[1:]; ; {
			if d.rest == "" || d.rest[0] == '\n' {
				d.fail("a string without its end")
			}
			if d.rest[0] == quote {
				d.rest = d.rest[1:]
				break
			}
			if strings.HasPrefix(d.rest, `\?`) {
				d.rest = d.rest[1:]
			}
			value, multibyte, tail, err := strconv.UnquoteChar(d.rest, quote)
			if err != nil {
				d.fail("%.10q is no character of a string", d.rest)
			}
			if multibyte {
				b.WriteRune(value)
			} else {
				b.WriteByte(byte(value))
			}
			d.rest = tail
		}
	}
	return b.String()
}

// message reads the fields of a struct, until one of the characters of end.
func (d *textDecoder) message(into reflect.Value, end string) {
	for !d.accept(end) {
		if d.peek() == 0 {
			if end != "" {
				d.fail("a message without its end")
			}
			return
		}
		name := d.word()
		field := fieldByName(into, name)
		if !field.IsValid() {
			d.fail("no field %q", name)
		}
		colon := d.accept(":")
		if field.Kind() != reflect.Slice {
			d.value(field, colon)
		} else if d.accept("[") {
			for !d.accept("]") {
				d.element(field, colon)
				d.accept(",")
			}
		} else {
			d.element(field, colon)
		}
		d.accept(",;")
	}
}

func (d *textDecoder) element(slice reflect.Value, colon bool) {
	element := reflect.New(slice.Type().Elem()).Elem()
	d.value(element, colon)
	slice.Set(reflect.Append(slice, element))
}

func (d *textDecoder) value(into reflect.Value, colon bool) {
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	if into.Kind() == reflect.Struct {
		switch {
		case d.accept("{"):
			d.message(into, "}")
		case d.accept("<"):
			d.message(into, ">")
		default:
			d.fail("want {")
		}
		return
	}
	if !colon {
		d.fail("want a colon")
	}
	var err error
	switch into.Kind() {
	case reflect.Bool:
		var value bool
		value, err = strconv.ParseBool(d.word())
		into.SetBool(value)
	case reflect.Int64:
		var value int64
		value, err = strconv.ParseInt(d.word(), 0, 64)
		into.SetInt(value)
	default:
		if c := d.peek(); c == '"' || c == '\'' {
			into.SetString(d.text())
		} else {
			into.SetString(d.word()) // a constant
		}
	}
	if err != nil {
		d.fail("%v", err)
	}
}

func fieldByName(message reflect.Value, name string) reflect.Value {
	for i := range message.NumField() {
		if message.Type().Field(i).Tag.Get("yaml") == name {
			return message.Field(i)
		}
	}
	return reflect.Value{}
}
