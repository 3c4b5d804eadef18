// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package dialling

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// anywhere dials every host at the port of the address.
func anywhere(t *testing.T, address string) *Dialler {
	t.Helper()
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return &Dialler{
		Ports: []uint16{a.Port()}, Concurrent: 4,
		Permitted: func(netip.Addr) error { return nil },
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func serveDecoy(t *testing.T, d *Decoy) string {
	t.Helper()
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- d.Serve(l) }()
	t.Cleanup(func() {
		_ = l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// accepting hands each connection to serve.
func accepting(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// deaf returns the address of a socket whose queue is full: the kernel drops
// what comes, as a filter does.
func deaf(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*unix.SockaddrInet4).Port)
	for range 4 {
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue does not fill")
	return ""
}

func closedPort(t *testing.T) string {
	t.Helper()
	l := listen(t)
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// datagrams returns the address of a UDP socket that answers, or does not.
func datagrams(t *testing.T, answer bool) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 100)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer {
				_, _ = conn.WriteTo(buffer[:n], from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func TestWhatBecomesOfATarget(t *testing.T) {
	tests := map[string]struct {
		network string
		address func(t *testing.T) string
		outcome controlapi.Outcome
		reply   string
	}{
		"a decoy accepts and says its line": {
			"tcp", func(t *testing.T) string { t.Helper(); return serveDecoy(t, &Decoy{Most: 2, PerSecond: 9}) },
			controlapi.Connected, controlapi.DecoyReply,
		},
		"who accepts and says nothing has accepted": {
			"tcp", func(t *testing.T) string { t.Helper(); return listen(t).Addr().String() },
			controlapi.Connected, "",
		},
		"who accepts and resets has accepted": {
			"tcp", func(t *testing.T) string {
				t.Helper()
				return accepting(t, func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() })
			}, controlapi.Connected, "",
		},
		"of a long reply only the beginning is read": {
			"tcp", func(t *testing.T) string {
				t.Helper()
				return accepting(t, func(c net.Conn) { _, _ = c.Write([]byte(strings.Repeat("x", 9999))); _ = c.Close() })
			}, controlapi.Connected, strings.Repeat("x", controlapi.MaxReply),
		},
		"where packets are dropped nothing comes back": {"tcp", deaf, controlapi.TimedOut, ""},
		"where nobody listens it is refused":           {"tcp", closedPort, controlapi.Refused, ""},
		"where no way leads it is unreachable": {
			"tcp", func(*testing.T) string { return "255.255.255.255:11211" }, controlapi.Unreachable, "",
		},
		"over UDP an answer is an answer": {
			"udp", func(t *testing.T) string { t.Helper(); return datagrams(t, true) }, controlapi.Answered, "",
		},
		"over UDP silence is silence": {
			"udp", func(t *testing.T) string { t.Helper(); return datagrams(t, false) }, controlapi.TimedOut, "",
		},
		"over UDP a port without listener is refused": {"udp", closedPort, controlapi.Refused, ""},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := c.address(t)
			got := anywhere(t, address).Dial(t.Context(), controlapi.Target{
				Network: c.network, Address: address, Nonce: "abc123", TimeoutMillis: 300,
			})
			if got.Outcome != c.outcome || got.Reply != c.reply {
				t.Errorf("got %+v, want %s with reply %q", got, c.outcome, c.reply)
			}
			if (got.Error == "") != (c.outcome == controlapi.Connected || c.outcome == controlapi.Answered) {
				t.Errorf("error is %q", got.Error)
			}
		})
	}
}

func TestTheNonceIsAllThatIsSent(t *testing.T) {
	for nonce, want := range map[string]string{"n0nce": controlapi.NonceCommand + " n0nce\r\n", "": ""} {
		got := make(chan string, 1)
		address := accepting(t, func(c net.Conn) {
			defer func() { _ = c.Close() }()
			_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			buffer := make([]byte, 1000)
			n, _ := c.Read(buffer)
			got <- string(buffer[:n])
		})
		r := anywhere(t, address).Dial(t.Context(), controlapi.Target{
			Network: "tcp", Address: address, Nonce: nonce, TimeoutMillis: 1000,
		})
		if text := <-got; text != want || r.Outcome != controlapi.Connected {
			t.Errorf("with nonce %q: the peer read %q, result %+v", nonce, text, r)
		}
	}
}

func TestACallerWhoGivesUpLearnsNothing(t *testing.T) {
	address := deaf(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	d := anywhere(t, address)
	got := d.All(ctx, []controlapi.Target{{Network: "tcp", Address: address, TimeoutMillis: 5000}})
	if got[0].Outcome != controlapi.Failed {
		t.Errorf("got %+v", got[0])
	}
}

func TestWhatIsNoPodOrNoPortOfAFleetIsNotDialled(t *testing.T) {
	d := &Dialler{Ports: []uint16{11211, 9150}, Concurrent: 1}
	good := controlapi.Target{Network: "tcp", Address: "10.244.1.7:11211", Nonce: "a1", TimeoutMillis: 1000}
	if _, err := d.check(&good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change func(*controlapi.Target)
		want   string
	}{
		"loopback":                   {func(t *controlapi.Target) { t.Address = "127.0.0.1:11211" }, "loopback"},
		"loopback in another family": {func(t *controlapi.Target) { t.Address = "[::ffff:127.0.0.1]:11211" }, "loopback"},
		"loopback of IPv6":           {func(t *controlapi.Target) { t.Address = "[::1]:11211" }, "loopback"},
		"metadata services":          {func(t *controlapi.Target) { t.Address = "169.254.169.254:11211" }, "link-local"},
		"link-local of IPv6":         {func(t *controlapi.Target) { t.Address = "[fe80::1]:11211" }, "link-local"},
		"a zone":                     {func(t *controlapi.Target) { t.Address = "[fd00::1%eth0]:11211" }, "zone"},
		"the wildcard":               {func(t *controlapi.Target) { t.Address = "0.0.0.0:11211" }, "wildcard"},
		"multicast":                  {func(t *controlapi.Target) { t.Address = "[ff02::1]:11211" }, "multicast"},
		"broadcast":                  {func(t *controlapi.Target) { t.Address = "255.255.255.255:11211" }, "broadcast"},
		"a name":                     {func(t *controlapi.Target) { t.Address = "example.org:11211" }, "not an IP address"},
		"another port":               {func(t *controlapi.Target) { t.Address = "10.244.1.7:22" }, "no port that is dialled"},
		"another network":            {func(t *controlapi.Target) { t.Network = "unix" }, "write tcp or udp"},
		"no time":                    {func(t *controlapi.Target) { t.TimeoutMillis = 0 }, "timeoutMillis"},
		"all the time in the world":  {func(t *controlapi.Target) { t.TimeoutMillis = 60_000 }, "timeoutMillis"},
		"a nonce that is a command":  {func(t *controlapi.Target) { t.Nonce = "a\r\nflush_all" }, "nonce"},
		"a nonce without end":        {func(t *controlapi.Target) { t.Nonce = strings.Repeat("a", 65) }, "nonce"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			target := good
			c.change(&target)
			got := d.Dial(t.Context(), target)
			if got.Outcome != controlapi.Failed || !strings.Contains(got.Error, c.want) {
				t.Errorf("got %+v, want %q", got, c.want)
			}
		})
	}
}

func FuzzTargets(f *testing.F) {
	for _, address := range []string{
		"10.0.0.1:11211", "[fd00::1]:11211", "[::ffff:169.254.1.1]:11211", "x", ":1", "[fe80::1%1]:9",
	} {
		f.Add("tcp", address, "abc", 1000)
	}
	d := &Dialler{Ports: []uint16{11211}}
	f.Fuzz(func(t *testing.T, network, address, nonce string, timeout int) {
		got, err := d.check(&controlapi.Target{Network: network, Address: address, Nonce: nonce, TimeoutMillis: timeout})
		if err != nil {
			return
		}
		host := net.IP(got.Addr().AsSlice())
		if got.Port() != 11211 || got.Addr().Zone() != "" || host.IsLoopback() || host.IsUnspecified() ||
			host.IsLinkLocalUnicast() || host.IsMulticast() || host.Equal(net.IPv4bcast) {
			t.Errorf("%s may be dialled", got)
		}
		if strings.ContainsAny(nonce, " \r\n\x00") || len(nonce) > controlapi.MaxNonce || timeout > 10_000 {
			t.Errorf("nonce %q for %d ms", nonce, timeout)
		}
	})
}
