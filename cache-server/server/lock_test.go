// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWhoIsServed has a row for every state of gate and list. Who is not served sends a set first, which must not
// have happened.
func TestWhoIsServed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*Config)
		set    func(*testing.T, *fixture)
		served []string
		shut   []string
		reason string
	}{
		{"without gate and list everybody is", nil, nil, []string{listedIP, strangerIP}, nil, ""},
		{"behind a gate nobody is before it opens", gated, nil, nil, []string{listedIP}, reasonGateClosed},
		{"behind an open gate everybody is", gated,
			func(t *testing.T, f *fixture) { f.setGate(t, true) }, []string{listedIP, strangerIP}, nil, ""},
		{"behind a gate that was open and is closed again nobody is", gated, func(t *testing.T, f *fixture) {
			f.setGate(t, true)
			f.setGate(t, false)
		}, nil, []string{listedIP}, reasonGateClosed},
		{"with verified peers nobody is before a list has come", verified, nil, nil, []string{listedIP}, reasonUnknownPeer},
		{"with verified peers nobody is by an empty list", verified,
			func(t *testing.T, f *fixture) { f.admitOnly(t) }, nil, []string{listedIP}, reasonUnknownPeer},
		{"with verified peers who is listed is, and nobody else", verified,
			func(t *testing.T, f *fixture) { f.admitOnly(t, listedIP) },
			[]string{listedIP}, []string{strangerIP, "127.0.0.1"}, reasonUnknownPeer},
		{"an IPv4 address may be listed in its IPv4-mapped form", verified,
			func(t *testing.T, f *fixture) { f.admitOnly(t, "::ffff:"+listedIP) },
			[]string{listedIP}, []string{strangerIP}, reasonUnknownPeer},
		{"who was started open can be locked", nil, func(t *testing.T, f *fixture) { f.admitOnly(t, listedIP) },
			[]string{listedIP}, []string{strangerIP}, reasonUnknownPeer},
		{"with both nobody is by the list alone",
			func(cfg *Config) { cfg.GateClosed, cfg.VerifiedPeers = true, true },
			func(t *testing.T, f *fixture) { f.admitOnly(t, listedIP) }, nil, []string{listedIP}, reasonGateClosed},
		{"with both nobody is by the gate alone",
			func(cfg *Config) { cfg.GateClosed, cfg.VerifiedPeers = true, true },
			func(t *testing.T, f *fixture) { f.setGate(t, true) }, nil, []string{listedIP}, reasonUnknownPeer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, c.change)
			if c.set != nil {
				c.set(t, f)
			}
			for _, ip := range c.served {
				send(t, f.dialFrom(t, ip), "version\r\n", versionReply)
			}
			began := time.Now()
			var shut []net.Conn
			for _, ip := range c.shut {
				conn := f.dialFrom(t, ip)
				write(t, conn, "set stolen 0 0 1 noreply\r\nx\r\nversion\r\n")
				shut = append(shut, conn)
			}
			for _, conn := range shut {
				expectClosed(t, conn)
			}
			if d := time.Since(began); len(shut) > 0 && (d < lobbyTime || d > lobbyTime+time.Second) {
				t.Errorf("they were held for %s, want %s", d, lobbyTime)
			}
			if _, ok := f.engine.Peek([]byte("stolen")); ok {
				t.Error("what a stranger sent was executed")
			}
			if c.reason != "" && f.refusals[c.reason].Load() != uint64(len(shut)) {
				t.Errorf("refused %v, want %d by %s", f.refusals.values(), len(shut), c.reason)
			}
			if n := f.lobby.len(); n != 0 {
				t.Errorf("%d are still held", n)
			}
		})
	}
}

