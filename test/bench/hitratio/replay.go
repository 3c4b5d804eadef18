// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/test/bench/subject"
)

// batchSize is how many reads are asked for at once. What missed is written before the next batch. All caches
// see the same batches.
const batchSize = 32

// cache is what a trace is replayed against.
type cache interface {
	gets(keys [][]byte, each func(i int, hit bool)) error
	set(key, value []byte) error
}

// workload is a trace made ready: each request is made in so many copies, each with objects of its own, so that
// a small trace fills a cache of a usual size and misses as often as before in one that is so much smaller.
type workload struct {
	reqs   []request
	copies int
	size   int // bytes of a value where the trace does not tell
}

// objects is how many different ones there are, copies included.
func (w *workload) objects() int {
	seen := make(map[uint64]struct{}, len(w.reqs)/4)
	for _, r := range w.reqs {
		seen[r.object] = struct{}{}
	}
	return len(seen) * w.copies
}

func (w *workload) requests() int { return len(w.reqs) * w.copies }

// batch is what is asked for at once.
type batch struct {
	c      cache
	keys   [batchSize][]byte
	sizes  [batchSize]uint32
	n      int
	missed map[string]bool
	misses int
	value  []byte
}

// add asks for one more object, 20 bytes of key each.
func (b *batch) add(copied int, object uint64, size uint32) error {
	b.keys[b.n] = fmt.Appendf(b.keys[b.n][:0], "%03x:%016x", copied, object)
	b.sizes[b.n] = size
	if b.n++; b.n < batchSize {
		return nil
	}
	return b.flush()
}

// flush reads the batch and writes what missed, in the order of the requests.
func (b *batch) flush() error {
	clear(b.missed)
	err := b.c.gets(b.keys[:b.n], func(i int, hit bool) {
		if !hit {
			b.misses++
			b.missed[string(b.keys[i])] = true
		}
	})
	if err != nil {
		return err
	}
	for i, key := range b.keys[:b.n] {
		if b.missed[string(key)] {
			delete(b.missed, string(key))
			if err := b.c.set(key, b.value[:b.sizes[i]]); err != nil {
				return err
			}
		}
	}
	b.n = 0
	return nil
}

// replay reads each object in turn and writes what is not there. It returns the misses. An object that is
// asked for twice in one batch is written once.
func (w *workload) replay(ctx context.Context, c cache) (misses int, err error) {
	b := &batch{c: c, missed: make(map[string]bool, batchSize), value: make([]byte, maxObjectSize)}
	for _, r := range w.reqs {
		size := r.size
		if size == 0 {
			size = uint32(w.size)
		}
		for copied := range w.copies {
			if err := b.add(copied, r.object, size); err != nil {
				return 0, err
			}
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	err = b.flush()
	return b.misses, err
}

// overSocket is a server that a trace is replayed against.
type overSocket struct{ c *subject.Client }

func (s overSocket) gets(keys [][]byte, each func(int, bool)) error { return s.c.Gets(keys, each) }

func (s overSocket) set(key, value []byte) error { return s.c.Set(key, value) }

// inProcess is an engine that a trace is replayed against.
type inProcess struct {
	e   *engine.Engine
	buf []byte
}

func (p *inProcess) gets(keys [][]byte, each func(int, bool)) error {
	for i, key := range keys {
		value, _, ok := p.e.Get(p.buf[:0], key)
		p.buf = value
		each(i, ok)
	}
	return nil
}

func (p *inProcess) set(key, value []byte) error {
	p.e.Apply(&engine.Mutation{Verb: engine.Set, Key: key, Value: value})
	return nil
}
