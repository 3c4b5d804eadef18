// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build clients

package clients

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/test/process"
)

// TestAClientFollowsTheCluster lets a client find two caches through one of them, and then that only one is left.
func TestAClientFollowsTheCluster(t *testing.T) {
	addrs := []string{process.MustFreeAddress(t), process.MustFreeAddress(t)}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // another user reads it
		t.Fatal(err)
	}
	slices.Sort(addrs) // the client tells them so
	file := filepath.Join(dir, "members")
	write := func(addrs ...string) {
		var lines strings.Builder
		for _, addr := range addrs {
			lines.WriteString(strings.Replace(addr, ":", "||", 1) + "\n")
		}
		if err := os.WriteFile(file, []byte(lines.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
	write(addrs...)
	for _, addr := range addrs {
		startServer(t, addr, ours, "--cluster-file", file)
	}
	want := []string{"uses " + strings.Join(addrs, " "), "uses " + addrs[1]}
	steps := runScript(t, "node", "memcached-elasticache.js", addrs[0], "text", "discovery-", func(step string) {
		if step == want[0] {
			write(addrs[1])
		}
	})
	if !slices.Equal(steps, want) {
		t.Errorf("got %q, want %q", steps, want)
	}
}
