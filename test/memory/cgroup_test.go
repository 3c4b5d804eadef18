// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build memory

package memory

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/lane"
)

// group is a memory cgroup of version 1 or 2.
type group struct {
	dir     string
	version int
}

// newGroup makes a cgroup with a limit, which is removed at the test's end.
func newGroup(t *testing.T, limit int64) *group {
	t.Helper()
	if os.Getuid() != 0 {
		lane.Lacks(t, "making a memory cgroup needs root")
	}
	g := &group{version: 2, dir: "/sys/fs/cgroup"}
	if controllers, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		g.version, g.dir = 1, "/sys/fs/cgroup/memory"
		if _, err := os.Stat(filepath.Join(g.dir, "memory.limit_in_bytes")); err != nil {
			lane.Lacks(t, "there is no memory controller, neither version 2 at /sys/fs/cgroup nor version 1")
		}
	} else if !strings.Contains(string(controllers), "memory") {
		lane.Lacks(t, "the memory controller is not delegated to /sys/fs/cgroup")
	} else if err := os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0o600); err != nil {
		lane.Lacks(t, "the memory controller cannot be enabled: %v", err)
	}
	g.dir = filepath.Join(g.dir, fmt.Sprintf("memkeep-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(g.dir, 0o750); err != nil {
		lane.Lacks(t, "no cgroup can be made: %v", err)
	}
	t.Cleanup(func() {
		for range 100 { // until the kernel has seen the last process go
			if err := os.Remove(g.dir); err == nil || errors.Is(err, os.ErrNotExist) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("cgroup %s is left behind", g.dir)
	})
	if g.version == 2 {
		g.write(t, "memory.max", limit)
		_ = os.WriteFile(filepath.Join(g.dir, "memory.swap.max"), []byte("0"), 0o600)
		return g
	}
	g.write(t, "memory.limit_in_bytes", limit)
	// Version 1 counts TCP's memory apart, and only once it has a limit.
	g.write(t, "memory.kmem.tcp.limit_in_bytes", 1<<40)
	return g
}

func (g *group) write(t *testing.T, file string, n int64) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, file), strconv.AppendInt(nil, n, 10), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *group) read(file string) int64 {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// field is one number of a file of names and numbers.
func (g *group) field(file, name string) int64 {
	f, err := os.Open(filepath.Join(g.dir, file))
	if err != nil {
		return -1
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			n, err := strconv.ParseInt(rest, 10, 64)
			if err != nil {
				return -1
			}
			return n
		}
	}
	return -1
}

// peak is the most that was charged, and the most that TCP's buffers took if that is counted apart.
func (g *group) peak() (total, tcp int64) {
	if g.version == 2 {
		return g.read("memory.peak"), 0
	}
	return g.read("memory.max_usage_in_bytes"), g.read("memory.kmem.tcp.max_usage_in_bytes")
}

// pressed is how often the limit was met, and how many were killed for it.
func (g *group) pressed() (met, killed int64) {
	if g.version == 2 {
		return g.field("memory.events", "max"), g.field("memory.events", "oom_kill")
	}
	return g.read("memory.failcnt"), max(0, g.field("memory.oom_control", "oom_kill"))
}
