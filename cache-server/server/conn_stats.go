// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"cmp"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// connInfo is what stats conns tells of a connection or a listener.
type connInfo struct {
	id            uint64
	remote, local string // a listener has no local address beside its own
	state         string
	lastCommand   int64
}

// connStats lists the listeners and connections by number, in the place of memcached's file descriptors.
func (c *conn) connStats() []stat {
	s := c.s
	var conns []connInfo
	for _, l := range s.allLoops() {
		conns = l.connInfos(conns)
	}
	conns = s.otherInfos(conns)
	slices.SortFunc(conns, func(a, b connInfo) int { return cmp.Compare(a.id, b.id) })
	now := s.engine.Now()
	stats := make([]stat, 0, 4*len(conns))
	for i := range conns {
		info := &conns[i]
		if info.id == c.id {
			info.state = "conn_parse_cmd"
		}
		prefix := number(info.id) + ":"
		stats = append(stats, stat{prefix + "addr", info.remote})
		if info.local != "" {
			stats = append(stats, stat{prefix + "listen_addr", info.local})
		}
		stats = append(stats, stat{prefix + "state", info.state},
			stat{prefix + "secs_since_last_cmd", number(now - info.lastCommand)})
	}
	return stats
}

// connInfos appends what is known of a loop's connections.
func (l *loop) connInfos(dst []connInfo) []connInfo {
	l.slots.each(func(c *conn) {
		state := stateRead
		if a := c.away.Load(); a != nil {
			state = a.state.Load()
		}
		dst = append(dst, connInfo{
			id: c.id, remote: socketName(unix.Getpeername(c.fd)), local: socketName(unix.Getsockname(c.fd)),
			state: stateNames[state], lastCommand: c.lastCommand.Load(),
		})
	})
	return dst
}

// otherInfos appends the listeners, and the connections without a loop.
func (s *Server) otherInfos(dst []connInfo) []connInfo {
	name := func(a net.Addr) string { return a.Network() + ":" + a.String() }
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		if !s.draining.Load() {
			dst = append(dst, connInfo{
				id: l.id, remote: name(l.Addr()), state: "conn_listening", lastCommand: s.engineStart,
			})
		}
	}
	for c := range s.conns {
		dst = append(dst, connInfo{
			id: c.id, remote: name(c.nc.RemoteAddr()), local: name(c.nc.LocalAddr()),
			state: stateNames[stateRead], lastCommand: c.lastCommand.Load(),
		})
	}
	return dst
}
