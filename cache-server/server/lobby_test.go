// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// TestAFloodOfStrangersStarvesNobody has strangers take all that may be held, and more.
func TestAFloodOfStrangersStarvesNobody(t *testing.T) {
	t.Parallel()
	f := start(t, func(cfg *Config) { cfg.VerifiedPeers, cfg.MaxConnections = true, 40 })
	f.admitOnly(t, listedIP)
	for range 30 {
		f.dialFrom(t, strangerIP)
	}
	eventually(t, "the flood is over", func() bool { return f.refusals[reasonLobbyFull].Load() == 26 })
	if n := f.lobby.len(); n != 4 {
		t.Errorf("%d are held, want a tenth of 40", n)
	}
	for range 36 {
		send(t, f.dialFrom(t, listedIP), "version\r\n", versionReply)
	}
	if n := f.lobby.len(); n != 4 {
		t.Errorf("%d are held beside 36 clients, want 4", n)
	}

	// Another who comes early finds a place in spite of the flood.
	early := f.dialFrom(t, "127.0.0.4")
	eventually(t, "it is held", func() bool { return len(f.Held()) == 2 })
	if n := f.lobby.len(); n != 4 {
		t.Errorf("%d are held, want 4", n)
	}

	// Clients that are admitted come before those who are not: all of the limit is theirs.
	last := make([]net.Conn, 0, 4)
	for range 3 {
		last = append(last, f.dialFrom(t, listedIP))
		send(t, last[len(last)-1], "version\r\n", versionReply)
	}
	if n := f.lobby.len(); n != 1 {
		t.Errorf("%d are held beside 39 clients, want 1", n)
	}
	f.admitOnly(t, listedIP, "127.0.0.4")
	send(t, early, "version\r\n", versionReply)
	refused := f.dialFrom(t, listedIP)
	expect(t, refused, protocol.ReplyTooManyConns)
	expectClosed(t, refused)
}

func TestAStrangerWhoLeavesGivesUpItsPlace(t *testing.T) {
	t.Parallel()
	f := start(t, verified)
	began := time.Now()
	for _, leave := range []func(net.Conn){reset, func(c net.Conn) { _ = c.Close() }} {
		conn := f.dialFrom(t, strangerIP)
		eventually(t, "it is held", func() bool { return f.lobby.len() == 1 })
		leave(conn)
		eventually(t, "it is gone", func() bool { return f.lobby.len() == 0 })
	}
	if d := time.Since(began); d > lobbyTime {
		t.Errorf("it took %s, as long as if they had stayed", d)
	}
}

func TestADrainClosesWhoIsHeld(t *testing.T) {
	t.Parallel()
	f := start(t, verified)
	conn := f.dialFrom(t, strangerIP)
	eventually(t, "it is held", func() bool { return f.lobby.len() == 1 })
	drain(t, f, nil)
	expectClosed(t, conn)
}