// TestWhoComesTooEarlyIsServedInTime is a client's start: it connects before the operator has heard of it.
func TestWhoComesTooEarlyIsServedInTime(t *testing.T) {
	t.Parallel()
	const early = 500 * time.Millisecond
	for _, c := range []struct {
		name   string
		change func(*Config)
		admit  func(*testing.T, *fixture)
		held   string
	}{
		{"when its address is listed", verified,
			func(t *testing.T, f *fixture) { f.admitOnly(t, listedIP) }, listedIP},
		{"when the gate opens", gated, func(t *testing.T, f *fixture) { f.setGate(t, true) }, ""},
		{"when the gate opens and its address is listed",
			func(cfg *Config) { cfg.GateClosed, cfg.VerifiedPeers = true, true },
			func(t *testing.T, f *fixture) {
				f.setGate(t, true)
				f.admitOnly(t, listedIP)
			}, listedIP},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, c.change)
			silent, eager, hasty := f.dialFrom(t, listedIP), f.dialFrom(t, listedIP), f.dialFrom(t, listedIP)
			write(t, eager, "set k 0 0 1\r\nx\r\nget k\r\n")
			write(t, hasty, "version\r\n")
			_ = hasty.(*net.TCPConn).CloseWrite()
			expectSilence(t, eager, early)
			eventually(t, "all are held", func() bool { return f.lobby.len() == 3 })
			if held := f.Held(); c.held == "" && held != nil ||
				c.held != "" && (len(held) != 1 || held[0].String() != c.held) {
				t.Errorf("%v are told to be unknown, want %q", held, c.held)
			}
			c.admit(t, f)
			expect(t, eager, "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n")
			expect(t, hasty, versionReply)
			expectClosed(t, hasty)
			send(t, silent, "version\r\n", versionReply)
			if held := f.Held(); held != nil {
				t.Errorf("%v are still told to be unknown", held)
			}
		})
	}
}

// TestWhoLosesItsPlaceIsClosed has connections in every state when their address leaves the list, or the gate closes.
func TestWhoLosesItsPlaceIsClosed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		shut   func(*testing.T, *fixture)
		reason string
	}{
		{"when its address leaves the list",
			func(t *testing.T, f *fixture) { f.admitOnly(t, "127.0.0.4") }, reasonPeerRemoved},
		{"when the gate closes", func(t *testing.T, f *fixture) { f.setGate(t, false) }, reasonGateClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, func(cfg *Config) { cfg.GateClosed, cfg.VerifiedPeers, cfg.Loops = true, true, 2 })
			f.setGate(t, true)
			f.admitOnly(t, listedIP, "127.0.0.4")
			stays := f.dialFrom(t, "127.0.0.4")
			send(t, stays, "set big 0 0 500000\r\n"+strings.Repeat("v", 500_000)+"\r\n", "STORED\r\n")

			idle := f.dialFrom(t, listedIP)
			send(t, idle, "version\r\n", versionReply)
			watcher := f.dialFrom(t, listedIP)
			send(t, watcher, "watch fetchers\r\n", "OK\r\n")
			half := f.dialFrom(t, listedIP)
			write(t, half, "set k 0 0 10\r\n12345")
			value := f.dialFrom(t, listedIP)
			write(t, value, "set large 0 0 300000\r\n12345")
			reader := f.dialFrom(t, listedIP)
			_ = reader.(*net.TCPConn).SetReadBuffer(4 << 10)
			write(t, reader, strings.Repeat("get big\r\n", 20))
			endless := f.dialFrom(t, listedIP)
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				requests := strings.Repeat("incr none 1 noreply\r\n", 1000)
				for {
					if _, err := io.WriteString(endless, requests); err != nil {
						return
					}
				}
			}()
			eventually(t, "all are served", func() bool {
				peers, _ := f.Connected()
				return len(peers) == 2 && peers[0].Connections == 6
			})
			time.Sleep(50 * time.Millisecond) // so that each is where it will wait

			c.shut(t, f)
			eventually(t, "they are out of the books", func() bool {
				peers, _ := f.Connected()
				return len(peers) == 0 || len(peers) == 1 && peers[0].Address.String() == "127.0.0.4"
			})
			expectClosed(t, idle)
			expectClosed(t, half)
			expectClosed(t, value)
			// What the kernel had taken for them before may still come, as slowly as they read.
			for _, conn := range []net.Conn{watcher, reader} {
				if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
					t.Error("a connection that waits for its client was not closed")
				}
			}
			<-stop
			if c.reason == reasonPeerRemoved {
				send(t, stays, "version\r\n", versionReply)
			} else {
				expectClosed(t, stays)
			}
			if n := f.closes[c.reason].Load(); n < 6 {
				t.Errorf("closed %v, want 6 by %s", f.closes.values(), c.reason)
			}
			if _, ok := f.engine.Peek([]byte("large")); ok {
				t.Error("a value that had not come was stored")
			}
		})
	}
}

