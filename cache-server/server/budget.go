// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// budget bounds the bytes that all connections together hold while they wait for their clients: values on
// their way in, replies on their way out, partial requests.
type budget struct {
	sem   *semaphore.Weighted
	limit int64
	used  atomic.Int64
	peak  atomic.Int64
}

func newBudget(limit int64) *budget {
	return &budget{sem: semaphore.NewWeighted(limit), limit: limit}
}

// try takes n bytes if they are free.
func (b *budget) try(n int64) bool {
	if n == 0 {
		return true
	}
	if !b.sem.TryAcquire(n) {
		return false
	}
	b.note(n)
	return true
}

// wait takes n bytes, waiting for them in turn for at most the given time.
func (b *budget) wait(ctx context.Context, n int64, most time.Duration) bool {
	if b.try(n) {
		return true
	}
	if n > b.limit {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	if b.sem.Acquire(ctx, n) != nil {
		return false
	}
	b.note(n)
	return true
}

func (b *budget) note(n int64) {
	used := b.used.Add(n)
	for {
		peak := b.peak.Load()
		if used <= peak || b.peak.CompareAndSwap(peak, used) {
			return
		}
	}
}

// give returns n bytes.
func (b *budget) give(n int64) {
	if n == 0 {
		return
	}
	b.used.Add(-n)
	b.sem.Release(n)
}
