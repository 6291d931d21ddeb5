package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/culvert-mq/culvert/node/config"
)

// defaultConfigFile is read when it exists and no other file is named.
const defaultConfigFile = "/etc/culvert/culvert.toml"

// settings are the flags that choose and override the configuration.
type settings struct {
	file  string
	flags map[string]*string // by key
	set   []string
	cmd   *cobra.Command
}

// settingFlags are the keys with a flag of their own, because they are what one changes on the command line.
var settingFlags = []struct{ flag, key, usage string }{
	{"data-dir", "node.data_dir", "directory of everything the node stores"},
	{"log-level", "node.log_level", "debug, info, warn or error"},
	{"mqtt-listen", "mqtt.listen", "MQTT address, host:port; port 0 takes a free one"},
	{"kafka-listen", "kafka.listen", "native address, host:port; port 0 takes a free one"},
	{"http-listen", "http.listen", "HTTP address, host:port; port 0 takes a free one"},
}

// addSettings gives cmd the flags.
func addSettings(cmd *cobra.Command) *settings {
	s := &settings{flags: map[string]*string{}, cmd: cmd}
	f := cmd.Flags()
	f.StringVarP(&s.file, "config", "c", "", "configuration file (variable "+config.VariableConfig+"; otherwise "+defaultConfigFile+" if it exists)")
	for _, sf := range settingFlags {
		s.flags[sf.key] = f.String(sf.flag, "", sf.usage)
	}
	f.StringArrayVar(&s.set, "set", nil, "any other key of the configuration, like --set log.retention=2d; may be repeated")
	return s
}

// path returns the configuration file to read, empty for none.
func (s *settings) path() string {
	if s.cmd.Flags().Changed("config") {
		return s.file
	}
	if path := os.Getenv(config.VariableConfig); path != "" {
		return path
	}
	if _, err := os.Stat(defaultConfigFile); !errors.Is(err, fs.ErrNotExist) {
		return defaultConfigFile
	}
	return ""
}

// load reads the configuration: file, environment, flags.
func (s *settings) load() (*config.Config, error) {
	var overrides []config.Override
	for _, sf := range settingFlags {
		if s.cmd.Flags().Changed(sf.flag) {
			overrides = append(overrides, config.Override{Flag: sf.flag, Key: sf.key, Value: *s.flags[sf.key]})
		}
	}
	for _, text := range s.set {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usage("--set %q is not of the form key=value", text)
		}
		overrides = append(overrides, config.Override{Flag: "set", Key: key, Value: value})
	}
	for _, o := range overrides {
		if o.Key == "node.data_dir" && o.Value == "" { // a variable of a script that is not set, most likely
			return nil, usage("flag --%s: the data directory is empty; name one, or leave the flag out for the usual one", o.Flag)
		}
	}
	c, err := config.Load(s.path(), os.Environ(), overrides...)
	if err != nil && !errors.Is(err, config.ErrInvalid) {
		err = &exitError{code: exitUsage, err: err, hint: "without --config, culvert runs with its defaults"}
	}
	return c, err
}
