// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// snapshot is what the server knows of itself at one moment.
type snapshot struct {
	now                       time.Time
	uptime, user, system      time.Duration
	version                   string
	engine                    engine.Stats
	counts                    [numCounters]uint64
	conns, maxConns           int
	accepted, acceptErrors    uint64
	drained, yields           uint64
	refused, closed           map[string]uint64
	draining                  bool
	held, heldLimit, heldPeak int64
	slabs                     []slabClass
	crawls                    bool
	crawlStarts               uint64
	lock                      *lock
	peersAge                  time.Duration
	lobby                     int
	heldTotal, probes         uint64
}

func (s *Server) snapshot() *snapshot {
	snap := &snapshot{
		now: time.Now(), uptime: s.uptime(), version: s.cfg.Version, engine: s.engine.Stats(),
		conns: s.numConns(), maxConns: s.cfg.MaxConnections,
		accepted: s.accepted.Load(), acceptErrors: s.acceptErrs.Load(), drained: s.drained.Load(), yields: s.yields(),
		refused: s.refusals.values(), closed: s.closes.values(), draining: s.draining.Load(),
		held: s.transfer.used.Load(), heldLimit: s.transfer.limit, heldPeak: s.transfer.peak.Load(),
	}
	snap.user, snap.system = processTimes()
	snap.slabs = s.slabsInUse()
	snap.crawls, snap.crawlStarts = s.crawler.enabled.Load(), s.crawler.starts.Load()
	snap.lock, snap.peersAge, snap.lobby = s.lock.Load(), s.peersAge(), s.lobby.len()
	snap.heldTotal, snap.probes = s.heldTotal.Load(), s.nonces.total.Load()
	for i := range snap.counts {
		snap.counts[i] = s.count(counter(i))
	}
	return snap
}

func (s *snapshot) count(i counter) float64 {
	return float64(s.counts[i])
}

func (c reasonCounts) values() map[string]uint64 {
	values := make(map[string]uint64, len(c))
	for reason, n := range c {
		values[reason] = n.Load()
	}
	return values
}
