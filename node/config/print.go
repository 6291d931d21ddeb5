package config

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// header explains the file that [WriteDefault] prints.
const header = `culvert's configuration: every key, with its default.

A file needs to hold only what differs; no file at all is a good configuration for one node. Every key can be set from
the environment, too, as CULVERT_SECTION_KEY (CULVERT_MQTT_LISTEN for listen in [mqtt]; lists separated by commas). The
command line wins over the environment, which wins over the file. Sizes are written like 67108864, "64MiB" or "64MB",
times like "250ms", "30s", "1h30m" or "7d". Where it says so, a SIGHUP reloads the key; others need a restart.
Check a file with: culvert config check`

// routeExample stands where a configuration has no routes.
const routeExample = `[[mqtt.route]]
filter  = "city/{district}/{device}/{measurement}"
topic   = "telemetry"
key     = "{device}"
headers = { district = "{district}", measurement = "{measurement}" }
`

const commentWidth = 100

// WriteDefault writes [Default] as a TOML file in which every key is explained. Reading it gives Default again.
func WriteDefault(w io.Writer) error {
	p := printer{docs: comments()}
	p.comment(header)
	p.section("", reflect.ValueOf(Default()).Elem(), false)
	_, err := w.Write(p.Bytes())
	return err
}

// Write writes c as a TOML file in which each value that is not a default tells where it came from.
func (c *Config) Write(w io.Writer) error {
	p := printer{origin: c.Origin}
	p.section("", reflect.ValueOf(c).Elem(), false)
	_, err := w.Write(bytes.TrimLeft(p.Bytes(), "\n"))
	return err
}

// Setting is one key with its value and where it came from.
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"` // text for sizes and times
	Origin string `json:"origin"`
}

// Settings returns every key of c, in the order of the file; the routes are one.
func (c *Config) Settings() []Setting {
	var all []Setting
	c.walk(func(key string, f field, v reflect.Value) {
		value := v.Interface()
		if isText(f.typ) {
			value = fmt.Sprint(value)
		}
		all = append(all, Setting{Key: key, Value: value, Origin: c.Origin(key).String()})
	})
	return all
}

// printer writes the struct as TOML, either with docs or with origins.
type printer struct {
	bytes.Buffer
	docs   map[string][]string
	origin func(key string) Origin
}

func (p *printer) comment(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.WriteString("#\n")
		}
		line := "#"
		for word := range strings.FieldsSeq(paragraph) {
			if len(line)+1+len(word) > commentWidth {
				p.WriteString(line + "\n")
				line = "#"
			}
			line += " " + word
		}
		p.WriteString(line + "\n")
	}
}

// section writes the keys of a table, those without a value only if they are not to be left out, then the tables in it.
func (p *printer) section(path string, section reflect.Value, sparse bool) {
	typ := section.Type().Name()
	fields := fieldsOf(section.Type())
	for _, f := range fields {
		if isTable(f.typ) || isTables(f.typ) || sparse && section.Field(f.index).IsZero() {
			continue
		}
		key, value := join(path, f.name), section.Field(f.index)
		if p.docs != nil {
			p.WriteString("\n")
			p.comment(strings.Join(append(p.docs[typ+"."+section.Type().Field(f.index).Name], f.facts()...), " "))
		}
		p.WriteString(f.name + " = " + tomlValue(value))
		if p.origin != nil {
			if o := p.origin(key); !o.IsDefault() {
				p.WriteString(" # " + o.String())
			}
		}
		p.WriteString("\n")
	}
	for _, f := range fields {
		key, value := join(path, f.name), section.Field(f.index)
		switch {
		case isTable(f.typ):
			p.WriteString("\n")
			p.comment(strings.Join(p.docs[f.typ.Name()], " "))
			p.WriteString("[" + key + "]\n")
			p.section(key, value, false)
		case isTables(f.typ):
			p.tables(key, f, value)
		}
	}
}

func (p *printer) tables(key string, f field, list reflect.Value) {
	if p.docs != nil {
		p.WriteString("\n")
		p.comment(strings.Join(append(p.docs[f.typ.Elem().Name()], f.facts()...), " "))
		if list.Len() == 0 {
			for line := range strings.Lines(routeExample) {
				p.WriteString("# " + line)
			}
		}
	}
	for i := range list.Len() {
		p.WriteString("\n[[" + key + "]]\n")
		p.section(fmt.Sprintf("%s[%d]", key, i), list.Index(i), true)
	}
}

// facts says in words what the tags of a field say.
func (f field) facts() []string {
	var facts []string
	switch {
	case f.min != "" && f.max != "":
		facts = append(facts, "From "+f.min+" to "+f.max)
	case f.min != "":
		facts = append(facts, "At least "+f.min)
	case len(f.oneof) > 0:
		facts = append(facts, "One of "+strings.Join(quoteAll(f.oneof), ", "))
	}
	if f.also != "" {
		facts[0] += f.exception()
	}
	if len(facts) > 0 {
		facts[0] += "."
	}
	if f.reload {
		facts = append(facts, "SIGHUP reloads it.")
	}
	return facts
}

// tomlValue writes a value as TOML.
func tomlValue(v reflect.Value) string {
	switch {
	case isText(v.Type()):
		text := fmt.Sprint(v)
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return text
		}
		return tomlString(text)
	case v.Kind() == reflect.String:
		return tomlString(v.String())
	case v.Kind() == reflect.Slice:
		var list []string
		for i := range v.Len() {
			list = append(list, tomlValue(v.Index(i)))
		}
		return "[" + strings.Join(list, ", ") + "]"
	case v.Kind() == reflect.Map:
		values := v.Interface().(map[string]string)
		if len(values) == 0 {
			return "{}"
		}
		var list []string
		for _, name := range slices.Sorted(maps.Keys(values)) {
			list = append(list, tomlKey(name)+" = "+tomlString(values[name]))
		}
		return "{ " + strings.Join(list, ", ") + " }"
	case v.Kind() == reflect.Struct: // an element of a list of sections, for messages
		var list []string
		for _, f := range fieldsOf(v.Type()) {
			if value := v.Field(f.index); !value.IsZero() {
				list = append(list, f.name+" = "+tomlValue(value))
			}
		}
		return "{ " + strings.Join(list, ", ") + " }"
	}
	return fmt.Sprint(v)
}

// tomlKey writes a key, in quotes where it needs them.
func tomlKey(name string) string {
	for i := range len(name) {
		if !isNameByte(name[i]) || name[i] == '.' {
			return tomlString(name)
		}
	}
	if name == "" {
		return `""`
	}
	return name
}

// tomlString writes a basic string: TOML's escapes are not Go's.
func tomlString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
