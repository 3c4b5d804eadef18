// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Report tells how an engine with a backing began.
type Report struct {
	// Warm tells that the items of the process before are there.
	Warm bool
	// Reason says why it began cold, or what changed with a warm start. It names no key.
	Reason string
	// Items is how many items are there.
	Items int64
}

// errEmpty is why a backing that was never used is not reattached.
var errEmpty = errors.New("the arena is new")

// attach reattaches what a graceful stop left in the backing. The seal is broken before anything else, so
// that only another graceful stop makes a seal. An error says why the engine must begin cold; nothing of it
// is used then.
func (e *Engine) attach(cfg *Config) error {
	b := cfg.Backing
	text, metaErr := b.takeMeta()
	buf := make([]byte, sealRecordSize)
	size, err := b.size()
	if err != nil {
		return err
	}
	if size == 0 {
		return errEmpty
	}
	if _, err := b.file.ReadAt(buf, 0); err != nil {
		return errors.New("the file is too short for an arena")
	}
	record, err := decodeRecord(buf)
	if err := errors.Join(metaErr, b.openRecord()); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if err := b.checkMeta(text, &record); err != nil {
		return err
	}
	if record.Size != uint64(size) || record.Trailer > record.Size ||
		uint64(record.TrailerSize) > record.Size-record.Trailer {
		return fmt.Errorf("the file has %d bytes, the seal says %d", size, record.Size)
	}
	trailer := make([]byte, record.TrailerSize)
	if _, err := b.file.ReadAt(trailer, int64(record.Trailer)); err != nil {
		return fmt.Errorf("read the trailer: %w", err)
	}
	if checksum(trailer) != record.TrailerSum {
		return errors.New("the trailer is damaged")
	}
	return e.attachTrailer(cfg, &record, trailer)
}

func (e *Engine) attachTrailer(cfg *Config, record *sealRecord, trailer []byte) error {
	head, parts, dir, sums, err := decodeTrailer(trailer)
	if err != nil {
		return err
	}
	if err := head.check(cfg, record); err != nil {
		return err
	}
	if head.Classes != e.classes.sum() {
		for i := range parts {
			parts[i].Classes = [maxSizeClasses]sealedClass{} // statistics alone suffer
		}
	}
	a, err := mapArena(cfg.Backing, unit(head.Units), uint(head.Shift), head.Reserved)
	if err != nil {
		return err
	}
	err = head.checkDescriptors(a)
	var set *adoption
	if err == nil {
		set, err = adopt(a, &head, parts, dir)
	}
	if err == nil {
		// The trailer stands where the next units go.
		err = cfg.Backing.cut(int64(record.Trailer))
	}
	if err != nil {
		return errors.Join(err, unix.Munmap(a.mem))
	}
	e.take(cfg, a, &head, set, sums)
	return nil
}

// check compares the configuration, and makes sure that the numbers that sizes follow from are sound.
func (h *sealedHead) check(cfg *Config, record *sealRecord) error {
	size := uint64(1) << h.Shift
	least := leastBudget(cfg.MaxItemSize, int(h.Parts), uint(h.Shift))
	switch {
	case h.ID != record.ID:
		return errors.New("the trailer is of another stop")
	case h.MaxItem != int64(cfg.MaxItemSize):
		return fmt.Errorf("the largest item was %d bytes, it is to be %d", h.MaxItem, cfg.MaxItemSize)
	case int(h.PageSize) != unix.Getpagesize():
		return fmt.Errorf("the kernel's pages had %d bytes, they have %d", h.PageSize, unix.Getpagesize())
	case cfg.MaxBytes < least || cfg.MaxBytes > h.Reserved:
		return fmt.Errorf("the budget of %d bytes is out of the arena's reach, which is from %d to %d",
			cfg.MaxBytes, least, h.Reserved)
	case h.Shift < minUnitShift || h.Shift > maxUnitShift || h.Parts == 0 || h.Parts&(h.Parts-1) != 0 ||
		h.High > h.Units || h.Reserved > maxReserve || uint64(h.Units) > uint64(h.Reserved)>>h.Shift+maxPartitions*4,
		record.Trailer != arenaEnd(h, size):
		return errors.New("the sizes in the trailer are not sound")
	}
	return nil
}

// arenaEnd is where the last unit in use ends.
func arenaEnd(h *sealedHead, size uint64) uint64 {
	return ((uint64(h.Units)+1)*descSize+size-1)&^(size-1) + uint64(h.High)*size
}

// checkDescriptors compares their checksum.
func (h *sealedHead) checkDescriptors(a *arena) error {
	if a.descriptorSum(unit(h.High)) != h.Descriptors {
		return errors.New("the descriptors are damaged")
	}
	return nil
}
