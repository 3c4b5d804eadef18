// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"
)

// heapMetric is what Go's heap takes for objects, those included that are garbage and not collected yet.
const heapMetric = "/memory/classes/heap/objects:bytes"

// engineStats are what memcached has no counterpart for: where the memory is. Sizes are in bytes.
func (s *Server) engineStats() []stat {
	e := s.engine.Stats()
	heap := []metrics.Sample{{Name: heapMetric}}
	metrics.Read(heap)
	kernel := int64(0)
	if s.cfg.MemoryLimit != nil {
		kernel = s.cfg.MemoryLimit()
	}
	k, age := s.lock.Load(), int64(-1) // as long as no list has come
	if k.revision > 0 {
		age = int64(s.peersAge() / time.Second)
	}
	load := 0.0
	if e.IndexSlots > 0 {
		load = float64(e.CurrItems) / float64(e.IndexSlots)
	}
	return []stat{
		{"arena_limit", number(e.LimitBytes)},
		{"arena_mapped", number(e.MappedBytes)},
		{"arena_dead", number(e.DeadBytes)},
		{"arena_held", number(e.HeldBytes)},
		{"index_size", number(e.IndexBytes)},
		{"index_slots", number(e.IndexSlots)},
		{"index_load", strconv.FormatFloat(load, 'f', 2, 64)},
		{"evicted_for_memory", number(e.Evictions - e.IndexDrops)},
		{"evicted_for_index", number(e.IndexDrops)},
		{"reclaimed_expired", number(e.Reclaimed)},
		{"refused_out_of_memory", number(e.OutOfMemory)},
		{"refused_too_large", number(e.TooLarge)},
		{"lost_items", number(e.LostItems)},
		{"lost_units", number(e.LostUnits)},
		{"unverified_units", number(e.Unverified)},
		{"heap_objects", number(heap[0].Value.Uint64())},
		{"heap_limit", number(debug.SetMemoryLimit(-1))},
		{"goroutines", number(runtime.NumGoroutine())},
		{"transfer_held", number(s.transfer.used.Load())},
		{"transfer_peak", number(s.transfer.peak.Load())},
		{"transfer_limit", number(s.transfer.limit)},
		{"transfer_waiting", number(s.waiters.Load())},
		{"loops", number(len(s.allLoops()))},
		{"kernel_limit", number(kernel)},
		{"gate_open", yesNo(k.open)},
		{"peers_verified", yesNo(k.verified)},
		{"peers_revision", number(k.revision)},
		{"peers_listed", number(len(k.listed))},
		{"peers_age", number(age)},
		{"connections_held", number(s.lobby.len())},
	}
}
