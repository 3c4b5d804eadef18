// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

// Limits of what an engine accepts.
const (
	// MaxKeyLen is the longest key in bytes.
	MaxKeyLen = 250
	// MinBytes is the smallest budget an engine works with.
	MinBytes = 1 << 20
	// MinItemSize is the smallest MaxItemSize that may be configured.
	MinItemSize = 1 << 10
)

// Config says how large an engine may grow and which clock it follows.
type Config struct {
	// MaxBytes is the budget for items and index together, in bytes. It is at least MinBytes.
	MaxBytes int64
	// MaxItemSize is the largest item accepted, in bytes as ItemSize counts them.
	// It lies between MinItemSize and half of MaxBytes.
	MaxItemSize int
	// Now is the engine's clock in whole seconds. It must never step back. Nil means the real clock:
	// Unix seconds at the start, carried on by monotonic time, so that it never jumps with wall time.
	Now func() int64
	// NoEvict has mutations end with OutOfMemory where room could only be made by evicting. A budget that falls
	// evicts all the same.
	NoEvict bool
	// Backing is where the items outlive the process, between Seal and Open. The engine owns it from Open
	// on. Nil means memory that ends with the process.
	Backing *Backing
	// OnLoss is told of items that were dropped because their memory failed its checksum after a restart.
	// It is called with a lock held: it must return soon and not call the engine.
	OnLoss func(Loss)
	// SizeClasses are the upper bounds, rising, of classes of item sizes by which Classes counts, in bytes as
	// ItemSize counts them; the last class takes whatever is larger. They are multiples of 8, at most 64 of them.
	SizeClasses []int
}

// Item is what is known of a stored item besides its key and value.
type Item struct {
	// Flags are the client's, kept as given.
	Flags uint32
	// CAS is the version of the item. No two versions of any items share one, and later ones are larger.
	CAS uint64
	// Expires is the engine second from which the item is gone; 0 means never.
	Expires int64
	// Size is the length of the value in bytes.
	Size int
	// LastAccess is the engine second of the last use before this operation.
	LastAccess int64
	// Fetched tells whether the item was read before this operation, since it was stored.
	Fetched bool
	// Stale tells whether the item was marked as no longer true: see Mutation.Invalidate.
	Stale bool
	// WinSent tells whether somebody was told before this operation to make the item anew.
	WinSent bool
	// BinaryKey tells whether the key was given in base64, so that it must be shown so.
	BinaryKey bool
}

// Read is a read with conditions and side effects, all in one atomic step. Its zero value beside the key
// is a plain read. It has what memcached's mg does (protocol.txt, "Meta Get").
type Read struct {
	// Key is the key, 1 to MaxKeyLen bytes long.
	Key []byte
	// NoValue leaves the value out.
	NoValue bool
	// Plain lets the read win nothing: who reads has not asked for that.
	Plain bool
	// NoBump lets the read count neither as a use nor as a fetch.
	NoBump bool
	// UnlessCAS leaves the value out if HasUnlessCAS is set and the item's CAS is this one.
	UnlessCAS    uint64
	HasUnlessCAS bool
	// Touch sets the expiry to Expires, as in a Mutation.
	Touch   bool
	Expires int64
	// RecacheTouched lets Recache look at the expiry that Touch sets instead of the one before.
	RecacheTouched bool
	// Vivify stores an empty value that expires at VivifyExpires if there is no item; who reads has won.
	// BinaryKey is kept with it.
	Vivify        bool
	VivifyExpires int64
	BinaryKey     bool
	// Recache lets the first reader win whose item expires before the engine second RecacheBefore.
	// Items that never expire are not won that way.
	Recache       bool
	RecacheBefore int64
	// NewCAS is the CAS of a vivified item if HasNewCAS is set.
	NewCAS    uint64
	HasNewCAS bool
	// Hold, if it is not nil, takes a value of SnapshotSize bytes or more in place of a copy. What it
	// held before is released.
	Hold *Snapshot
}

