package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// MakeImage makes a sparse file of the given size with an empty ext4. Errors: ErrMissing without mkfs.ext4.
func MakeImage(ctx context.Context, path string, bytes int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(bytes), f.Close()); err != nil {
		return err
	}
	// Nothing is left for the machine's kernel to do in the background.
	return tool(ctx, "mkfs.ext4", "-q", "-F", "-N", "4096", "-J", "size=16", "-E", "lazy_itable_init=0,lazy_journal_init=0", path)
}

// CheckImage looks for faults in the file system of an image that was unmounted, and changes nothing.
func CheckImage(ctx context.Context, path string) error {
	return tool(ctx, "e2fsck", "-fn", path)
}

func tool(ctx context.Context, name string, args ...string) error {
	path, err := FindTool(name)
	if err != nil {
		return err
	}
	if text, err := exec.CommandContext(ctx, path, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, text)
	}
	return nil
}

// FindTool looks for a program in PATH and where Debian has what root uses. Errors: ErrMissing.
func FindTool(name string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s is not installed", ErrMissing, name)
}
