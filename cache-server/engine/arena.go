// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ref is the place of a record or bucket: its byte offset in the arena, a multiple of 8. 0 is nil.
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
	queue      uint16 // queueSmall or queueMain
	part       uint16 // the partition that owns it
	used       uint32 // bytes written so far
	live       uint32 // bytes of records that are not dead
	records    uint32 // records that are not dead
	largest    uint32 // size of the largest record ever written to it
	minExp     uint32 // no item in it expires before; 0 if none expires
	pins       uint32 // pieces of values in it that snapshots hold
	seq        uint64 // grows each time the unit becomes a segment
	_          [2]uint64
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
	mem       []byte
	base      unsafe.Pointer
	shift     uint   // log2 of the unit's size
	dataStart uint64 // offset of unit 1
	units     unit   // how many units are reserved
	reserved  int64  // the largest budget that fits the reservation
}

// newArena reserves address space for budgets up to several times the given one. Memory is committed
// by touching it.
func newArena(budget int64, shift uint, extraUnits int) (*arena, error) {
	want := min(max(4*budget, minReserve), max(maxReserve, budget))
	for {
		a, err := mapArena(want, shift, extraUnits)
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

func mapArena(budget int64, shift uint, extraUnits int) (*arena, error) {
	size := uint64(1) << shift
	units := uint64(budget)>>shift + uint64(extraUnits)
	dataStart := ((units+1)*descSize + size - 1) &^ (size - 1)
	mem, err := unix.Mmap(-1, 0, int(dataStart+units<<shift), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map arena of %d bytes: %w", dataStart+units<<shift, err)
	}
	// Huge pages would make more resident than was touched, which the budget could not see. What
	// clients stored stays out of core dumps. Kernels without these advices lose nothing else.
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	return &arena{
		mem: mem, base: unsafe.Pointer(unsafe.SliceData(mem)), shift: shift,
		dataStart: dataStart, units: unit(units), reserved: budget,
	}, nil
}

func (a *arena) close() error {
	if err := unix.Munmap(a.mem); err != nil {
		return fmt.Errorf("unmap arena: %w", err)
	}
	a.mem, a.base = nil, nil
	return nil
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

// release gives the unit's memory back to the kernel.
func (a *arena) release(u unit) error {
	off := uint64(a.start(u))
	if err := unix.Madvise(a.mem[off:off+uint64(a.unitSize())], unix.MADV_DONTNEED); err != nil {
		return fmt.Errorf("release unit %d: %w", u, err)
	}
	return nil
}
