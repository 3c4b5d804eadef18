// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is one metric and how its samples come about.
type metric struct {
	desc    *prometheus.Desc
	kind    prometheus.ValueType
	collect func(*snapshot, emit)
}

// emit gives one sample of a metric.
type emit func(value float64, labels ...string)

// Collector exports a server under the names of prometheus/memcached_exporter, so that dashboards and alerts
// that people have keep working, and what is our own under memkeep_cache.
type Collector struct {
	server  *Server
	metrics []metric
}

// NewCollector makes a collector. build is the version of the binary.
func NewCollector(s *Server, build string) *Collector {
	metrics := append(memcachedMetrics(), slabMetrics()...)
	metrics = append(metrics, ownMetrics(build)...)
	return &Collector{server: s, metrics: append(metrics, lockMetrics()...)}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	snap := c.server.snapshot()
	for _, m := range c.metrics {
		m.collect(snap, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
		})
	}
}

func newMetric(kind prometheus.ValueType, name, help string, labels []string, collect func(*snapshot, emit)) metric {
	return metric{desc: prometheus.NewDesc(name, help, labels, nil), kind: kind, collect: collect}
}

func gauge(name, help string, value func(*snapshot) float64) metric {
	return newMetric(prometheus.GaugeValue, name, help, nil, func(s *snapshot, e emit) { e(value(s)) })
}

func count(name, help string, value func(*snapshot) float64) metric {
	return newMetric(prometheus.CounterValue, name, help, nil, func(s *snapshot, e emit) { e(value(s)) })
}

func memcachedMetrics() []metric {
	return []metric{
		gauge("memcached_up", "Whether the cache answers.", func(*snapshot) float64 { return 1 }),
		count("memcached_uptime_seconds", "Seconds since the cache was started.",
			func(s *snapshot) float64 { return s.uptime.Seconds() }),
		gauge("memcached_time_seconds", "The cache's clock, in Unix seconds.",
			func(s *snapshot) float64 { return float64(s.now.Unix()) }),
		newMetric(prometheus.GaugeValue, "memcached_version", "The memcached version that the cache stands in for.",
			[]string{"version"}, func(s *snapshot, e emit) { e(1, s.version) }),
		count("memcached_process_user_cpu_seconds_total", "CPU time spent in user mode.",
			func(s *snapshot) float64 { return s.user.Seconds() }),
		count("memcached_process_system_cpu_seconds_total", "CPU time spent in the kernel.",
			func(s *snapshot) float64 { return s.system.Seconds() }),
		count("memcached_read_bytes_total", "Bytes received from clients.",
			func(s *snapshot) float64 { return s.count(bytesRead) }),
		count("memcached_written_bytes_total", "Bytes sent to clients.",
			func(s *snapshot) float64 { return s.count(bytesWritten) }),
		gauge("memcached_current_connections", "Connected clients.",
			func(s *snapshot) float64 { return float64(s.conns) }),
		gauge("memcached_max_connections", "How many clients may be connected.",
			func(s *snapshot) float64 { return float64(s.maxConns) }),
		count("memcached_connections_total", "Connections accepted.",
			func(s *snapshot) float64 { return float64(s.accepted) }),
		count("memcached_connections_rejected_total", "Connections refused because too many were open.",
			func(s *snapshot) float64 { return float64(s.refused[reasonTooMany]) }),
		count("memcached_connections_yielded_total", "Times that a connection let others go first.",
			func(s *snapshot) float64 { return float64(s.yields) }),
		count("memcached_connections_listener_disabled_total", "Times that accepting a connection failed.",
			func(s *snapshot) float64 { return float64(s.acceptErrors) }),
		gauge("memcached_accepting_connections", "Whether new connections are accepted.",
			func(s *snapshot) float64 { return oneIf(!s.draining) }),
		gauge("memcached_current_bytes", "Bytes of the items held.",
			func(s *snapshot) float64 { return float64(s.engine.Bytes) }),
		gauge("memcached_limit_bytes", "Bytes that items and index may take.",
			func(s *snapshot) float64 { return float64(s.engine.LimitBytes) }),
		gauge("memcached_malloced_bytes", "Bytes mapped for items and index.",
			func(s *snapshot) float64 { return float64(s.engine.MappedBytes) }),
		newMetric(prometheus.CounterValue, "memcached_commands_total", "Commands by name and outcome.",
			[]string{"command", "status"}, collectCommands),
		gauge("memcached_current_items", "Items held.",
			func(s *snapshot) float64 { return float64(s.engine.CurrItems) }),
		count("memcached_items_total", "Items stored.",
			func(s *snapshot) float64 { return float64(s.engine.TotalItems) }),
		count("memcached_items_evicted_total", "Unexpired items removed to make room.",
			func(s *snapshot) float64 { return float64(s.engine.Evictions) }),
		count("memcached_items_reclaimed_total", "Expired items whose room was taken back.",
			func(s *snapshot) float64 { return float64(s.engine.Reclaimed) }),
		count("memcached_item_too_large_total", "Values refused for their size.",
			func(s *snapshot) float64 { return s.count(storeTooLarge) }),
		count("memcached_item_no_memory_total", "Values refused because there was no room.",
			func(s *snapshot) float64 { return s.count(storeNoMemory) }),
		count("memcached_direct_reclaims_total", "Reclaims done by a request itself; always 0.", zero),
		gauge("memcached_lru_crawler_enabled", "Whether a crawler runs.",
			func(s *snapshot) float64 { return oneIf(s.crawls) }),
		count("memcached_lru_crawler_starts_total", "Times that clients had the crawler start.",
			func(s *snapshot) float64 { return float64(s.crawlStarts) }),
		count("memcached_lru_crawler_reclaimed_total", "Expired items reclaimed that nobody had asked for.",
			func(s *snapshot) float64 { return float64(s.engine.Crawled) }),
		count("memcached_lru_crawler_items_checked_total", "Items seen by a crawler; always 0.", zero),
	}
}

