package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds ./cmd/culvert of the tree at dir into out exactly as `make build` does: static, stripped,
// with nothing of the machine that built it. env comes after the process's own.
func Build(ctx context.Context, dir, out, version string, env ...string) error {
	return BuildPackage(ctx, dir, "./cmd/culvert", out, version, env...)
}

// BuildPackage builds another command of the tree in the same way.
func BuildPackage(ctx context.Context, dir, pkg, out, version string, env ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", "nethttpomithttp2",
		"-ldflags", "-s -w -X main.version="+version, "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build for %s: %w\n%s", strings.Join(env, " "), err, text)
	}
	return nil
}

// Root returns the directory of go.mod at or above the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		dir = up
	}
}
