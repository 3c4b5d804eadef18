// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// setThreads sets how many threads execute requests, and returns it: as many as were asked for; else one
// where the kernel allows one processor or less; else what Go's runtime has found out. The runtime never goes
// below two by itself, and on half a processor two loops only wait for each other's share of it.
func setThreads(root fs.FS, asked int, fromEnvironment string) int {
	switch limit := cpuLimit(root); {
	case asked > 0:
		runtime.GOMAXPROCS(asked)
	case fromEnvironment == "" && limit > 0 && limit <= 1:
		runtime.GOMAXPROCS(1)
	}
	return runtime.GOMAXPROCS(0)
}

// cpuLimit is the lowest limit that the kernel sets for this process through cgroups, version 2 or 1, in
// processors; 0 if there is none. root is the file system's root.
func cpuLimit(root fs.FS) float64 {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	lowest := 0.0
	note := func(quota, period string) {
		q, err1 := strconv.ParseInt(strings.TrimSpace(quota), 10, 64)
		p, err2 := strconv.ParseInt(strings.TrimSpace(period), 10, 64)
		if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
			return // "max" and -1 mean none
		}
		if limit := float64(q) / float64(p); lowest == 0 || limit < lowest {
			lowest = limit
		}
	}
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(fields) != 3:
		case fields[0] == "0" && fields[1] == "":
			along("sys/fs/cgroup", fields[2], func(dir string) {
				quota, period, _ := strings.Cut(readText(root, path.Join(dir, "cpu.max")), " ")
				note(quota, period)
			})
		case hasController(fields[1], "cpu"):
			for _, mount := range []string{"sys/fs/cgroup/cpu", "sys/fs/cgroup/cpu,cpuacct"} {
				along(mount, fields[2], func(dir string) {
					note(readText(root, path.Join(dir, "cpu.cfs_quota_us")),
						readText(root, path.Join(dir, "cpu.cfs_period_us")))
				})
			}
		}
	}
	return lowest
}

// along calls f for a group and the groups around it, up to where they are mounted.
func along(mount, group string, f func(dir string)) {
	for dir := path.Join(mount, path.Clean("/"+group)); strings.HasPrefix(dir, mount); dir = path.Dir(dir) {
		f(dir)
	}
}

func readText(root fs.FS, name string) string {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(text)
}