func zero(*snapshot) float64 { return 0 }

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// collectCommands gives commands by outcome. What cas counts is not counted as set once more.
func collectCommands(s *snapshot, e emit) {
	for _, c := range []struct {
		counter         counter
		command, status string
	}{
		{getHits, "get", "hit"}, {getMisses, "get", "miss"},
		{deleteHits, "delete", "hit"}, {deleteMisses, "delete", "miss"},
		{incrHits, "incr", "hit"}, {incrMisses, "incr", "miss"},
		{decrHits, "decr", "hit"}, {decrMisses, "decr", "miss"},
		{casHits, "cas", "hit"}, {casMisses, "cas", "miss"}, {casBadval, "cas", "badval"},
		{touchHits, "touch", "hit"}, {touchMisses, "touch", "miss"},
		{cmdFlush, "flush", "hit"},
	} {
		e(s.count(c.counter), c.command, c.status)
	}
	e(max(s.count(cmdSet)-s.count(casHits)-s.count(casMisses)-s.count(casBadval), 0), "set", "hit")
}

// slabMetrics show the classes of sizes, because dashboards and alerts ask for slabs.
func slabMetrics() []metric {
	slab := func(kind prometheus.ValueType, name, help string, value func(*slabClass) float64) metric {
		return newMetric(kind, "memcached_slab_"+name, help, []string{"slab"}, func(s *snapshot, e emit) {
			for i := range s.slabs {
				e(value(&s.slabs[i]), s.slabs[i].number)
			}
		})
	}
	const g, c = prometheus.GaugeValue, prometheus.CounterValue
	return []metric{
		slab(g, "current_items", "Items in the class.", func(s *slabClass) float64 { return float64(s.Items) }),
		slab(g, "items_age_seconds", "Seconds since the use of the item used least lately, as far as is known.",
			func(s *slabClass) float64 { return float64(s.Age) }),
		slab(c, "items_evicted_total", "Unexpired items removed from the class to make room.",
			func(s *slabClass) float64 { return float64(s.Evicted) }),
		slab(c, "items_evicted_nonzero_total", "Evicted items that would have expired some time.",
			func(s *slabClass) float64 { return float64(s.EvictedNonzero) }),
		slab(c, "items_evicted_unfetched_total", "Evicted items that were never read.",
			func(s *slabClass) float64 { return float64(s.EvictedUnfetched) }),
		slab(g, "items_evicted_time_seconds", "Seconds that the item evicted last had not been used.",
			func(s *slabClass) float64 { return float64(s.EvictedTime) }),
		slab(c, "items_expired_unfetched_total", "Expired items that were never read.",
			func(s *slabClass) float64 { return float64(s.ExpiredUnfetched) }),
		slab(c, "items_reclaimed_total", "Expired items whose room was taken back.",
			func(s *slabClass) float64 { return float64(s.Reclaimed) }),
		slab(c, "items_crawler_reclaimed_total", "Reclaimed items that nobody had asked for.",
			func(s *slabClass) float64 { return float64(s.Crawled) }),
		slab(c, "items_outofmemory_total", "Items that found no room.",
			func(s *slabClass) float64 { return float64(s.OutOfMemory) }),
		slab(g, "chunk_size_bytes", "Size of a chunk, as memcached would use.",
			func(s *slabClass) float64 { return float64(s.chunkSize) }),
		slab(g, "chunks_per_page", "Chunks of a page.", func(s *slabClass) float64 { return float64(s.perPage) }),
		slab(g, "current_pages", "Pages that the items would fill.",
			func(s *slabClass) float64 { return float64(s.pages) }),
		slab(g, "current_chunks", "Chunks of these pages.", func(s *slabClass) float64 { return float64(s.chunks) }),
		slab(g, "chunks_used", "Chunks that items fill.", func(s *slabClass) float64 { return float64(s.filled) }),
		slab(g, "chunks_free", "Chunks without items.",
			func(s *slabClass) float64 { return float64(s.chunks - s.filled) }),
		slab(g, "mem_requested_bytes", "Bytes of the items in the class.",
			func(s *slabClass) float64 { return float64(s.Bytes) }),
		newMetric(c, "memcached_slab_commands_total", "Commands by class, name and outcome.",
			[]string{"slab", "command", "status"}, collectSlabCommands),
		newMetric(c, "memcached_slab_lru_hits_total", "Reads by class and queue.", []string{"slab", "lru"},
			func(s *snapshot, e emit) {
				for i := range s.slabs {
					for _, lru := range []string{"hot", "warm", "temporary"} {
						e(0, s.slabs[i].number, lru)
					}
					e(float64(s.slabs[i].GetHits), s.slabs[i].number, "cold")
				}
			}),
	}
}

