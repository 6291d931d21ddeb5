package main

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// formatHelp explains --format.
const formatHelp = `  %t topic        %p partition    %o offset    %T time in ms since 1970
  %k key          %s value        %h headers, as name=value,name=value
  %% a percent    \n a line end   \t a tab     \\ a backslash`

// A formatter writes a record the way that was asked for.
type formatter func(dst []byte, r *kgo.Record) []byte

// parseFormat reads what --format says: "json", or text with the placeholders of [formatHelp].
func parseFormat(text string) (formatter, error) {
	if text == "json" {
		return formatJSON, nil
	}
	var parts []formatter
	literal := func(s string) {
		parts = append(parts, func(dst []byte, _ *kgo.Record) []byte { return append(dst, s...) })
	}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, `%\`)
		if i < 0 {
			literal(rest)
			break
		}
		if i > 0 {
			literal(rest[:i])
		}
		if i+1 == len(rest) {
			return nil, usage("--format %q ends in the middle; the placeholders are\n%s", text, formatHelp)
		}
		directive := rest[i : i+2]
		rest = rest[i+2:]
		escapes := map[string]string{"%%": "%", `\n`: "\n", `\t`: "\t", `\\`: `\`, `\0`: "\x00", `\r`: "\r"}
		if s, ok := escapes[directive]; ok {
			literal(s)
			continue
		}
		part, ok := placeholders()[directive]
		if !ok {
			return nil, usage("--format has %q, which is unknown; the placeholders are\n%s", directive, formatHelp)
		}
		parts = append(parts, part)
	}
	return func(dst []byte, r *kgo.Record) []byte {
		for _, p := range parts {
			dst = p(dst, r)
		}
		return dst
	}, nil
}

func placeholders() map[string]formatter {
	return map[string]formatter{
		"%t": func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Topic...) },
		"%p": func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, int64(r.Partition), 10) },
		"%o": func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Offset, 10) },
		"%T": func(dst []byte, r *kgo.Record) []byte { return strconv.AppendInt(dst, r.Timestamp.UnixMilli(), 10) },
		"%k": func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Key...) },
		"%s": func(dst []byte, r *kgo.Record) []byte { return append(dst, r.Value...) },
		"%h": func(dst []byte, r *kgo.Record) []byte {
			for i, h := range r.Headers {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = append(append(append(dst, h.Key...), '='), h.Value...)
			}
			return dst
		},
	}
}

// jsonRecord is a record as --format json prints it. Bytes that are no valid text are in the field with base64.
type jsonRecord struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   string       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 string       `json:"value_base64,omitempty"`
	Headers     []jsonHeader `json:"headers,omitempty"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 string  `json:"value_base64,omitempty"`
}

// textOrBase64 returns bytes as text where they are text; nil stays nil.
func textOrBase64(b []byte) (text *string, base string) {
	switch {
	case b == nil:
		return nil, ""
	case utf8.Valid(b):
		s := string(b)
		return &s, ""
	}
	return nil, base64.StdEncoding.EncodeToString(b)
}

func formatJSON(dst []byte, r *kgo.Record) []byte {
	j := jsonRecord{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyBase64 = textOrBase64(r.Key)
	j.Value, j.ValueBase64 = textOrBase64(r.Value)
	for _, h := range r.Headers {
		jh := jsonHeader{Key: h.Key}
		jh.Value, jh.ValueBase64 = textOrBase64(h.Value)
		j.Headers = append(j.Headers, jh)
	}
	line, err := json.Marshal(j)
	if err != nil {
		panic(err) // a bug: strings and numbers can always be encoded
	}
	return append(append(dst, line...), '\n')
}
