// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package engine stores a cache's items, with memcached's semantics, within one budget of memory for
// items and index together. It knows no socket and no protocol.
//
// # Layout
//
// All of it lives in one anonymous mapping, the arena, outside the Go heap. Places are offsets, so that
// the garbage collector has nothing to look at.
//
//	arena   | descriptors, 64 bytes a unit | unit 1 | unit 2 | ...            | reserved |
//	                                         16 KiB to 256 KiB each
//
//	unit    free         resident (counted) or given back to the kernel (not counted)
//	        spare        held ready by a partition
//	        index        buckets of one cache line: | passed 2 | ghosts 8 x 1 | slot 6 x 9 |
//	                     slot: tag 8 to 16 bits | freq 2 bits | offset, the rest of 48
//	        segment      records, one behind the other:
//	                     item      | header 11 | [bits 1] | [exp 4] | [flags 4] | [cas 8] | [chain 10] | key | value |
//	                     fragment  | header 24 | value, goes on |
//
//	                      lock
//	partition             | index     units in order, resized in place (resize.go)
//	  hash picks one      | small     oldest <-> ... <-> newest   open segment
//	                      | main      oldest <-> ... <-> newest   open segment
//	                      | drain     the segment that is being emptied
//	                      | spares    1 to 3 free units
//	                      pool        all other units, under its own lock
//
// A new item is written to the open segment of the small queue, or of the main queue if its ghost, a
// few bits of its hash, tells that it was evicted lately. Where units run short the oldest segment of a
// queue is emptied, with each write by as much as that stored: items of the small queue that were used again
// move to the main queue, the others leave a ghost; items of the main queue that were used since the last
// look stay. This is S3-FIFO on a log: a hit writes two bits, and nothing is allocated or freed item by
// item. Segments in which much has died are emptied first, without evicting anything. An item that is
// overwritten by one of about its size stays where it is.
//
// So an item without expiry, flags and a CAS that a client chose takes 19 to 20 bytes beside its key and
// value, 8 to 9 of them in the index, and about one in a hundred of all memory is not in use at any moment.
// Versions and times of use are kept as distances from what the segment's descriptor says. An item that gets
// an expiry or a CAS which its record has no room for moves to another record.
//
// A value that does not fit the rest of a segment goes on in fragments, doubly linked, in the segments
// that follow. So there are no size classes, a large value needs no room in one piece, and any value
// that fits the budget can be stored: room for very large ones is gathered from all partitions.
//
// # Restart
//
// The arena may be a file or memfd instead of anonymous memory (backing.go). A graceful stop seals it
// (seal.go): what the engine keeps in Go memory goes into a trailer behind the last unit, together with a
// checksum for every unit; a record at the arena's start has the trailer's checksum. The next start breaks
// the seal before anything else, checks record, trailer and descriptors, and goes on where the last process
// stopped (attach.go, adopt.go); or it begins cold and says why. No item is read for that. Every access to a
// record or bucket verifies its unit first (verify.go), as does a goroutine in the background; what fails is
// taken out with its items (salvage.go).
//
// # Invariants
//
//   - A partition's lock covers its index and every byte of its units. No two partitions' locks are
//     ever held together. The order is Engine.big, partition.mu, pool.mu.
//   - Every unit ever handed out is in exactly one place: a segment, an index, a partition's spares, or
//     one of the pool's two lists. Units that may be resident, and the descriptors, are within the budget.
//   - An index entry points to a live item, each live item has one entry, and it is found from its home
//     bucket on, also while the index is resized: between the two only buckets are passed that count it.
//   - Versions are unique and rise. A CAS that a client chose is kept beside the version, never in its
//     place: what a flush hides is decided by versions alone.
//   - While a snapshot holds a value its segments are neither written where it stands nor used again,
//     whatever becomes of the item: an emptied one waits for the last release.
//   - A fragment is live as long as its item is, and lies in the same partition.
//   - Records never overlap, and one follows another without a gap up to the segment's used mark.
//   - Writers leave their partition at least one spare. Moving survivors out of a segment opens at most
//     one other segment, so that it always ends.
//   - Each operation does a bounded amount of work: it empties a few segments at most before items go
//     regardless of their use, and moves a few buckets of a resize.
//
// The tests check these after every step of random operations.
package engine
