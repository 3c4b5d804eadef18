// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io/fs"
	"runtime"
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