// ReadResult is the answer to a Read.
type ReadResult struct {
	// Item is the item as it is after the read, with LastAccess, Fetched and WinSent as they were before.
	Item Item
	// Hit tells that there is an item, a vivified one included.
	Hit bool
	// Created tells that the item was vivified.
	Created bool
	// Won tells that the reader is the one who should make the item anew: it was vivified, or is stale or
	// about to expire, and nobody was told before.
	Won bool
	// HasValue tells that the value was appended, or is held.
	HasValue bool
	// Held tells that Hold has the value.
	Held bool
	// OutOfMemory tells that Hold was to have the value, and held values take too much memory already.
	OutOfMemory bool
	// OldExpires is the expiry before the read changed it.
	OldExpires int64
}

// Verb names what a Mutation does.
type Verb uint8

// The verbs of a Mutation, named as in the memcached protocol.
const (
	// Set stores the value whether or not the key exists.
	Set Verb = iota
	// Add stores the value if the key does not exist.
	Add
	// Replace stores the value if the key exists.
	Replace
	// Append puts the value behind the stored one and keeps its flags and expiry.
	Append
	// Prepend puts the value before the stored one and keeps its flags and expiry.
	Prepend
	// CompareAndSwap stores the value if the stored item's CAS is the given one.
	CompareAndSwap
	// Increment adds Delta to a decimal number and wraps at 2^64.
	Increment
	// Decrement subtracts Delta from a decimal number and stops at 0.
	Decrement
	// Touch changes the expiry alone.
	Touch
	// Delete removes the item.
	Delete

	// makeExpire gives an item room for an expiry, and changes nothing that clients could see.
	makeExpire
)

// Mutation is one change of one key.
type Mutation struct {
	// Verb is what to do.
	Verb Verb
	// Key is the key, 1 to MaxKeyLen bytes long.
	Key []byte
	// Value is what to store, append or prepend, and More what follows it, piece by piece.
	Value []byte
	More  [][]byte
	// Flags are stored with Set, Add, Replace and CompareAndSwap.
	Flags uint32
	// Expires is the absolute engine second from which the item is gone: 0 means never, a negative
	// second or one that has passed means at once. Used by Set, Add, Replace, CompareAndSwap and Touch.
	Expires int64
	// CAS is compared with the stored item's by CompareAndSwap, and by every other verb if it is not 0
	// or HasCAS is set.
	CAS    uint64
	HasCAS bool
	// Delta is what Increment adds and Decrement subtracts.
	Delta uint64

	// NewCAS is the CAS that the item gets if HasNewCAS is set; else the engine takes the next of its own.
	NewCAS    uint64
	HasNewCAS bool
	// BinaryKey is kept with a stored item. What Append and Prepend make of an item loses it, as in memcached.
	BinaryKey bool
	// SetExpiry lets Increment, Decrement and an invalidating Delete set the expiry to Expires too.
	SetExpiry bool
	// Vivify lets Append, Prepend, Increment and Decrement of a missing key store Value, or Initial in
	// decimal, with VivifyExpires.
	Vivify        bool
	VivifyExpires int64
	Initial       uint64
	// Invalidate lets Delete mark the item stale and forget who has won, instead of removing it; and lets
	// CompareAndSwap store a value whose CAS is below the item's, marked stale, with the old expiry and
	// winner.
	Invalidate bool
	// DropValue lets Delete leave an empty value with Flags and Expires in the item's place, with its CAS
	// unless NewCAS is given.
	DropValue bool

	// state are bits that a stored item starts with.
	state uint16
}

// ValueLen is the length of Value and More together in bytes.
func (m *Mutation) ValueLen() int {
	n := len(m.Value)
	for _, piece := range m.More {
		n += len(piece)
	}
	return n
}

// Outcome says how a Mutation ended.
type Outcome uint8

// The outcomes of a Mutation.
const (
	// Stored means the value was stored; Increment and Decrement report it as well.
	Stored Outcome = iota
	// NotStored means the condition of Add, Replace, Append or Prepend did not hold.
	NotStored
	// NotFound means that there is no such item.
	NotFound
	// Exists means that the stored item has another CAS than the one given.
	Exists
	// TooLarge means that the item would be larger than MaxItemSize (or its key than MaxKeyLen).
	// A Set that ends so has removed the old item, as in memcached: stale data must not survive it.
	// Every other verb leaves the old item alone.
	TooLarge
	// OutOfMemory means that no room could be made. A Set that ends so has removed the old item.
	OutOfMemory
	// NonNumeric means that the stored value is no decimal number.
	NonNumeric
	// Touched means that the expiry was changed.
	Touched
	// Deleted means that the item was removed.
	Deleted
)

