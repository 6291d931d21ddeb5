package config

import (
	"os"
	"path/filepath"
	"strings"
)

// Resolve fills in what depends on the machine and was left empty: the node's name, the data directory, the site.
// env is a list of NAME=value, as [os.Environ] returns it.
func (c *Config) Resolve(env []string) {
	if c.Node.Name == "" {
		c.Node.Name = hostName()
	}
	if c.Node.DataDir == "" {
		c.Node.DataDir = defaultDataDir(env, os.Geteuid())
	}
	if c.Upstream.Site == "" {
		c.Upstream.Site = c.Node.Name
	}
}

// hostName returns the host's name as far as it can stand in a topic name: other characters become dashes.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "culvert"
	}
	name = strings.Map(func(r rune) rune {
		if r < 0x80 && isNameByte(byte(r)) {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), maxNameLength)]
}

// defaultDataDir decides where data goes that was given no place: see [Node.DataDir].
func defaultDataDir(env []string, uid int) string {
	vars := func(name string) string {
		for _, e := range env {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return ""
	}
	// systemd separates several directories by colons; the first is ours.
	if dir, _, _ := strings.Cut(vars("STATE_DIRECTORY"), ":"); filepath.IsAbs(dir) {
		return dir
	}
	if uid == 0 {
		return "/var/lib/culvert"
	}
	if dir := vars("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "culvert")
	}
	if dir := vars("HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, ".local", "state", "culvert")
	}
	return "/var/lib/culvert"
}

// maxNameLength is the longest name Kafka allows for a topic; node and site names are part of those.
const maxNameLength = 249

// isNameByte reports whether a topic name may contain b.
func isNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-'
}