func collectSlabCommands(s *snapshot, e emit) {
	for i := range s.slabs {
		c := &s.slabs[i]
		for _, n := range []struct {
			count           uint64
			command, status string
		}{
			{c.GetHits, "get", "hit"}, {c.DeleteHits, "delete", "hit"}, {c.IncrHits, "incr", "hit"},
			{c.DecrHits, "decr", "hit"}, {c.CASHits, "cas", "hit"}, {c.CASBadval, "cas", "badval"},
			{c.TouchHits, "touch", "hit"}, {c.Sets - min(c.CASHits+c.CASBadval, c.Sets), "set", "hit"},
		} {
			e(float64(n.count), c.number, n.command, n.status)
		}
	}
}

func ownMetrics(build string) []metric {
	return []metric{
		newMetric(prometheus.GaugeValue, "memkeep_cache_build_info", "The version of this cache server.",
			[]string{"version", "goversion"}, func(_ *snapshot, e emit) { e(1, build, runtime.Version()) }),
		newMetric(prometheus.CounterValue, "memkeep_cache_connections_refused_total",
			"Connections refused before anything was read, by reason.", []string{"reason"},
			func(s *snapshot, e emit) { collectReasons(s.refused, e) }),
		newMetric(prometheus.CounterValue, "memkeep_cache_connections_closed_total",
			"Connections closed by the server, by reason.", []string{"reason"},
			func(s *snapshot, e emit) { collectReasons(s.closed, e) }),
		count("memkeep_cache_connections_drained_total", "Connections that were open when draining began.",
			func(s *snapshot) float64 { return float64(s.drained) }),
		gauge("memkeep_cache_held_bytes", "Bytes held for requests and replies in transit.",
			func(s *snapshot) float64 { return float64(s.held) }),
		gauge("memkeep_cache_held_limit_bytes", "Bytes that may be held for requests and replies in transit.",
			func(s *snapshot) float64 { return float64(s.heldLimit) }),
		gauge("memkeep_cache_held_peak_bytes", "Most bytes ever held for requests and replies in transit.",
			func(s *snapshot) float64 { return float64(s.heldPeak) }),
	}
}

// lockMetrics show the engine's own lock: see lock.go.
func lockMetrics() []metric {
	return []metric{
		gauge("memkeep_cache_gate_open", "Whether clients are answered at all.",
			func(s *snapshot) float64 { return oneIf(s.lock.open) }),
		gauge("memkeep_cache_peers_verified", "Whether nobody but listed addresses is served.",
			func(s *snapshot) float64 { return oneIf(s.lock.verified) }),
		gauge("memkeep_cache_peers_listed", "Addresses in the list of peers.",
			func(s *snapshot) float64 { return float64(len(s.lock.listed)) }),
		newMetric(prometheus.GaugeValue, "memkeep_cache_peers_age_seconds",
			"Seconds since the operator last confirmed the list of peers; absent while there is none.", nil,
			func(s *snapshot, e emit) {
				if s.lock.revision > 0 {
					e(s.peersAge.Seconds())
				}
			}),
		gauge("memkeep_cache_connections_held", "Connections that wait unread until the lock admits them.",
			func(s *snapshot) float64 { return float64(s.lobby) }),
		count("memkeep_cache_connections_held_total", "Connections that had to wait for the lock.",
			func(s *snapshot) float64 { return float64(s.heldTotal) }),
		count("memkeep_cache_probes_total", "Connections by which a probe told its nonce.",
			func(s *snapshot) float64 { return float64(s.probes) }),
	}
}

func collectReasons(reasons map[string]uint64, e emit) {
	for reason, n := range reasons {
		e(float64(n), reason)
	}
}

// duration since the start is rounded, so that two scrapes of one moment agree.
func (s *Server) uptime() time.Duration {
	return time.Since(s.started).Truncate(time.Millisecond)
}
