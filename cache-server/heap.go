// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// heapPeriod is how often the heap's limit follows what has changed: the budget's fall, as far as the arena has
// got, and the kernel's limit, which a pod's resize moves.
const heapPeriod = time.Second

// heap keeps the Go runtime's soft limit (GOMEMLIMIT) at what the arena leaves of the kernel's limit, so that
// garbage is collected before it counts.
type heap struct {
	root        fs.FS // where the kernel's limits are read
	itemSize    int64
	connections int
	// always sets the limit even if the kernel sets none.
	always  bool
	set     func(bytes int64) // debug.SetMemoryLimit
	last    int64
	changed chan struct{} // holds one if the budget has changed
}

func newHeap(itemSize int64, connections int, always bool) *heap {
	return &heap{
		root: os.DirFS("/"), itemSize: itemSize, connections: connections, always: always,
		set: func(bytes int64) { debug.SetMemoryLimit(bytes) }, changed: make(chan struct{}, 1),
	}
}

// kernelLimit is the kernel's limit for this process in bytes, 0 if there is none.
func (h *heap) kernelLimit() int64 { return memoryLimit(h.root) }

// admit refuses a budget that cannot fit the kernel's limit.
func (h *heap) admit(budget int64) error {
	return fitsLimit(h.kernelLimit(), budget, h.itemSize, h.connections)
}

// follow sets the limit for an arena that may take so many bytes.
func (h *heap) follow(arena int64) {
	limit := h.kernelLimit()
	if limit == 0 && !h.always && h.last == 0 {
		return
	}
	if bytes := heapLimit(limit, arena, h.itemSize, h.connections); bytes != h.last {
		h.last = bytes
		h.set(bytes)
	}
}

// kick makes watch look at once.
func (h *heap) kick() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// watch follows the engine's budget and the kernel's limit until ctx ends or its result is called. Where the
// budget rises, the heap's limit falls at once; where it falls, the limit rises as the arena gives memory back.
func (h *heap) watch(ctx context.Context, e *engine.Engine) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(heapPeriod)
		defer ticker.Stop()
		for {
			budget, mapped := e.Budget()
			h.follow(max(budget, mapped))
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			case <-h.changed:
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}
