// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"runtime"
	"testing"
	"testing/fstest"
)

// groupFiles is a file system with files of the kernel's that tell of control groups.
func groupFiles(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return root
}

func TestCPULimit(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  float64
	}{
		{"nothing known", nil, 0},
		{"version 2 in a container", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5},
		{"version 2 without limit", map[string]string{
			"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 0},
		{"version 2: the lowest on the way up counts", map[string]string{
			"proc/self/cgroup":                           "0::/kubepods/pod1/c1\n",
			"sys/fs/cgroup/kubepods/pod1/c1/cpu.max":     "max 100000\n",
			"sys/fs/cgroup/kubepods/pod1/cpu.max":        "150000 100000\n",
			"sys/fs/cgroup/kubepods/cpu.max":             "900000 100000\n",
			"sys/fs/cgroup/kubepods/pod1/c1/cpu.max.txt": "1 1\n"}, 1.5},
		{"version 1", map[string]string{
			"proc/self/cgroup":                      "11:cpu,cpuacct:/a\n0::/a\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_quota_us":  "20000\n",
			"sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n"}, 0.2},
		{"version 1 without limit", map[string]string{
			"proc/self/cgroup": "11:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
			"sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, 0},
		{"garbage", map[string]string{"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/cpu.max": "lots\n"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := cpuLimit(groupFiles(c.files)); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestThreads(t *testing.T) {
	found := runtime.GOMAXPROCS(0)
	half := groupFiles(map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"})
	three := groupFiles(map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"})
	for _, c := range []struct {
		name  string
		root  fstest.MapFS
		asked int
		env   string
		want  int
	}{
		{"half a processor is one thread", half, 0, "", 1},
		{"what is asked for counts", half, 3, "", 3},
		{"what the environment says counts", half, 0, "2", found},
		{"more than one processor is left to the runtime", three, 0, "", found},
		{"no limit is left to the runtime", nil, 0, "", found},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(found)
			if got := setThreads(c.root, c.asked, c.env); got != c.want || runtime.GOMAXPROCS(0) != c.want {
				t.Errorf("got %d, and %d in effect, want %d", got, runtime.GOMAXPROCS(0), c.want)
			}
		})
	}
}
