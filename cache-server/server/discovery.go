// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"strconv"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// Member is one cache of a cluster.
type Member struct {
	// Host is its name, which is what clients connect to unless they prefer IP.
	Host string
	// IP is its address, or empty.
	IP string
	// Port is its TCP port.
	Port uint16
}

// Membership knows the caches of a cluster, which clients then discover as they do with ElastiCache.
type Membership interface {
	// Snapshot returns the members, which must not change afterwards, and a version that is larger than all
	// versions of other lists before. Version 0 means that the members are not known yet; until they are,
	// clients are answered as if there was nothing to discover.
	Snapshot() (version uint64, members []Member)
}

const (
	// discoveryName is what clients call the list of members.
	discoveryName = "cluster"
	// legacyDiscoveryKey is the key that old clients get in its place.
	legacyDiscoveryKey = "AmazonElastiCache:cluster"
)

// appendMembers appends the list of members in the form that clients read.
func appendMembers(dst []byte, version uint64, members []Member) []byte {
	dst = strconv.AppendUint(dst, version, 10)
	dst = append(dst, '\n')
	for i, member := range members {
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, member.Host...)
		dst = append(dst, '|')
		dst = append(dst, member.IP...)
		dst = append(dst, '|')
		dst = strconv.AppendUint(dst, uint64(member.Port), 10)
	}
	return append(dst, '\n')
}

// known returns the members; false while there is nothing to discover.
func (s *Server) known() (version uint64, members []Member, ok bool) {
	if s.cfg.Membership == nil {
		return 0, nil, false
	}
	version, members = s.cfg.Membership.Snapshot()
	return version, members, version > 0
}

// config answers config get cluster. A server without membership does not know the command, like memcached,
// and nobody may change the list through it.
func (c *conn) config(r *protocol.Request) {
	switch {
	case c.s.cfg.Membership == nil:
		c.reply(r, protocol.ReplyError)
	case r.Command != protocol.ConfigGet:
		c.ws.out = protocol.AppendNotAllowed(c.ws.out, "config "+string(r.Args[0]))
		if r.Command == protocol.ConfigSet {
			c.skip = int(r.Number) + len("\r\n")
		}
	case string(r.Key) != discoveryName:
		c.reply(r, protocol.ReplyEnd)
	default:
		if c.appendDiscovery("CONFIG ", discoveryName) {
			c.ws.out = append(c.ws.out, protocol.ReplyEnd...)
		}
	}
}

// appendDiscovery appends the list as a value of the text protocol. False means that it is
// not known, or that there is no memory for it.
func (c *conn) appendDiscovery(word, name string) bool {
	version, members, ok := c.s.known()
	if !ok {
		c.ws.out = append(c.ws.out, protocol.ReplyError...)
		return false
	}
	payload := appendMembers(nil, version, members)
	if !c.roomForReply(largeRoom(len(payload))) {
		c.ws.out = append(c.ws.out, protocol.ReplyWriteMemory...)
		return false
	}
	dst := append(c.ws.out, word...)
	dst = append(dst, name...)
	dst = append(dst, " 0 "...)
	dst = strconv.AppendInt(dst, int64(len(payload)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, payload...)
	c.ws.out = append(dst, "\r\n"...)
	return true
}

// roomForReply makes room for a reply of n bytes, waiting for memory if it is a large one.
func (c *conn) roomForReply(n int) bool {
	if len(c.ws.out)+n <= cap(c.ws.out) {
		return true
	}
	return c.flush() && (n <= cap(c.ws.out) || c.roomFor(n))
}

// isDiscovery tells whether a get asks for the list of members.
func (c *conn) isDiscovery(key []byte) bool {
	if string(key) != legacyDiscoveryKey {
		return false
	}
	_, _, ok := c.s.known()
	return ok
}

// binaryConfig is config in the binary protocol.
func (c *conn) binaryConfig(r *protocol.Request) {
	switch {
	case c.s.cfg.Membership == nil:
		c.binaryError(r, protocol.StatusUnknownCommand)
	case r.Command != protocol.ConfigGet:
		c.binaryError(r, protocol.StatusAuthError)
	case string(r.Key) != discoveryName:
		c.binaryError(r, protocol.StatusNotFound)
	default:
		c.appendBinaryDiscovery(r)
	}
}

func (c *conn) appendBinaryDiscovery(r *protocol.Request) {
	version, members, ok := c.s.known()
	if !ok {
		c.binaryError(r, protocol.StatusUnknownCommand)
		return
	}
	payload := appendMembers(nil, version, members)
	if !c.roomForReply(largeRoom(len(payload))) {
		c.binaryError(r, protocol.StatusOutOfMemory)
		return
	}
	head := make([]byte, protocol.BinaryItemLen(r))
	protocol.PutBinaryItem(head, r, 0, len(payload), 0)
	c.ws.out = append(append(c.ws.out, head...), payload...)
}
