// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Seal ends the engine as Close does, and leaves its arena to the next process, which reattaches it with
// Open. It reads all data once for the checksums; if ctx ends before that is done, or if the file system
// has no room for the trailer, it returns an error and the next start is cold. Without a backing it is Close.
func (e *Engine) Seal(ctx context.Context) error {
	if !e.shut() {
		return nil
	}
	if e.arena.backing == nil {
		return e.unhold()
	}
	err := e.awaitReaders(ctx)
	if err == nil {
		err = e.seal(ctx)
	}
	return errors.Join(err, e.unhold())
}

// awaitReaders waits until no Snapshot holds a value any more.
func (e *Engine) awaitReaders(ctx context.Context) error {
	for e.claims.Load() > 1 {
		select {
		case <-ctx.Done():
			return fmt.Errorf("seal: values are still being read: %w", context.Cause(ctx))
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (e *Engine) seal(ctx context.Context) error {
	for i := range e.parts {
		// The next process then writes to no unit that it has not verified.
		e.parts[i].seal(queueSmall)
		e.parts[i].seal(queueMain)
	}
	// What is free goes back to the kernel: its content means nothing to the next process.
	for e.pool.residentN > 0 {
		u := e.pool.resident
		e.pool.resident = e.arena.desc(u).next
		e.pool.residentN--
		e.pool.giveBack(u)
		if e.pool.resident == u {
			return fmt.Errorf("seal: free unit %d cannot be given back", u)
		}
	}
	sums, err := e.checksums(ctx)
	if err != nil {
		return err
	}
	return e.writeSeal(sums)
}

// checksums computes the checksums of all units whose content matters, on all processors.
func (e *Engine) checksums(ctx context.Context) ([]uint32, error) {
	sums := make([]uint32, e.pool.high+1)
	var next atomic.Uint32
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for u := unit(next.Add(1)); u <= e.pool.high && ctx.Err() == nil; u = unit(next.Add(1)) {
				switch {
				case !isSummed(e.arena.desc(u).state):
				case int(u) < len(e.pending) && e.pending[u]:
					// Nobody has used it since it was sealed the last time.
					sums[u] = e.sums[u]
				default:
					sums[u] = e.arena.sum(u)
				}
			}
		})
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("seal: %w", context.Cause(ctx))
	}
	return sums, nil
}

// writeSeal writes the trailer, the record and the metadata file, in this order.
func (e *Engine) writeSeal(sums []uint32) error {
	head := e.sealedHead()
	_, _ = rand.Read(head.ID[:]) // never fails: see crypto/rand
	parts, dir := e.sealedParts()
	head.IndexUnits = uint32(len(dir))
	trailer := encodeTrailer(&head, parts, dir, sums)
	b, fd := e.arena.backing, int(e.arena.backing.file.Fd())
	at := int64(e.arena.start(e.pool.high + 1))
	if err := b.cut(at); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := b.reserve(at, int64(len(trailer))); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if _, err := b.file.WriteAt(trailer, at); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	// On a disk the data must be there before it is called sealed.
	if err := retry(func() error { return unix.Fdatasync(fd) }); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	size, err := b.size()
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	record := sealRecord{
		Magic: sealMagic, Layout: layoutVersion, State: arenaSealed, ID: head.ID,
		Trailer: uint64(at), Size: uint64(size), TrailerSize: uint32(len(trailer)), TrailerSum: checksum(trailer),
	}
	if err := b.writeRecord(&record); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if err := b.writeMeta(&record); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// writeRecord writes the record at the arena's start, durably.
func (b *Backing) writeRecord(r *sealRecord) error {
	if _, err := b.file.WriteAt(r.encode(), 0); err != nil {
		return fmt.Errorf("write the seal: %w", err)
	}
	if err := retry(func() error { return unix.Fdatasync(int(b.file.Fd())) }); err != nil {
		return fmt.Errorf("write the seal: %w", err)
	}
	return nil
}

// openRecord marks an arena as in use, which nothing but a graceful stop ends.
func (b *Backing) openRecord() error {
	return b.writeRecord(&sealRecord{Magic: sealMagic, Layout: layoutVersion, State: arenaOpen})
}

func (e *Engine) sealedHead() sealedHead {
	return sealedHead{
		MaxItem: int64(e.maxItem), PageSize: uint32(unix.Getpagesize()), Shift: uint32(e.arena.shift),
		Parts: uint32(len(e.parts)), Units: uint32(e.arena.units), Reserved: e.arena.reserved,
		Budget: e.pool.budget, Key: [2]uint64{e.key.a, e.key.b}, CAS: e.cas.Load(), Barrier: e.barrier.Load(),
		FlushAt: e.flushAt.Load(), Epoch: e.epoch, Second: e.Now(), High: uint32(e.pool.high),
		Returned: uint32(e.pool.returned), Used: e.pool.used,
		Descriptors: e.arena.descriptorSum(e.pool.high), Power: e.power.Load(), Classes: e.classes.sum(),
	}
}

// descriptorSum is the checksum of the descriptors of units 1 to high.
func (a *arena) descriptorSum(high unit) uint32 {
	return checksum(a.mem[descSize : (uint64(high)+1)*descSize])
}

func (e *Engine) sealedParts() (parts []sealedPart, dir []uint32) {
	parts = make([]sealedPart, len(e.parts))
	for i := range e.parts {
		p := &e.parts[i]
		for _, u := range p.idx.dir {
			dir = append(dir, uint32(u))
		}
		parts[i] = p.sealed()
	}
	return parts, dir
}

// sealed is what must be known of a partition to go on with it. There are no open segments.
func (p *partition) sealed() sealedPart {
	s := sealedPart{
		IndexUnits: uint32(len(p.idx.dir)), Spare: uint32(p.spare), Spares: uint32(p.spares),
		N: p.idx.n, Next: p.idx.next, Sweep: p.idx.sweep, Items: p.idx.items,
		Units: p.units.Load(), Dead: p.dead, Drain: uint32(p.drain.unit), Cursor: p.drain.cursor,
		DrainFlags: flagBits(p.drain.copying, p.drain.clean, p.drain.opened),
		Laps:       uint32(p.laps), CleanAt: uint32(p.cleanAt), Excess: flagBits(p.excess),
		Count: p.n.items, Bytes: p.n.bytes, Classes: p.sealedClasses(),
	}
	for q := range p.queues {
		l := &p.queues[q]
		s.Oldest[q], s.Newest[q], s.Segments[q] = uint32(l.oldest), uint32(l.newest), uint32(l.units)
	}
	return s
}

func flagBits(flags ...bool) (bits uint32) {
	for i, f := range flags {
		if f {
			bits |= 1 << i
		}
	}
	return bits
}