// TestNoncesOfProbes has probes arrive in every state of the lock. Each nonce is noted, nothing is answered, and
// nothing that follows is executed.
func TestNoncesOfProbes(t *testing.T) {
	t.Parallel()
	if controlapi.NonceCommand != protocol.ProbeCommand || controlapi.MaxNonce != protocol.MaxNonce {
		t.Error("the control port's messages and the protocol do not mean the same line")
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
	}{
		{"of one that is served", nil},
		{"of one behind a closed gate", gated},
		{"of one that is not listed", verified},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, c.change)
			began := time.Now()
			whole := f.dialFrom(t, strangerIP)
			write(t, whole, "memkeep-probe a1\r\nset stolen 0 0 1\r\nx\r\n")
			expectClosed(t, whole)
			inPieces := f.dialFrom(t, strangerIP)
			for _, piece := range []string{"mem", "keep-probe", " ", "b2", "\r", "\n"} {
				write(t, inPieces, piece)
				time.Sleep(10 * time.Millisecond)
			}
			expectClosed(t, inPieces)
			if d := time.Since(began); d > lobbyTime-200*time.Millisecond {
				t.Errorf("it took %s, as long as if they were held for nothing", d)
			}
			var conns []net.Conn
			lines := []string{"memkeep-probe \r\n", "memkeep-probe c3!\r\n", "memkeep-probes d4\r\n",
				"memkeep-probe " + strings.Repeat("e", protocol.MaxNonce+1) + "\r\n", "version\r\nmemkeep-probe f6\r\n",
				"memkeep-probe g7 \r\n"}
			for _, line := range lines {
				conn := f.dialFrom(t, strangerIP)
				write(t, conn, line)
				_ = conn.(*net.TCPConn).CloseWrite()
				conns = append(conns, conn)
			}
			for i, conn := range conns {
				if got, _ := io.ReadAll(conn); c.change != nil && len(got) > 0 {
					t.Errorf("%q was answered with %q", lines[i], got)
				}
			}
			if got := f.Nonces(); !slices.Equal(got, []string{"a1", "b2"}) {
				t.Errorf("noted %q, want a1 and b2", got)
			}
			if _, ok := f.engine.Peek([]byte("stolen")); ok {
				t.Error("what came after a nonce was executed")
			}
		})
	}
	t.Run("of one more than may be held", func(t *testing.T) {
		t.Parallel()
		f := start(t, func(cfg *Config) { cfg.VerifiedPeers, cfg.MaxConnections = true, 10 })
		f.dialFrom(t, strangerIP)
		eventually(t, "the place is taken", func() bool { return f.lobby.len() == 1 })
		eventually(t, "a nonce is noted that came with the connection", func() bool {
			conn := f.dialFrom(t, strangerIP)
			_, _ = io.WriteString(conn, "memkeep-probe h8\r\n")
			expectClosed(t, conn)
			return slices.Contains(f.Nonces(), "h8")
		})
	})
	t.Run("are the last of many", func(t *testing.T) {
		t.Parallel()
		f := start(t, nil)
		for i := range maxNonces + 10 {
			conn := f.dialFrom(t, strangerIP)
			write(t, conn, fmt.Sprintf("memkeep-probe n%d\r\n", i))
			expectClosed(t, conn)
		}
		got := f.Nonces()
		if len(got) != maxNonces || got[0] != "n10" || got[maxNonces-1] != fmt.Sprintf("n%d", maxNonces+9) {
			t.Errorf("got %d from %q to %q", len(got), got[0], got[len(got)-1])
		}
		if lines := strings.Count(f.log.String(), "level=INFO"); lines > 20 {
			t.Errorf("%d probes made %d lines in the log", maxNonces+10, lines)
		}
	})
}

func TestChangesAreTold(t *testing.T) {
	t.Parallel()
	f := start(t, func(cfg *Config) { cfg.GateClosed, cfg.VerifiedPeers = true, true })
	soon := func(what string, change func()) {
		t.Helper()
		time.Sleep(2 * changesPeriod)
		ch, began := f.Changed(), time.Now()
		change()
		select {
		case <-ch:
			t.Logf("%s: told after %s", what, time.Since(began))
		case <-time.After(5 * time.Second):
			t.Errorf("%s: nothing was told", what)
		}
	}
	soon("an unknown address", func() { f.dialFrom(t, strangerIP) })
	soon("a list", func() { f.admitOnly(t, listedIP) })
	soon("the gate", func() { f.setGate(t, true) })
	soon("a nonce", func() { write(t, f.dialFrom(t, listedIP), "memkeep-probe a\r\n") })

	// A flood of changes is told a few times.
	told := 0
	end := time.After(10 * changesPeriod)
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.changes.tell()
			}
		}
	})
	for ended := false; !ended; {
		select {
		case <-f.Changed():
			told++
		case <-end:
			ended = true
		}
	}
	close(stop)
	flood.Wait()
	if told < 2 || told > 12 {
		t.Errorf("told %d times in %s", told, 10*changesPeriod)
	}
	time.Sleep(2 * changesPeriod) // the last one's timer
}

