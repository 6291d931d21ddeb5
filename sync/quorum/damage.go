package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/culvert-mq/culvert/log/fsx"
)

// Damage is a file that could not be read when the quorum was opened.
type Damage struct {
	File  string // its path
	Aside string // what it was renamed to
	Err   error  // why
	// Kept tells what could be saved of it.
	Kept string
}

// String tells it in a line.
func (d Damage) String() string {
	return fmt.Sprintf("%s was damaged and set aside as %s, %s: %v", d.File, filepath.Base(d.Aside), d.Kept, d.Err)
}

// setAside renames path to path.damaged-N with the least N that is free, and makes that durable.
func setAside(path string) (string, error) {
	for n := 1; ; n++ {
		aside := fmt.Sprintf("%s.damaged-%d", path, n)
		if _, err := os.Lstat(aside); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err := os.Rename(path, aside); err != nil {
			return "", err
		}
		return aside, fsx.SyncDir(filepath.Dir(path))
	}
}

// damaged sets path aside, logs that and notes it.
func (r *recovery) damaged(path, kept string, why error) error {
	aside, err := setAside(path)
	if err != nil {
		return fmt.Errorf("set %s aside: %w (it is damaged: %w)", path, err, why)
	}
	d := Damage{File: path, Aside: aside, Err: why, Kept: kept}
	r.damage = append(r.damage, d)
	r.log.Error("a file of the metadata is damaged and was set aside",
		slog.String("file", path), slog.String("aside", aside), slog.String("kept", kept), slog.Any("err", why))
	return nil
}
