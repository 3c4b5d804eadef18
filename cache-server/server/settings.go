// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// Settings are what stats settings tells that the server itself does not need.
type Settings struct {
	// Port is the TCP port, 0 if there is none.
	Port int
	// Interface is the address given to listen on, as given.
	Interface string
	// Socket is the path of the UNIX socket, empty if there is none.
	Socket string
	// Threads is how many threads execute requests at once.
	Threads int
	// Umask is the access to the UNIX socket in octal digits, 700 if empty.
	Umask string
	// Backlog is how many connections may wait to be accepted; 0 means the kernel's own limit.
	Backlog int
	// NoEvict tells that the engine refuses to store when memory is full.
	NoEvict bool
	// NoMaintainer tells that there was asked for no maintainer of queues.
	NoMaintainer bool
	// SlabFactor, SlabMinSize and SlabChunkMax shape the slab classes that statistics show. 0 means as in
	// memcached: 1.25, 48 bytes and 512 KiB.
	SlabFactor                float64
	SlabMinSize, SlabChunkMax int
	// MemoryFile is the path of the file that holds the items, empty if there is none.
	MemoryFile string
	// Given are settings that mean nothing here, by their names, as they were given.
	Given map[string]string
}

// maxVerbosity is the largest level that verbosity keeps.
const maxVerbosity = 3

// setVerbosity changes how much is logged. No level logs keys or values.
func (s *Server) setVerbosity(level int) {
	s.verbosity.Store(int64(level))
	if s.cfg.LogLevel == nil {
		return
	}
	if level > 0 {
		s.cfg.LogLevel.Set(slog.LevelDebug)
	} else {
		s.cfg.LogLevel.Set(slog.LevelInfo)
	}
}

// setBudget answers cache_memlimit.
func (s *Server) setBudget(mebibytes uint64) string {
	const smallest, largest = 8, 1_000_000_000
	switch {
	case mebibytes < smallest:
		return protocol.ReplyLimitSmall
	case mebibytes > largest:
		return protocol.ReplyLimitUnit
	}
	bytes := int64(mebibytes) << 20
	if err := s.SetBudget(bytes); err != nil {
		s.log.Warn("Budget not changed", "bytes", bytes, "error", err)
		return protocol.ReplyLimitFailed
	}
	return protocol.ReplyOK
}

// settingsStats has memcached's keys in memcached's order. What has no counterpart here says what is in
// effect: no UDP, no slab moves, no external storage; or what was asked for, if that misleads nobody.
func (s *Server) settingsStats() []stat {
	all := slices.Concat(s.networkSettings(), s.storageSettings(), s.watchSettings(), absentSettings)
	for i := range all {
		if file := s.cfg.Settings.MemoryFile; all[i].name == "memory_file" && file != "" {
			all[i].value = file
		}
		if given, ok := s.cfg.Settings.Given[all[i].name]; ok {
			all[i].value = given
		}
	}
	return all
}

func (s *Server) networkSettings() []stat {
	set := s.cfg.Settings
	return []stat{
		{"maxbytes", number(s.engine.Stats().LimitBytes)},
		{"maxconns", number(s.cfg.MaxConnections)},
		{"tcpport", number(set.Port)},
		{"udpport", "0"},
		{"inter", cmp.Or(set.Interface, "NULL")},
		{"verbosity", number(s.verbosity.Load())},
		{"oldest", number(s.oldest())},
		{"evictions", onOff(!set.NoEvict)},
		{"domain_socket", cmp.Or(set.Socket, "NULL")},
		{"umask", cmp.Or(set.Umask, "700")},
		{"shutdown_command", yesNo(s.allowed(AdminShutdown))},
		{"growth_factor", strconv.FormatFloat(cmp.Or(set.SlabFactor, defaultFactor), 'f', 2, 64)},
		{"chunk_size", number(cmp.Or(set.SlabMinSize, defaultMinSize))},
		{"num_threads", number(set.Threads)},
		{"num_threads_per_udp", "0"},
		{"stat_key_prefix", string(rune(s.detail.delimiter))},
		{"detail_enabled", yesNo(s.detail.enabled.Load())},
		{"reqs_per_event", number(s.cfg.RequestsPerEvent)},
		{"cas_enabled", yesNo(!s.cfg.DisableCAS)},
		{"tcp_backlog", number(cmp.Or(set.Backlog, backlog()))},
		{"binding_protocol", s.cfg.BindingProtocol.String()},
		{"auth_enabled_sasl", yesNo(s.cfg.Authenticator != nil)},
		{"auth_enabled_ascii", "no"},
		{"item_size_max", number(s.cfg.MaxItemSize)},
	}
}

