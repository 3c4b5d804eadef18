// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strconv"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// slabClass is a slab class as tools see it: what the engine counts of items of its sizes, in chunks of the size
// that memcached would use.
type slabClass struct {
	engine.ClassStats
	number                string
	chunkSize, perPage    int64
	pages, chunks, filled int64
}

// slabsInUse are the classes that ever held an item, in order.
func (s *Server) slabsInUse() []slabClass {
	var slabs []slabClass
	for i, counted := range s.engine.Classes() {
		if !counted.Used || i >= len(s.classes.sizes) {
			continue
		}
		c := slabClass{ClassStats: counted, number: strconv.Itoa(i + 1), chunkSize: int64(s.classes.sizes[i])}
		c.perPage = max(slabPage/c.chunkSize, 1)
		c.filled = c.Items
		if i == len(s.classes.sizes)-1 { // what is larger than a chunk takes several
			c.filled = max(c.Items, (c.Bytes+c.chunkSize-1)/c.chunkSize)
		}
		c.pages = max((c.filled+c.perPage-1)/c.perPage, 1)
		c.chunks = c.pages * c.perPage
		slabs = append(slabs, c)
	}
	return slabs
}

// itemStats shows the classes that hold items. Without memcached's maintainer there are fewer keys, as there.
// What tells its queues apart stays 0: all items count as cold.
func (s *Server) itemStats() []stat {
	segmented := !s.cfg.Settings.NoMaintainer
	var stats []stat
	for _, c := range s.slabsInUse() {
		if c.Items == 0 {
			continue
		}
		prefix := "items:" + c.number + ":"
		add := func(shown bool, name string, value string) {
			if shown {
				stats = append(stats, stat{prefix + name, value})
			}
		}
		add(true, "number", number(c.Items))
		add(segmented, "number_hot", "0")
		add(segmented, "number_warm", "0")
		add(segmented, "number_cold", number(c.Items))
		add(segmented && s.cfg.Settings.Given["temp_lru"] == "yes", "number_temp", "0")
		add(segmented, "age_hot", "0")
		add(segmented, "age_warm", "0")
		add(true, "age", number(c.Age))
		add(true, "mem_requested", number(c.Bytes))
		add(true, "evicted", number(c.Evicted))
		add(true, "evicted_nonzero", number(c.EvictedNonzero))
		add(true, "evicted_time", number(c.EvictedTime))
		add(true, "outofmemory", number(c.OutOfMemory))
		add(true, "tailrepairs", "0")
		add(true, "reclaimed", number(c.Reclaimed))
		add(true, "expired_unfetched", number(c.ExpiredUnfetched))
		add(true, "evicted_unfetched", number(c.EvictedUnfetched))
		add(segmented, "evicted_active", "0")
		add(true, "crawler_reclaimed", number(c.Crawled))
		add(true, "crawler_items_checked", "0")
		add(true, "lrutail_reflocked", "0")
		for _, name := range []string{"moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims",
			"hits_to_hot", "hits_to_warm"} {
			add(segmented, name, "0")
		}
		add(segmented, "hits_to_cold", number(c.GetHits))
		add(segmented, "hits_to_temp", "0")
	}
	return stats
}

// slabStats shows the classes that ever held an item, and what memcached would have allocated for all of them.
func (s *Server) slabStats() []stat {
	var stats []stat
	pages := int64(0)
	slabs := s.slabsInUse()
	for i := range slabs {
		c := &slabs[i]
		pages += c.pages
		for _, st := range []stat{
			{"chunk_size", number(c.chunkSize)}, {"chunks_per_page", number(c.perPage)},
			{"total_pages", number(c.pages)}, {"total_chunks", number(c.chunks)},
			{"used_chunks", number(c.filled)}, {"free_chunks", number(c.chunks - c.filled)},
			{"free_chunks_end", "0"}, {"get_hits", number(c.GetHits)}, {"cmd_set", number(c.Sets)},
			{"delete_hits", number(c.DeleteHits)}, {"incr_hits", number(c.IncrHits)},
			{"decr_hits", number(c.DecrHits)}, {"cas_hits", number(c.CASHits)},
			{"cas_badval", number(c.CASBadval)}, {"touch_hits", number(c.TouchHits)},
		} {
			stats = append(stats, stat{c.number + ":" + st.name, st.value})
		}
	}
	// memcached would have no more pages than fit its limit, where more items fit here.
	limit := (s.engine.Stats().LimitBytes + slabPage - 1) / slabPage
	malloced := min(pages, limit) * slabPage
	return append(stats, stat{"active_slabs", number(len(slabs))}, stat{"total_malloced", number(malloced)})
}
