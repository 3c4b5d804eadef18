// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"log/slog"
	"os"
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
	if s.cfg.MaxBudget > 0 && bytes > s.cfg.MaxBudget {
		return protocol.ReplyLimitFailed
	}
	if err := s.engine.SetBudget(bytes); err != nil {
		s.log.Warn("Budget not changed", "bytes", bytes, "error", err)
		return protocol.ReplyLimitFailed
	}
	s.log.Info("Budget changed", "bytes", bytes)
	return protocol.ReplyOK
}

// settingsStats has memcached's keys in memcached's order. What has no counterpart here says what is in
// effect: no UDP, no crawler, no slab moves, no external storage.
func (s *Server) settingsStats() []stat {
	set := s.cfg.Settings
	socket, inter := set.Socket, set.Interface
	if socket == "" {
		socket = "NULL"
	}
	if inter == "" {
		inter = "NULL"
	}
	return append([]stat{
		{"maxbytes", number(s.engine.Stats().LimitBytes)},
		{"maxconns", number(s.cfg.MaxConnections)},
		{"tcpport", number(set.Port)},
		{"udpport", "0"},
		{"inter", inter},
		{"verbosity", number(s.verbosity.Load())},
		{"oldest", number(s.oldest())},
		{"evictions", "on"},
		{"domain_socket", socket},
		{"umask", "700"},
		{"shutdown_command", "no"},
		{"growth_factor", "1.25"},
		{"chunk_size", "48"},
		{"num_threads", number(set.Threads)},
		{"num_threads_per_udp", "0"},
		{"stat_key_prefix", ":"},
		{"detail_enabled", yesNo(s.detail.enabled.Load())},
		{"reqs_per_event", "0"},
		{"cas_enabled", "yes"},
		{"tcp_backlog", number(backlog())},
		{"binding_protocol", s.cfg.BindingProtocol.String()},
		{"auth_enabled_sasl", yesNo(s.cfg.Authenticator != nil)},
		{"auth_enabled_ascii", "no"},
		{"item_size_max", number(s.cfg.MaxItemSize)},
		{"maxconns_fast", "yes"},
		{"hashpower_init", "0"},
		{"slab_reassign", "no"},
		{"slab_automove", "0"},
		{"slab_automove_ratio", "0.80"},
		{"slab_automove_window", "30"},
		{"slab_chunk_max", number(s.cfg.MaxItemSize)},
		{"lru_crawler", "no"},
		{"lru_crawler_sleep", "100"},
		{"lru_crawler_tocrawl", "0"},
		{"tail_repair_time", "0"},
		{"flush_enabled", yesNo(s.allowed(AdminFlushAll))},
		{"dump_enabled", "no"},
		{"hash_algorithm", "keyed"},
		{"lru_maintainer_thread", "no"},
		{"lru_segmented", "no"},
		{"hot_lru_pct", "20"},
		{"warm_lru_pct", "40"},
		{"hot_max_factor", "0.20"},
		{"warm_max_factor", "2.00"},
		{"temp_lru", "no"},
		{"temporary_ttl", "61"},
		{"idle_timeout", number(int64(s.cfg.IdleTimeout / time.Second))},
		{"watcher_logbuf_size", "0"},
		{"worker_logbuf_size", "0"},
		{"read_buf_mem_limit", number(s.transfer.limit >> 20)},
	}, absentSettings...)
}

// absentSettings belong to what is not there: size counts, external storage, TLS, restarts from a file.
var absentSettings = []stat{
	{"track_sizes", "no"},
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
	{"num_napi_ids", "(null)"},
	{"memory_file", "(null)"},
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
