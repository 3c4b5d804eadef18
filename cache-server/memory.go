// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/memkeep/memkeep/cache-server/server"
)

// runtimeBytes is what the process takes beside items and connections: code, runtime, metrics.
const runtimeBytes = 16 << 20

// leastOverhead is what the process needs beside the items at the very least.
func leastOverhead(itemSize int64, connections int) int64 {
	return runtimeBytes + server.DefaultTransferBytes(int(itemSize), connections)
}

// fitsLimit refuses a budget that cannot fit the kernel's limit: better no start than to be killed when full.
func fitsLimit(limit, memory, itemSize int64, connections int) error {
	need := memory + leastOverhead(itemSize, connections)
	if limit == 0 || need <= limit {
		return nil
	}
	return fmt.Errorf("a budget of %d bytes, %d connections and items of %d bytes need %d bytes in all, "+
		"but the kernel's limit for this process is %d: raise the limit or lower the budget",
		memory, connections, itemSize, need, limit)
}

// heapLimit is what Go's heap may take of the kernel's limit: what items, page tables and sockets leave.
func heapLimit(limit, memory, itemSize int64, connections int) int64 {
	least := leastOverhead(itemSize, connections)
	if limit == 0 {
		return 2 * least
	}
	const (
		pageTables = 256      // one byte of them for so many of memory, with some to spare
		program    = 12 << 20 // the file's pages
		connection = 16 << 10 // what the kernel holds for each
	)
	return max(limit-memory-memory/pageTables-program-connection*int64(connections), least)
}
