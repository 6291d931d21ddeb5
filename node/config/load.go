package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/BurntSushi/toml"
)

// MaxFileBytes is the size up to which a configuration file is read: room for some thousand routes.
const MaxFileBytes = 256 << 10

// Override is one value from the command line.
type Override struct {
	Flag  string // without dashes, for messages
	Key   string // in full, like mqtt.listen
	Value string // as an environment variable would give it
}

// Load returns the configuration of the file at path, or of no file when path is empty, with the environment's
// CULVERT_ variables and then the command line's overrides put over it, resolved and validated. env is a list of
// NAME=value, as [os.Environ] returns it. Errors about content are [Problems]; others are about reading the file.
func Load(path string, env []string, overrides ...Override) (*Config, error) {
	var document []byte
	if path != "" {
		var err error
		if document, err = readFile(path); err != nil {
			return nil, err
		}
	}
	return load(path, document, env, overrides)
}

func load(path string, document []byte, env []string, overrides []Override) (*Config, error) {
	c, problems := parse(path, document)
	problems = append(problems, c.setVariables(env)...)
	problems = append(problems, c.setFlags(overrides)...)
	if err := problems.err(); err != nil {
		return nil, err
	}
	c.Resolve(env)
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// readFile reads the file at path unless it is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	document, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(document) > MaxFileBytes {
		return nil, &Problem{
			Origin:  Origin{File: path},
			Message: fmt.Sprintf("is larger than %v, so it is no configuration file", Size(MaxFileBytes)),
		}
	}
	return document, nil
}

// parse puts a document over the defaults.
func parse(path string, document []byte) (*Config, Problems) {
	c := Default()
	c.origins = origins{}
	var problems Problems
	lines, err := locate(document)
	if err != nil {
		problems.add(Origin{File: path}, "", err.Error(), "")
		return c, problems
	}
	var tables map[string]any
	if _, err := toml.Decode(string(document), &tables); err != nil {
		problems = append(problems, syntaxError(path, err))
		return c, problems
	}
	a := assigner{file: path, lines: lines, origins: c.origins}
	a.document(c, tables)
	return c, a.problems
}

// syntaxError takes the place and the message out of the parser's error.
func syntaxError(path string, err error) *Problem {
	p := &Problem{Origin: Origin{File: path}, Message: "is no TOML: " + err.Error()}
	if pe, ok := errors.AsType[toml.ParseError](err); ok {
		message := pe.Message
		if message == "" {
			message = strings.TrimPrefix(pe.Error(), "toml: ")
		}
		p.Origin.Line, p.Message, p.Hint = pe.Position.Line, "is no TOML here: "+message, syntaxHint(message)
	}
	return p
}

// syntaxHint tells the usual cause of a parser's message.
func syntaxHint(message string) string {
	switch {
	case strings.Contains(message, "expected value but found"):
		return `text is written in quotes, like "text"`
	case strings.Contains(message, "has already been defined"), strings.Contains(message, "already exists"):
		return "each key and section may stand once"
	}
	return ""
}
