package config

import (
	_ "embed" // the struct's comments are the documentation
	"encoding"
	"reflect"
	"strings"
)

// source is the text of the struct: its comments are what [WriteDefault] prints.
//
//go:embed config.go
var source string

// field describes one key, from the tags of the struct.
type field struct {
	name     string // the key within its table
	index    int    // in the struct
	typ      reflect.Type
	min, max string
	also     string
	oneof    []string
	reload   bool
}

// fieldsOf returns the fields of a section, in the order of the struct.
func fieldsOf(section reflect.Type) []field {
	var fields []field
	for i := range section.NumField() {
		f := section.Field(i)
		name := f.Tag.Get("toml")
		if name == "" {
			continue
		}
		fields = append(fields, field{
			name: name, index: i, typ: f.Type,
			min: f.Tag.Get("min"), max: f.Tag.Get("max"), also: f.Tag.Get("also"),
			oneof:  strings.Fields(f.Tag.Get("oneof")),
			reload: f.Tag.Get("reload") == "yes",
		})
	}
	return fields
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

// isText reports whether values of type t read themselves.
func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// isTable reports whether t is a section; isTables, whether it is a list of them.
func isTable(t reflect.Type) bool  { return t.Kind() == reflect.Struct }
func isTables(t reflect.Type) bool { return t.Kind() == reflect.Slice && isTable(t.Elem()) }

// walk calls visit for every key of c that holds a value, with its path and the value, in the order of the struct.
func (c *Config) walk(visit func(path string, f field, v reflect.Value)) {
	walk("", reflect.ValueOf(c).Elem(), visit)
}

func walk(path string, section reflect.Value, visit func(string, field, reflect.Value)) {
	for _, f := range fieldsOf(section.Type()) {
		p, v := join(path, f.name), section.Field(f.index)
		if isTable(f.typ) {
			walk(p, v, visit)
			continue
		}
		visit(p, f, v)
	}
}

// keys returns the path of every key, list elements without a number: mqtt.route.filter.
func keys() []string {
	var all []string
	var collect func(path string, t reflect.Type)
	collect = func(path string, t reflect.Type) {
		for _, f := range fieldsOf(t) {
			p := join(path, f.name)
			switch {
			case isTable(f.typ):
				collect(p, f.typ)
			case isTables(f.typ):
				collect(p, f.typ.Elem())
			default:
				all = append(all, p)
			}
		}
	}
	collect("", reflect.TypeFor[Config]())
	return all
}

// comments returns the documentation of every struct and field in source, by Type and Type.Field.
func comments() map[string][]string {
	docs := map[string][]string{}
	var pending []string
	typ := ""
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "//"):
			pending = append(pending, strings.TrimSpace(line[2:]))
			continue
		case len(words) == 4 && words[0] == "type" && words[2] == "struct":
			typ = words[1]
			docs[typ] = pending
		case line == "}":
			typ = ""
		case typ != "" && len(words) > 1 && strings.Contains(line, "`toml:"):
			docs[typ+"."+words[0]] = pending
		}
		pending = nil
	}
	return docs
}