func (s *Server) storageSettings() []stat {
	set := s.cfg.Settings
	return []stat{
		{"maxconns_fast", "yes"},
		{"hashpower_init", "0"},
		{"slab_reassign", "no"},
		{"slab_automove", "0"},
		{"slab_automove_ratio", "0.80"},
		{"slab_automove_window", "30"},
		{"slab_chunk_max", number(s.classes.chunkMax)},
		{"lru_crawler", yesNo(s.crawler.enabled.Load())},
		{"lru_crawler_sleep", number(s.crawler.sleep.Load())},
		{"lru_crawler_tocrawl", number(s.crawler.limit.Load())},
		{"tail_repair_time", "0"},
		{"flush_enabled", yesNo(s.allowed(AdminFlushAll))},
		{"dump_enabled", yesNo(s.allowed(AdminStatsCachedump))},
		{"hash_algorithm", "keyed"},
		{"lru_maintainer_thread", yesNo(!set.NoMaintainer)},
		{"lru_segmented", yesNo(!set.NoMaintainer)},
		{"hot_lru_pct", "20"},
		{"warm_lru_pct", "40"},
		{"hot_max_factor", "0.20"},
		{"warm_max_factor", "2.00"},
		{"temp_lru", "no"},
		{"temporary_ttl", "61"},
	}
}

func (s *Server) watchSettings() []stat {
	return []stat{
		{"idle_timeout", number(int64(s.cfg.IdleTimeout / time.Second))},
		{"watcher_logbuf_size", number(s.cfg.WatcherBuffer)},
		{"worker_logbuf_size", "0"},
		{"read_buf_mem_limit", number(s.transfer.limit)},
		{"track_sizes", yesNo(s.cfg.TrackSizes)},
	}
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// absentSettings belong to what is not there: external storage, TLS.
var absentSettings = []stat{
	{"inline_ascii_response", "no"},
	{"ext_item_size", "512"},
	{"ext_item_age", "4294967295"},
	{"ext_low_ttl", "0"},
	{"ext_recache_rate", "2000"},
	{"ext_wbuf_size", "4194304"},
	{"ext_compact_under", "0"},
	{"ext_drop_under", "0"},
	{"ext_max_sleep", "1000000"},
	{"ext_max_frag", "0.80"},
	{"slab_automove_freeratio", "0.010"},
	{"ext_drop_unread", "no"},
	{"ssl_enabled", "no"},
	{"ssl_chain_cert", "(null)"},
	{"ssl_key", "(null)"},
	{"ssl_verify_mode", "0"},
	{"ssl_keyformat", "1"},
	{"ssl_ciphers", "NULL"},
	{"ssl_ca_cert", "NULL"},
	{"ssl_wbuf_size", "16384"},
	{"ssl_session_cache", "no"},
	{"ssl_kernel_tls", "no"},
	{"ssl_min_version", "tlsv1.2"},
	{"num_napi_ids", "0"},
	{"memory_file", "(null)"},
	{"client_flags_size", "4"},
}

// oldest is the age of the server when flush_all was last in effect, as memcached tells it.
func (s *Server) oldest() int64 {
	at := s.flushedAt.Load()
	if at == 0 {
		return 0
	}
	return max(at-s.engineStart, 0)
}

// backlog is how many connections the kernel queues for a listener.
func backlog() int {
	const fallback = 128
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err != nil {
		return fallback
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fallback
	}
	return n
}
