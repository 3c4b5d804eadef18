// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// memoryLimit is the lowest memory limit that the kernel sets for this process through cgroups, version 2 or
// 1, in bytes; 0 if there is none. root is the file system's root.
func memoryLimit(root fs.FS) int64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	lowest := int64(0)
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		// hierarchy:controllers:path
		fields := strings.SplitN(lines.Text(), ":", 3)
		if len(fields) != 3 {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			lowest = lowerLimit(lowest, limitAlong(root, "sys/fs/cgroup", fields[2], "memory.max"))
		case hasController(fields[1], "memory"):
			lowest = lowerLimit(lowest,
				limitAlong(root, "sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes"))
		}
	}
	return lowest
}

func hasController(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// limitAlong is the lowest limit of a group and the groups around it. In a container the path may not exist
// below the mount; then the mount itself is the group.
func limitAlong(root fs.FS, mount, group, file string) int64 {
	lowest := int64(0)
	for dir := path.Join(mount, path.Clean("/"+group)); strings.HasPrefix(dir, mount); dir = path.Dir(dir) {
		text, err := fs.ReadFile(root, path.Join(dir, file))
		if err != nil {
			continue
		}
		lowest = lowerLimit(lowest, parseLimit(strings.TrimSpace(string(text))))
	}
	return lowest
}

// parseLimit reads a limit; "max" and version 1's huge number mean none.
func parseLimit(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/2 {
		return 0
	}
	return n
}

// lowerLimit is the lower of two limits of which 0 means none.
func lowerLimit(a, b int64) int64 {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	default:
		return min(a, b)
	}
}
