// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, 0},
		{"version 2 in a container", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "134217728\n"}, 134217728},
		{"version 2 without limit", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"version 2: the lowest on the way up counts", map[string]string{
			"proc/self/cgroup": "0::/kubepods/pod1/c1\n", "sys/fs/cgroup/kubepods/pod1/c1/memory.max": "max\n",
			"sys/fs/cgroup/kubepods/pod1/memory.max": "1000000\n", "sys/fs/cgroup/kubepods/memory.max": "9000000\n"}, 1000000},
		{"version 2: a path that is not there means the mount", map[string]string{
			"proc/self/cgroup": "0::/kubepods/pod1/c1\n", "sys/fs/cgroup/memory.max": "5000000\n"}, 5000000},
		{"version 2: a path above the mount", map[string]string{
			"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": "5000000\n"}, 5000000},
		{"version 1", map[string]string{
			"proc/self/cgroup": "11:cpu,cpuacct:/a\n4:memory:/a\n0::/a\n",
			"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2000000\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":   "9223372036854771712\n"}, 2000000},
		{"version 1 without limit", map[string]string{
			"proc/self/cgroup":                           "4:memory:/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"garbage", map[string]string{"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/memory.max": "lots\n"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := memoryLimit(groupFiles(c.files)); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

func TestTheOperatorsLimitFits(t *testing.T) {
	const mi = 1 << 20
	for _, memory := range []int64{64 * mi, 256 * mi, 4096 * mi, 1 << 40} {
		for _, itemSize := range []int64{mi, 32 * mi} {
			for _, connections := range []int{1, 1024, 60_000} {
				// The operator's formula for a pod's limit.
				limit := memory + memory/32 + 48*mi + int64(connections)*24<<10 + 4*itemSize
				if err := fitsLimit(limit, memory, itemSize, connections); err != nil {
					t.Errorf("memory %d, items %d, connections %d: %v", memory, itemSize, connections, err)
				}
				heap := heapLimit(limit, memory, itemSize, connections)
				if heap < leastOverhead(itemSize, connections) || memory+heap > limit {
					t.Errorf("memory %d, items %d, connections %d: heap %d of limit %d", memory, itemSize, connections, heap, limit)
				}
			}
		}
	}
	err := fitsLimit(64*mi, 64*mi, mi, 1024)
	if err == nil || !strings.Contains(err.Error(), "raise the limit") {
		t.Errorf("a budget as large as the limit: %v", err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"1024": 1024, "1k": 1024, "2K": 2048, "1m": 1 << 20, "1M": 1 << 20, "1g": 1 << 30,
	} {
		if got, err := parseSize(text); got != want || err != nil {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "m", "0", "-1", "1x", "1mm", "1.5m", "99999999999999999999", "9223372036854775807g",
	} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %d", text, got)
		}
	}
}