// TestTheListIsKept has the operator go away: who is listed is served, whatever the list's age.
func TestTheListIsKept(t *testing.T) {
	t.Parallel()
	f := start(t, verified)
	f.admitOnly(t, listedIP)
	f.confirmed.Add(-int64(24 * time.Hour))
	old := f.dialFrom(t, listedIP)
	send(t, old, "version\r\n", versionReply)
	send(t, f.dialFrom(t, listedIP), "version\r\n", versionReply)
	if age := time.Since(f.PeersState().Updated); age < 24*time.Hour {
		t.Errorf("the list is told to be %s old", age)
	}
	list := PeerList{Verified: true, Revision: 1, Addresses: []netip.Addr{netip.MustParseAddr(listedIP)}}
	if err := f.SetPeers(list); err != nil {
		t.Fatalf("confirm the list: %v", err)
	}
	if age := time.Since(f.PeersState().Updated); age > time.Minute {
		t.Errorf("a list that was just confirmed is told to be %s old", age)
	}
	send(t, old, "version\r\n", versionReply)
}

func TestListsThatAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, verified)
	f.admitOnly(t, listedIP)
	f.admitOnly(t, listedIP)
	addrs := func(ips ...string) (list []netip.Addr) {
		for _, ip := range ips {
			list = append(list, netip.MustParseAddr(ip))
		}
		return list
	}
	for _, c := range []struct {
		name, want string
		list       PeerList
	}{
		{"one that is not verified", "--peers=verified", PeerList{Revision: 3}},
		{"one without a revision", "at least 1", PeerList{Verified: true}},
		{"one that is older", "in force has 2", PeerList{Verified: true, Revision: 1}},
		{"one with no address", "addresses[1]", PeerList{Verified: true, Revision: 3,
			Addresses: []netip.Addr{netip.MustParseAddr(strangerIP), {}}}},
		{"one with everybody", "addresses[0]", PeerList{Verified: true, Revision: 3, Addresses: addrs("::")}},
		{"one with a zone", "without a zone", PeerList{Verified: true, Revision: 3, Addresses: addrs("fe80::1%eth0")}},
		{"one that is too long", "at most", PeerList{Verified: true, Revision: 3,
			Addresses: make([]netip.Addr, maxListed+1)}},
	} {
		if err := f.SetPeers(c.list); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
	if got := f.PeersState(); got.Revision != 2 || got.Count != 1 || !got.Verified {
		t.Errorf("a refused list has changed the one in force: %+v", got)
	}
	if err := start(t, nil).SetGate(false); !errors.Is(err, ErrNoGate) {
		t.Errorf("closing a gate that is not there: %v", err)
	}
	if err := start(t, nil).SetGate(true); err != nil {
		t.Errorf("opening a gate that is not there: %v", err)
	}
}

// TestIPv4OverIPv6Sockets has an IPv4 client arrive at an IPv6 socket, with an address that is IPv4-mapped.
func TestIPv4OverIPv6Sockets(t *testing.T) {
	t.Parallel()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mapped := netip.MustParseAddr("::ffff:127.0.0.1").As16()
	err = errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0),
		unix.Bind(fd, &unix.SockaddrInet6{Addr: mapped}), unix.Listen(fd, 16))
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	l, err := net.FileListener(file)
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, verified)
	f.admitOnly(t, listedIP)
	f.serveMore(t, l)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	f.addr = net.JoinHostPort("127.0.0.1", port)
	send(t, f.dialFrom(t, listedIP), "version\r\n", versionReply)
	stranger := f.dialFrom(t, strangerIP)
	eventually(t, "the stranger is held", func() bool { return f.lobby.len() == 1 })
	if held := f.Held(); len(held) != 1 || held[0].String() != strangerIP {
		t.Errorf("%v are held, want %s", held, strangerIP)
	}
	peers, _ := f.Connected()
	if len(peers) != 1 || peers[0].Address.String() != listedIP {
		t.Errorf("connected are %v, want %s", peers, listedIP)
	}
	expectClosed(t, stranger)
}

// TestWithoutADescriptorThereIsNoWaiting has what is not a socket of a loop refused at once, and closed when it loses
// its place.
func TestWithoutADescriptorThereIsNoWaiting(t *testing.T) {
	t.Parallel()
	f := start(t, verified)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.serveMore(t, blocking{l})
	f.addr = l.Addr().String()
	expectClosed(t, f.dialFrom(t, listedIP))
	if n := f.refusals[reasonUnknownPeer].Load(); n != 1 {
		t.Errorf("refused %v", f.refusals.values())
	}
	f.admitOnly(t, listedIP)
	conn := f.dialFrom(t, listedIP)
	send(t, conn, "version\r\n", versionReply)
	f.admitOnly(t)
	expectClosed(t, conn)
}
