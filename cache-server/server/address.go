// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// address is an IP address without port and zone, an IPv4 address in its IPv4-mapped form: so that one peer has one
// address, whatever socket it comes through. A UNIX socket's is zero.
type address [16]byte

// addressOf is the address in what accept returns.
func addressOf(addr unix.Sockaddr) address {
	switch addr := addr.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(addr.Addr).As16()
	case *unix.SockaddrInet6:
		return addr.Addr
	default:
		return address{}
	}
}

// addressOfConn is the address at the other end of a connection.
func addressOfConn(nc net.Conn) address {
	peer, ok := nc.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return address{}
	}
	ip := peer.AddrPort().Addr()
	if !ip.IsValid() {
		return address{}
	}
	return ip.As16()
}

// IP is the address without its IPv4-mapped form.
func (a address) IP() netip.Addr {
	return netip.AddrFrom16(a).Unmap()
}

// String is the address as others write it.
func (a address) String() string {
	return a.IP().String()
}

// socketName is an address as stats conns shows it: tcp:<address>:<port>, or unix:<path>.
func socketName(addr unix.Sockaddr, err error) string {
	if err != nil {
		return ""
	}
	switch addr := addr.(type) {
	case *unix.SockaddrInet4:
		return "tcp:" + netip.AddrPortFrom(netip.AddrFrom4(addr.Addr), uint16(addr.Port)).String()
	case *unix.SockaddrInet6:
		return "tcp:" + netip.AddrPortFrom(netip.AddrFrom16(addr.Addr), uint16(addr.Port)).String()
	case *unix.SockaddrUnix:
		return "unix:" + addr.Name
	default:
		return ""
	}
}

// peerName is the address at the other end of a socket, for the log.
func peerName(fd int) string {
	return socketName(unix.Getpeername(fd))
}
