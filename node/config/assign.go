package config

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// assigner puts a parsed document into a Config, noting where each value stands and everything that is wrong.
type assigner struct {
	file     string
	lines    map[string]int
	origins  origins
	problems Problems
}

func (a *assigner) origin(path string) Origin { return Origin{File: a.file, Line: a.lines[path]} }

func (a *assigner) document(c *Config, tables map[string]any) {
	a.table("", reflect.ValueOf(c).Elem(), tables)
}

func (a *assigner) table(path string, section reflect.Value, values map[string]any) {
	fields := fieldsOf(section.Type())
	for name, value := range values {
		p := join(path, name)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			what := "is an unknown key"
			if isTableValue(value) {
				what = "is an unknown section"
			}
			a.problems.add(a.origin(p), p, what, didYouMean(meant(path, name, fields)))
			continue
		}
		if !isTable(fields[i].typ) {
			a.origins[p] = a.origin(p)
		}
		a.value(p, section.Field(fields[i].index), value)
	}
}

func isTableValue(value any) bool {
	switch value.(type) {
	case map[string]any, []map[string]any:
		return true
	}
	return false
}

// meant returns what name in the table at path was probably meant to be: a key of that table, else one of the same or
// nearly the same name elsewhere.
func meant(path, name string, fields []field) []string {
	var siblings []string
	for _, f := range fields {
		siblings = append(siblings, f.name)
	}
	if near := nearest(name, siblings); len(near) > 0 {
		for i := range near {
			near[i] = join(path, near[i])
		}
		return near
	}
	var elsewhere []string
	for _, key := range keys() {
		if last := key[strings.LastIndexByte(key, '.')+1:]; len(nearest(name, []string{last})) > 0 {
			elsewhere = append(elsewhere, key)
		}
	}
	return elsewhere
}

// value puts one value of the document into dst.
func (a *assigner) value(path string, dst reflect.Value, value any) {
	t := dst.Type()
	switch {
	case isText(t):
		a.text(path, dst, value)
	case isTable(t):
		values, ok := value.(map[string]any)
		if !ok {
			a.problems.add(a.origin(path), path, "is a section, not "+kindOf(value), "write ["+path+"] on a line of its own")
			return
		}
		a.table(path, dst, values)
	case isTables(t):
		a.tables(path, dst, value)
	case t.Kind() == reflect.Slice:
		a.strings(path, dst, value)
	case t.Kind() == reflect.Map:
		a.stringMap(path, dst, value)
	default:
		a.scalar(path, dst, value)
	}
}

func (a *assigner) text(path string, dst reflect.Value, value any) {
	var text string
	switch v := value.(type) {
	case string:
		text = v
	case int64:
		text = strconv.FormatInt(v, 10)
	default:
		a.problems.add(a.origin(path), path, "must be a number or a text in quotes, not "+kindOf(value), "")
		return
	}
	if err := setText(dst, text); err != nil {
		a.problems.add(a.origin(path), path, "is wrong: "+err.Error(), "")
	}
}

func setText(dst reflect.Value, text string) error {
	return dst.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
}

func (a *assigner) tables(path string, dst reflect.Value, value any) {
	var list []map[string]any
	switch v := value.(type) {
	case []map[string]any:
		list = v
	case []any:
		for i, e := range v {
			values, ok := e.(map[string]any)
			if !ok {
				p := path + "[" + strconv.Itoa(i) + "]"
				a.problems.add(a.origin(p), p, "is a section, not "+kindOf(e), "")
				return
			}
			list = append(list, values)
		}
	default:
		a.problems.add(a.origin(path), path, "is a list of sections, not "+kindOf(value), "write [["+path+"]]")
		return
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(list), len(list)))
	for i, values := range list {
		p := path + "[" + strconv.Itoa(i) + "]"
		a.origins[p] = a.origin(p)
		a.table(p, dst.Index(i), values)
	}
}

func (a *assigner) strings(path string, dst reflect.Value, value any) {
	list, ok := value.([]any)
	if !ok {
		a.problems.add(a.origin(path), path, "must be a list, not "+kindOf(value), `write it like ["one", "two"]`)
		return
	}
	texts := make([]string, 0, len(list))
	for i, e := range list {
		text, ok := e.(string)
		if !ok {
			p := path + "[" + strconv.Itoa(i) + "]"
			a.problems.add(a.origin(p), p, "must be a text in quotes, not "+kindOf(e), "")
			return
		}
		texts = append(texts, text)
	}
	dst.Set(reflect.ValueOf(texts))
}

func (a *assigner) stringMap(path string, dst reflect.Value, value any) {
	values, ok := value.(map[string]any)
	if !ok {
		a.problems.add(a.origin(path), path, "must be a table, not "+kindOf(value), `write it like { name = "value" }`)
		return
	}
	texts := make(map[string]string, len(values))
	for name, e := range values {
		p := join(path, name)
		a.origins[p] = a.origin(p)
		text, ok := e.(string)
		if !ok {
			a.problems.add(a.origin(p), p, "must be a text in quotes, not "+kindOf(e), "")
			continue
		}
		texts[name] = text
	}
	dst.Set(reflect.ValueOf(texts))
}

func (a *assigner) scalar(path string, dst reflect.Value, value any) {
	wrong := func(want, hint string) {
		a.problems.add(a.origin(path), path, "must be "+want+", not "+kindOf(value), hint)
	}
	text, isText := value.(string)
	switch dst.Kind() {
	case reflect.String:
		if !isText {
			hint := ""
			if _, list := value.([]any); !list && !isTableValue(value) {
				hint = fmt.Sprintf(`write "%v"`, value)
			}
			wrong("a text in quotes", hint)
			return
		}
		dst.SetString(text)
	case reflect.Bool:
		b, ok := value.(bool)
		if !ok {
			hint := "write true or false"
			if _, err := strconv.ParseBool(text); isText && err == nil {
				hint += ", without quotes"
			}
			wrong("true or false", hint)
			return
		}
		dst.SetBool(b)
	case reflect.Int32:
		n, ok := value.(int64)
		if !ok {
			hint := ""
			if _, err := strconv.ParseInt(text, 10, 32); isText && err == nil {
				hint = "write " + text + ", without quotes"
			}
			wrong("a whole number", hint)
			return
		}
		if n < math.MinInt32 || n > math.MaxInt32 {
			a.problems.add(a.origin(path), path, fmt.Sprintf("is %d, which is out of range", n), "")
			return
		}
		dst.SetInt(n)
	}
}

// kindOf names the kind of a TOML value in messages.
func kindOf(value any) string {
	switch value.(type) {
	case string:
		return "text"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	case []map[string]any:
		return "a list of sections"
	}
	return "a date or time"
}
