// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/test/bench/peer"
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

// replay reads each object in turn and writes what is not there. It returns the misses. An object that is
// asked for twice in one batch is written once.
func (w *workload) replay(ctx context.Context, c cache) (misses int, err error) {
	keys := make([][]byte, batchSize)
	sizes := make([]uint32, batchSize)
	value := make([]byte, maxObjectSize)
	missed := make(map[string]uint32, batchSize)
	n := 0
	flush := func() error {
		clear(missed)
		err := c.gets(keys[:n], func(i int, hit bool) {
			if !hit {
				misses++
				missed[string(keys[i])] = sizes[i]
			}
		})
		if err != nil {
			return err
		}
		// In the order of the requests, so that every cache sees the same.
		for i := range n {
			if size, ok := missed[string(keys[i])]; ok {
				delete(missed, string(keys[i]))
				if err := c.set(keys[i], value[:size]); err != nil {
					return err
				}
			}
		}
		n = 0
		return ctx.Err()
	}
	for _, r := range w.reqs {
		size := r.size
		if size == 0 {
			size = uint32(w.size)
		}
		for copied := range w.copies {
			// Twenty bytes for every object.
			keys[n] = fmt.Appendf(keys[n][:0], "%03x:%016x", copied, r.object)
			sizes[n] = size
			if n++; n == batchSize {
				if err := flush(); err != nil {
					return 0, err
				}
			}
		}
	}
	return misses, flush()
}

// overSocket is a server that a trace is replayed against.
type overSocket struct{ c *peer.Client }

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
