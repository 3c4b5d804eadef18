// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// memoryLimit is the lowest memory limit that the kernel sets for this process through cgroups, version 2 or
// 1, in bytes; 0 if there is none. root is the file system's root.
func memoryLimit(root fs.FS) int64 {
	lowest := int64(0)
	note := func(file string) func(dir string) {
		return func(dir string) { lowest = lower(lowest, parseLimit(readText(root, path.Join(dir, file)))) }
	}
	controlGroups(root, "memory", note("memory.max"), note("memory.limit_in_bytes"))
	return lowest
}

// cpuLimit is the lowest limit that the kernel sets for this process through cgroups, version 2 or 1, in
// processors; 0 if there is none. root is the file system's root.
func cpuLimit(root fs.FS) float64 {
	lowest := 0.0
	note := func(quota, period string) {
		q, p := parseLimit(quota), parseLimit(period)
		if q > 0 && p > 0 {
			lowest = lower(lowest, float64(q)/float64(p))
		}
	}
	controlGroups(root, "cpu", func(dir string) {
		quota, period, _ := strings.Cut(readText(root, path.Join(dir, "cpu.max")), " ")
		note(quota, period)
	}, func(dir string) {
		note(readText(root, path.Join(dir, "cpu.cfs_quota_us")), readText(root, path.Join(dir, "cpu.cfs_period_us")))
	})
	return lowest
}

// controlGroups calls v2 or v1, as the kernel has it, for the group of this process that a controller knows and
// for the groups around it, up to where they are mounted. In a container the path of the group may not exist below
// the mount; then the mount itself is the group.
func controlGroups(root fs.FS, controller string, v2, v1 func(dir string)) {
	upwards := func(mount, group string, f func(dir string)) {
		for dir := path.Join(mount, path.Clean("/"+group)); strings.HasPrefix(dir, mount); dir = path.Dir(dir) {
			f(dir)
		}
	}
	for line := range strings.Lines(readText(root, "proc/self/cgroup")) {
		fields := strings.SplitN(line, ":", 3) // hierarchy:controllers:path
		if len(fields) != 3 {
			continue
		}
		group := strings.TrimSpace(fields[2])
		switch controllers := strings.Split(fields[1], ","); {
		case fields[0] == "0" && fields[1] == "":
			upwards("sys/fs/cgroup", group, v2)
		case slices.Contains(controllers, controller):
			upwards("sys/fs/cgroup/"+controller, group, v1)
			if len(controllers) > 1 {
				upwards("sys/fs/cgroup/"+fields[1], group, v1)
			}
		}
	}
}

// readText is what a small file holds, or nothing.
func readText(root fs.FS, name string) string {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// parseLimit reads a limit; "max", -1 and version 1's huge number mean none, which is 0.
func parseLimit(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/2 {
		return 0
	}
	return n
}

// lower is the lower of two limits of which 0 means none.
func lower[T int64 | float64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	default:
		return min(a, b)
	}
}
