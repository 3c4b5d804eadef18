// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"math/bits"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ref is the place of a record: its byte offset in the arena. 0 is nil.
type ref uint64

// unit is the number of a unit of the arena, from 1. 0 is nil.
type unit uint32

// The states of a unit.
const (
	unitFree uint32 = iota
	unitSpare
	unitIndex
	unitOpen
	unitSealed
	unitDraining
	unitPinned // emptied, but a snapshot still holds a value in it
)

// unitDesc describes one unit. The descriptors stand at the arena's start, in the order of the units.
type unitDesc struct {
	next, prev unit   // neighbours in a list; next is the newer one in a queue
	state      uint32 // one of the unit states
	queue      uint8  // queueSmall or queueMain
	patience   uint8  // log2 of how many seconds the next walk for expired items is put off
	part       uint16 // the partition that owns it
	used       uint32 // bytes written so far
	live       uint32 // bytes of records that are not dead
	records    uint32 // records that are not dead
	largest    uint32 // size of the largest record ever written to it
	minExp     uint32 // no item in it expires before; 0 if none expires
	pins       uint32 // pieces of values in it that snapshots hold
	seq        uint64 // grows each time the unit becomes a segment
	base       uint64 // the version that those of its records are counted from
	born       uint32 // the second that their last accesses are counted from
	walkAt     uint32 // the second before which it is not walked for expired items
}

const (
	descSize   = uint64(unsafe.Sizeof(unitDesc{}))
	minReserve = 1 << 30
	maxReserve = 4 << 40
	expNever   = ^uint32(0)
)

// arena is one mapping for the whole life of an engine. It holds no Go pointers, so that the garbage
// collector neither sees nor scans it.
type arena struct {
	mem  []byte
	base unsafe.Pointer
	// lazy is not nil while units of a reattached arena are still to be verified. Each partition has a view
	// of the arena with its own, which its lock covers.
	lazy      *unverified
	backing   *Backing // nil if the mapping is anonymous
	described int64    // bytes of descriptors that are reserved in the backing
	shift     uint     // log2 of the unit's size
	dataStart uint64   // offset of unit 1
	units     unit     // how many units are reserved
	reserved  int64    // the largest budget that fits the reservation
	// Slots keep refs in refBits bits, without as many bits as grain, which are 0.
	refBits, grain uint
}

// newArena reserves address space for budgets up to several times the given one. Memory is committed
// by touching it.
func newArena(b *Backing, budget int64, shift uint, extraUnits int) (*arena, error) {
	want := min(max(4*budget, minReserve), max(maxReserve, budget))
	for {
		a, err := mapArena(b, unit(uint64(want)>>shift)+unit(extraUnits), shift, want)
		if err == nil {
			return a, nil
		}
		// A limit on address space may forbid the reserve; the budget itself must fit.
		if !errors.Is(err, unix.ENOMEM) || want == budget {
			return nil, err
		}
		want = max(want/2, budget)
	}
}

// mapArena maps room for so many units. Where a backing is shorter than that, it grows by reserve.
func mapArena(b *Backing, units unit, shift uint, reserved int64) (*arena, error) {
	size := uint64(1) << shift
	dataStart := ((uint64(units)+1)*descSize + size - 1) &^ (size - 1)
	length := int(dataStart + uint64(units)<<shift)
	fd, flags := -1, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE
	if b != nil {
		fd, flags = int(b.file.Fd()), unix.MAP_SHARED|unix.MAP_NORESERVE
	}
	mem, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("map arena of %d bytes: %w", length, err)
	}
	// Huge pages would make more resident than was touched, which the budget could not see. What
	// clients stored stays out of core dumps. Kernels without these advices lose nothing else.
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	a := &arena{
		mem: mem, base: unsafe.Pointer(unsafe.SliceData(mem)), shift: shift, backing: b,
		dataStart: dataStart, units: units, reserved: reserved,
	}
	a.refBits, a.grain = slotShape(uint64(len(mem)))
	return a, nil
}

// slotShape is how many bits a place in an arena takes in a slot, and how many more of it must be 0.
func slotShape(length uint64) (refBits, grain uint) {
	n := uint(bits.Len64(length - 1))
	refBits = min(n, slotBits-freqBits-minTagBits)
	return refBits, n - refBits
}

// close unmaps the arena and closes its backing.
func (a *arena) close() error {
	var err error
	if a.backing != nil {
		err = a.backing.Close()
	}
	if e := unix.Munmap(a.mem); e != nil {
		return errors.Join(err, fmt.Errorf("unmap arena: %w", e))
	}
	a.mem, a.base = nil, nil
	return err
}

// view is the same arena for one partition.
func (a *arena) view() *arena {
	v := *a
	return &v
}

func (a *arena) unitSize() uint32 { return 1 << a.shift }

func (a *arena) desc(u unit) *unitDesc {
	return (*unitDesc)(unsafe.Add(a.base, uint64(u)*descSize))
}

func (a *arena) start(u unit) ref { return ref(a.dataStart + uint64(u-1)<<a.shift) }

func (a *arena) unitOf(r ref) unit { return unit((uint64(r)-a.dataStart)>>a.shift) + 1 }

func (a *arena) bytes(r ref, n uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(a.base, r)), n)
}

// clear fills a unit with zeros.
func (a *arena) clear(u unit) { clear(a.bytes(a.start(u), a.unitSize())) }

// commit makes sure that a unit can be touched. Anonymous memory always can.
func (a *arena) commit(u unit) error {
	if a.backing == nil {
		return nil
	}
	return a.backing.reserve(int64(a.start(u)), int64(a.unitSize()))
}

// describe makes sure that the descriptors up to u can be touched.
func (a *arena) describe(u unit) error {
	n := metaBytes(u)
	if a.backing == nil || n <= a.described {
		return nil
	}
	if err := a.backing.reserve(a.described, n-a.described); err != nil {
		return err
	}
	a.described = n
	return nil
}

// release gives the unit's memory back to the kernel.
func (a *arena) release(u unit) error {
	off := uint64(a.start(u))
	if a.backing != nil {
		return a.backing.punch(int64(off), int64(a.unitSize()))
	}
	if err := unix.Madvise(a.mem[off:off+uint64(a.unitSize())], unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("release unit %d: %w", u, err)
	}
	return nil
}
