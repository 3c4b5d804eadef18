// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// stat is one line of statistics.
type stat struct {
	name, value string
}

// stats answers the stats command and its sub-commands. Refused ones have been answered before. False means that
// the connection is lost.
func (c *conn) stats(r *protocol.Request) bool {
	ws := c.ws
	c.publish()
	switch sub := string(r.Args[0]); sub {
	case "":
		c.appendStats(c.s.generalStats())
	case "settings":
		c.appendStats(c.s.settingsStats())
	case "items":
		c.appendStats(c.s.itemStats())
	case "slabs":
		c.appendStats(c.s.slabStats())
	case "sizes":
		if !c.leaveForSizes() {
			ws.out = append(ws.out, protocol.ReplyNoMemory...)
			return true
		}
		c.appendStats(c.s.sizeStats())
	case "engine":
		c.appendStats(c.s.engineStats())
	case "conns":
		c.appendStats(c.connStats())
	case "reset":
		c.s.resetStats()
		ws.out = append(ws.out, protocol.ReplyReset...)
	case "detail":
		c.statsDetail(string(r.Args[1]))
	case "cachedump":
		return c.cachedump(r)
	default:
		ws.out = append(ws.out, protocol.ReplyError...)
	}
	return true
}

func (c *conn) appendStats(stats []stat) {
	for _, st := range stats {
		c.ws.out = protocol.AppendStat(c.ws.out, st.name, st.value)
	}
	c.ws.out = append(c.ws.out, protocol.ReplyEnd...)
}

func (c *conn) statsDetail(what string) {
	switch what {
	case "on":
		c.s.detail.enabled.Store(true)
		c.ws.out = append(c.ws.out, protocol.ReplyOK...)
	case "off":
		c.s.detail.enabled.Store(false)
		c.ws.out = append(c.ws.out, protocol.ReplyOK...)
	case "dump":
		c.ws.out = c.s.detail.appendDump(c.ws.out)
		c.ws.out = append(c.ws.out, protocol.ReplyEnd...)
	default:
		c.ws.out = append(c.ws.out, protocol.ReplyDetailUsage...)
	}
}

func (s *Server) resetStats() {
	s.resetCounts()
	s.accepted.Store(0)
	for _, n := range s.refusals {
		n.Store(0)
	}
	s.acceptErrs.Store(0)
	s.disabledUs.Store(0)
	s.detail.reset()
	s.engine.ResetStats()
}

// numConns is how many clients are connected.
func (s *Server) numConns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// processTimes are the CPU times of the process in user and system mode.
func processTimes() (user, system time.Duration) {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0, 0
	}
	return time.Duration(usage.Utime.Nano()), time.Duration(usage.Stime.Nano())
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%d.%06d", d/time.Second, d%time.Second/time.Microsecond)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func zeroOne(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

func number[T int | int64 | uint64](n T) string {
	return fmt.Sprint(n)
}

// generalStats has memcached's keys in memcached's order. What has no counterpart here stays 0.
func (s *Server) generalStats() []stat {
	e := s.engine.Stats()
	all := slices.Concat(s.processStats(), s.commandStats(&e), s.machineryStats(&e), storageStats(&e))
	return slices.DeleteFunc(all, func(st stat) bool { return s.hides(st.name) })
}

// hides tells whether memcached leaves a key out, because what it counts was turned off.
func (s *Server) hides(name string) bool {
	switch name {
	case "idle_kicks":
		return s.cfg.IdleTimeout == 0
	case "lru_crawler_running", "lru_crawler_starts":
		return !s.crawler.enabled.Load()
	case "lru_maintainer_juggles", "evicted_active", "moves_to_cold", "moves_to_warm", "moves_within_lru",
		"direct_reclaims", "lru_bumps_dropped":
		return s.cfg.Settings.NoMaintainer
	default:
		moves := strings.HasPrefix(name, "slab_reassign_") || name == "slabs_moved"
		return moves && s.cfg.Settings.Given["slab_reassign"] == "no"
	}
}

func (s *Server) processStats() []stat {
	user, system := processTimes()
	conns, held := s.numConns(), s.transfer.used.Load()
	return []stat{
		{"pid", number(os.Getpid())},
		{"uptime", number(int64(time.Since(s.started).Seconds()))},
		{"time", number(time.Now().Unix())},
		{"version", s.cfg.Version},
		{"libevent", "none"},
		{"pointer_size", number(strconv.IntSize)},
		{"rusage_user", seconds(user)},
		{"rusage_system", seconds(system)},
		{"max_connections", number(s.cfg.MaxConnections)},
		{"curr_connections", number(conns)},
		{"total_connections", number(s.accepted.Load())},
		{"rejected_connections", number(s.rejected())},
		{"connection_structures", number(conns)},
		{"response_obj_oom", number(s.closes[reasonSlowReader].Load())},
		{"response_obj_count", "0"},
		{"response_obj_bytes", number(held)},
		{"read_buf_count", "0"},
		{"read_buf_bytes", "0"},
		{"read_buf_bytes_free", "0"},
		{"read_buf_oom", number(s.closes[reasonNoMemory].Load())},
		{"reserved_fds", "20"},
	}
}

