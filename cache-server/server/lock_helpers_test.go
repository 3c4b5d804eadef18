// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Clients of these tests, all of them this host.
const (
	listedIP   = "127.0.0.2"
	strangerIP = "127.0.0.3"
)

// dialFrom connects from an address of its own.
func (f *fixture) dialFrom(t testing.TB, ip string) net.Conn {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	conn, err := dialer.Dial("tcp", f.addr)
	if err != nil {
		t.Fatalf("dial from %s: %v", ip, err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

// admitOnly sets a verified list with the next revision.
func (f *fixture) admitOnly(t testing.TB, ips ...string) {
	t.Helper()
	list := PeerList{Verified: true, Revision: f.PeersState().Revision + 1}
	for _, ip := range ips {
		list.Addresses = append(list.Addresses, netip.MustParseAddr(ip))
	}
	if err := f.SetPeers(list); err != nil {
		t.Fatalf("set the peers: %v", err)
	}
}

func (f *fixture) setGate(t testing.TB, open bool) {
	t.Helper()
	if err := f.SetGate(open); err != nil {
		t.Fatalf("set the gate: %v", err)
	}
}

func verified(cfg *Config) { cfg.VerifiedPeers = true }
func gated(cfg *Config)    { cfg.GateClosed = true }

// expectSilence makes sure that nothing comes for a while.
func expectSilence(t testing.TB, conn net.Conn, d time.Duration) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(d))
	n, err := conn.Read(make([]byte, 1))
	if n > 0 || !isTimeout(err) {
		t.Fatalf("got %d bytes and %v, want silence", n, err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
}

func write(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("write %.40q: %v", text, err)
	}
}

const versionReply = "VERSION 1.6.45\r\n"
