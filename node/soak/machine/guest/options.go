package main

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Options are the machine.* words of the kernel's command line. The kernel leaves words with a dot to its modules and
// passes none of them on.
type options struct {
	mount  string // options of the disk's mount
	dirty  string // hundredths of a second after which the kernel writes back what nobody synced; "" for its own
	config []byte // culvert.toml
}

func parseOptions(line string) (o options, err error) {
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "machine.mount":
			o.mount = value
		case "machine.dirty":
			o.dirty = value
		case "machine.config":
			if o.config, err = base64.StdEncoding.DecodeString(value); err != nil {
				return o, fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	return o, nil
}
