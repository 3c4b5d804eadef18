// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build compiles the cache server into a folder, with more flags of go build where there are any, and returns the path
// of the binary.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	path := filepath.Join(dir, "cache-server")
	args := append([]string{"build", "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/memkeep/memkeep/cache-server")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the cache server: %w\n%s", err, out)
	}
	return path, nil
}

// Program is the path of a program that hack/debs.sh unpacks beside the system, or else of one on the PATH.
func Program(name string) (string, error) {
	cache := os.Getenv("MEMKEEP_CACHE")
	if cache == "" {
		if dir, err := os.UserCacheDir(); err == nil {
			cache = filepath.Join(dir, "memkeep")
		}
	}
	if path, err := exec.LookPath(filepath.Join(cache, "bin", name)); err == nil {
		return path, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is not there: run hack/debs.sh %s: %w", name, name, err)
	}
	return path, nil
}

// Memcached is the path of the memcached to compare with: the one that MEMKEEP_MEMCACHED names, or Debian's.
func Memcached() (string, error) {
	if path := os.Getenv("MEMKEEP_MEMCACHED"); path != "" {
		return path, nil
	}
	return Program("memcached")
}