// Result is the answer to a Mutation.
type Result struct {
	// Outcome says how it ended.
	Outcome Outcome
	// CAS is the CAS of the item as it is now, for Stored and Touched; else 0.
	CAS uint64
	// Number is the new value after Increment and Decrement.
	Number uint64
	// Item is the item as it is now, for Stored and Touched, and for a Delete that left it there.
	Item Item
	// Created tells that there was no such item before, for Stored.
	Created bool
	// OldExpires is the expiry before, for Increment and Decrement that stored.
	OldExpires int64
}

// Stats are the engine's counters at one moment.
type Stats struct {
	// CurrItems is how many items are held, those included that have expired and are not reclaimed yet.
	CurrItems int64
	// TotalItems is how many items have been stored since the start or the last ResetStats.
	TotalItems uint64
	// Bytes is the size of the held items as ItemSize counts them.
	Bytes int64
	// LimitBytes is the budget.
	LimitBytes int64
	// MappedBytes is how much of the arena, items and index, may be resident in memory.
	MappedBytes int64
	// Evictions counts items that were removed unexpired to make room.
	Evictions uint64
	// Reclaimed counts expired items whose room was taken back.
	Reclaimed uint64
	// ExpiredUnfetched counts reclaimed items that were never read.
	ExpiredUnfetched uint64
	// EvictedUnfetched counts evicted items that were never read.
	EvictedUnfetched uint64
	// OutOfMemory counts mutations that found no room.
	OutOfMemory uint64
	// TooLarge counts mutations that were refused for their size.
	TooLarge uint64
	// DeadBytes is how much of what is mapped was taken by items that are gone, and was not taken back yet.
	DeadBytes int64
	// HeldBytes is the memory that values in the hands of Snapshots keep from being used for anything else.
	HeldBytes int64
	// IndexBytes is the memory of the index, IndexSlots how many items it has places for, and IndexDrops how many
	// items were evicted because it could not grow. Evictions counts those as well.
	IndexBytes int64
	IndexSlots uint64
	IndexDrops uint64
	// HashPower is the level that the hash table of a memcached would have that holds as many items, and has
	// kept since it held the most.
	HashPower uint32
	// LostItems counts items whose memory failed its checksum after a restart.
	LostItems uint64
	// LostUnits counts the pieces of the arena that failed.
	LostUnits uint64
	// Unverified is how many pieces of a reattached arena are still to be verified.
	Unverified int64
	// FoundExpired and FoundFlushed count looks at items that were no longer there for that reason.
	FoundExpired, FoundFlushed uint64
	// Crawled counts reclaimed items that nobody had asked for.
	Crawled uint64
}

// ItemSize is the size of an item as limits and statistics count it: memcached's own count for an
// item with CAS, so that the same values fit under the same limit.
func ItemSize(keyLen, valueLen int, flags uint32) int {
	const header, terminators, cas, flagBytes = 48, 3, 8, 4
	n := header + cas + terminators + keyLen + valueLen
	if flags != 0 {
		n += flagBytes
	}
	return n
}

// String is the name of the verb.
func (v Verb) String() string {
	switch v {
	case Set:
		return "Set"
	case Add:
		return "Add"
	case Replace:
		return "Replace"
	case Append:
		return "Append"
	case Prepend:
		return "Prepend"
	case CompareAndSwap:
		return "CompareAndSwap"
	case Increment:
		return "Increment"
	case Decrement:
		return "Decrement"
	case Touch:
		return "Touch"
	case Delete:
		return "Delete"
	default:
		return "Unknown"
	}
}

// String is the name of the outcome.
func (o Outcome) String() string {
	switch o {
	case Stored:
		return "Stored"
	case NotStored:
		return "NotStored"
	case NotFound:
		return "NotFound"
	case Exists:
		return "Exists"
	case TooLarge:
		return "TooLarge"
	case OutOfMemory:
		return "OutOfMemory"
	case NonNumeric:
		return "NonNumeric"
	case Touched:
		return "Touched"
	case Deleted:
		return "Deleted"
	default:
		return "Unknown"
	}
}