func TestConnectedAddresses(t *testing.T) {
	t.Parallel()
	f := start(t, func(cfg *Config) { cfg.VerifiedPeers, cfg.Loops = true, 2 })
	f.admitOnly(t, listedIP, "127.0.0.4")
	before := time.Now().Unix()
	for range 3 {
		send(t, f.dialFrom(t, listedIP), "version\r\n", versionReply)
	}
	send(t, f.dialFrom(t, "127.0.0.4"), "version\r\n", versionReply)
	f.dialFrom(t, strangerIP)
	eventually(t, "a stranger is held", func() bool { return f.lobby.len() == 1 })
	peers, left := f.Connected()
	if left != 0 || len(peers) != 2 || peers[0].Address != netip.MustParseAddr(listedIP) || peers[0].Connections != 3 ||
		peers[1].Connections != 1 || peers[0].Since < before || peers[0].Since > time.Now().Unix() {
		t.Errorf("got %+v and %d more", peers, left)
	}
}

// TestTheLockChangesWhileClientsComeAndGo ends with nobody connected whom the lock does not admit.
func TestTheLockChangesWhileClientsComeAndGo(t *testing.T) {
	t.Parallel()
	f := start(t, func(cfg *Config) {
		cfg.GateClosed, cfg.VerifiedPeers, cfg.Loops, cfg.MaxConnections = true, true, 3, 500
	})
	stop := make(chan struct{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			ip := fmt.Sprintf("127.0.1.%d", i+1)
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := dialer.Dial("tcp", f.addr)
				if err != nil {
					t.Errorf("dial: %v", err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
				_, _ = io.WriteString(conn, "incr n 1\r\nget k\r\n")
				_, _ = io.Copy(io.Discard, conn)
				if i%2 == 0 {
					reset(conn)
				}
				_ = conn.Close()
			}
		})
	}
	for round := range 100 {
		f.setGate(t, round%10 != 0)
		ips := make([]string, 0, 8)
		for i := range 8 {
			if (round>>(i%4))&1 == 0 {
				ips = append(ips, fmt.Sprintf("127.0.1.%d", i+1))
			}
		}
		f.admitOnly(t, ips...)
		_ = f.Held()
		_, _ = f.Connected()
		time.Sleep(5 * time.Millisecond)
	}
	lasting := make([]net.Conn, 0, 8)
	f.admitOnly(t, listedIP, strangerIP)
	for range cap(lasting) {
		lasting = append(lasting, f.dialFrom(t, listedIP))
	}
	f.admitOnly(t, strangerIP)
	for _, conn := range lasting {
		expectClosed(t, conn)
	}
	close(stop)
	all.Wait()
	eventually(t, "nobody is left", func() bool {
		peers, _ := f.Connected()
		return len(peers) == 0 && f.lobby.len() == 0 && f.numConns() == 0
	})
}

// TestManyConnectionsAreSweptInSteps has a sweep begin anew all the time, which must not keep it from the last.
func TestManyConnectionsAreSweptInSteps(t *testing.T) {
	t.Parallel()
	const n = 3 * sweepPerTick
	b := newBench(t, func(cfg *Config) { cfg.VerifiedPeers, cfg.MaxConnections = true, n })
	b.lock.Store(&lock{open: true, verified: true, listed: map[address]struct{}{{}: {}}})
	for range n {
		_ = b.connect(t).SetDeadline(time.Time{})
	}
	if err := b.SetPeers(PeerList{Verified: true, Revision: 1}); err != nil {
		t.Fatal(err)
	}
	closed := func() uint64 { return b.closes[reasonPeerRemoved].Load() }
	for step := 1; closed() < n; step++ {
		before := closed()
		b.locks.Add(1)
		b.l.call()
		time.Sleep(2 * time.Millisecond)
		b.rounds(t, 1)
		if d := closed() - before; d > sweepPerTick || step > 20 {
			t.Fatalf("step %d closed %d, %d of %d in all", step, d, closed(), n)
		}
	}
}

func BenchmarkTheLockIsAsked(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("with %d listed", n), func(b *testing.B) {
			k := &lock{open: true, verified: true, listed: make(map[address]struct{})}
			addrs := make([]address, n)
			for i := range addrs {
				addrs[i] = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}).As16()
				k.listed[addrs[i]] = struct{}{}
			}
			i := 0
			for b.Loop() {
				if !k.admits(addrs[i%n]) {
					b.Fatal("not admitted")
				}
				i++
			}
		})
	}
}