func (s *Server) commandStats(e *engine.Stats) []stat {
	count := func(i counter) string { return number(s.count(i)) }
	stats := []stat{
		{"cmd_get", count(cmdGet)},
		{"cmd_set", count(cmdSet)},
		{"cmd_flush", count(cmdFlush)},
		{"cmd_touch", count(cmdTouch)},
		{"cmd_meta", count(cmdMeta)},
		{"get_hits", count(getHits)},
		{"get_misses", count(getMisses)},
		{"get_expired", number(e.FoundExpired)},
		{"get_flushed", number(e.FoundFlushed)},
		{"delete_misses", count(deleteMisses)},
		{"delete_hits", count(deleteHits)},
		{"incr_misses", count(incrMisses)},
		{"incr_hits", count(incrHits)},
		{"decr_misses", count(decrMisses)},
		{"decr_hits", count(decrHits)},
		{"cas_misses", count(casMisses)},
		{"cas_hits", count(casHits)},
		{"cas_badval", count(casBadval)},
		{"touch_hits", count(touchHits)},
		{"touch_misses", count(touchMisses)},
		{"store_too_large", count(storeTooLarge)},
		{"store_no_memory", count(storeNoMemory)},
		{"auth_cmds", count(authCmds)},
		{"auth_errors", count(authErrors)},
	}
	if s.cfg.IdleTimeout > 0 {
		stats = append(stats, stat{"idle_kicks", number(s.kicked())})
	}
	return append(stats, stat{"bytes_read", count(bytesRead)}, stat{"bytes_written", count(bytesWritten)})
}

func (s *Server) machineryStats(e *engine.Stats) []stat {
	return []stat{
		{"limit_maxbytes", number(e.LimitBytes)},
		{"accepting_conns", s.accepting()},
		{"listen_disabled_num", number(s.acceptErrs.Load())},
		{"time_in_listen_disabled_us", number(s.disabledUs.Load())},
		{"threads", number(s.cfg.Settings.Threads)},
		{"conn_yields", number(s.yields())},
		{"hash_power_level", number(int64(e.HashPower))},
		{"hash_bytes", "0"},
		{"hash_is_expanding", "0"},
		{"slab_reassign_rescues", "0"},
		{"slab_reassign_chunk_rescues", "0"},
		{"slab_reassign_inline_reclaim", "0"},
		{"slab_reassign_busy_items", "0"},
		{"slab_reassign_busy_deletes", "0"},
		{"slab_reassign_busy_nomem", "0"},
		{"slab_reassign_last_busy_status", "none"},
		{"slab_reassign_running", "0"},
		{"slabs_moved", "0"},
		{"lru_crawler_running", zeroOne(s.crawler.dumping.Load())},
		{"lru_crawler_starts", number(s.crawler.starts.Load())},
		{"lru_maintainer_juggles", "0"},
		{"malloc_fails", number(e.OutOfMemory)},
		{"log_worker_dropped", "0"},
		{"log_worker_written", number(s.watchers.written.Load())},
		{"log_watcher_skipped", number(s.watchers.skipped.Load())},
		{"log_watcher_sent", number(s.watchers.sent.Load())},
		{"log_watchers", number(s.watchers.count())},
		{"unexpected_napi_ids", "0"},
		{"round_robin_fallback", "0"},
	}
}

func storageStats(e *engine.Stats) []stat {
	return []stat{
		{"bytes", number(e.Bytes)},
		{"curr_items", number(e.CurrItems)},
		{"total_items", number(e.TotalItems)},
		{"slab_global_page_pool", "0"},
		{"expired_unfetched", number(e.ExpiredUnfetched)},
		{"evicted_unfetched", number(e.EvictedUnfetched)},
		{"evicted_active", "0"},
		{"evictions", number(e.Evictions)},
		{"reclaimed", number(e.Reclaimed)},
		{"crawler_reclaimed", number(e.Crawled)},
		{"crawler_items_checked", "0"},
		{"lrutail_reflocked", "0"},
		{"moves_to_cold", "0"},
		{"moves_to_warm", "0"},
		{"moves_within_lru", "0"},
		{"direct_reclaims", "0"},
		{"lru_bumps_dropped", "0"},
	}
}

func (s *Server) rejected() uint64 {
	return s.refusals[reasonTooMany].Load()
}

func (s *Server) accepting() string {
	if s.draining.Load() {
		return "0"
	}
	return "1"
}

// leaveForSizes lets a count of all items not keep others waiting. False means that there is no memory for that.
func (c *conn) leaveForSizes() bool {
	return !c.s.cfg.TrackSizes || c.leave()
}

// sizeStats counts the items by their size in steps of 32 bytes, if that was asked for. It looks at every item.
func (s *Server) sizeStats() []stat {
	if !s.cfg.TrackSizes {
		return []stat{{"sizes_status", "disabled"}}
	}
	const step = 32
	counts := make(map[int]uint64)
	s.engine.Range(func(key []byte, it engine.Item) bool {
		counts[(engine.ItemSize(len(key), it.Size, it.Flags)+step-1)/step*step]++
		return true
	})
	stats := make([]stat, 0, len(counts))
	for _, size := range slices.Sorted(maps.Keys(counts)) {
		stats = append(stats, stat{number(size), number(counts[size])})
	}
	return stats
}
