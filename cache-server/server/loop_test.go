// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// bench is a server with one loop, which the test itself runs, round by round.
type bench struct {
	*Server
	l *loop
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	e, err := engine.New(engine.Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20})
	if err != nil {
		t.Fatalf("make the engine: %v", err)
	}
	cfg := Config{
		Engine: e, MaxItemSize: 1 << 20, MaxConnections: 64, Version: "1.6.45", Loops: 1,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("make the server: %v", err)
	}
	l, err := newLoop(s)
	if err != nil {
		t.Fatalf("make the loop: %v", err)
	}
	s.loops = []*loop{l}
	t.Cleanup(func() {
		l.closeAll()
		s.cancel()
		l.release()
		if used := s.transfer.used.Load(); used != 0 {
			t.Errorf("%d bytes of the budget were never given back", used)
		}
		_ = e.Close()
	})
	return &bench{Server: s, l: l}
}

// connect adds a connection and returns the client's end.
func (b *bench) connect(t testing.TB) net.Conn {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("make a pair of sockets: %v", err)
	}
	file := os.NewFile(uintptr(fds[1]), "client")
	client, err := net.FileConn(file)
	_ = file.Close()
	if err != nil {
		t.Fatalf("make a connection: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	_ = client.SetDeadline(time.Now().Add(60 * time.Second))
	b.admit(fds[0], nil, false)
	return client
}

// rounds runs the loop while there is something to do, n times at most.
func (b *bench) rounds(t testing.TB, n int) {
	t.Helper()
	for range n {
		b.l.ready, b.l.later = b.l.later, b.l.ready[:0]
		b.l.next, b.l.served, b.l.n = 0, 0, epollNow(b.l.epfd, b.l.events[:])
		if !b.l.round() {
			t.Fatal("a connection has left the loop")
		}
	}
}

func say(t testing.TB, client net.Conn, request string) {
	t.Helper()
	if _, err := client.Write([]byte(request)); err != nil {
		t.Fatalf("write: %v", err)
	}
}

func TestALoneRequestWaitsForOneTurnOfEachOther(t *testing.T) {
	for _, c := range []struct{ name, endless string }{
		{"beside a pipeline of small requests", strings.Repeat("get k\r\n", bufferSize/7)},
		{"beside a pipeline of multigets", strings.Repeat("get"+strings.Repeat(" k", 100)+"\r\n", bufferSize/205)},
		{"beside silent requests", strings.Repeat("incr n 1 noreply\r\n", bufferSize/18)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, nil)
			const busy = 5
			var others [busy]net.Conn
			for i := range others {
				others[i] = b.connect(t)
				say(t, others[i], c.endless)
			}
			b.rounds(t, 1)
			lone := b.connect(t)
			say(t, lone, "version\r\n")
			before := b.l.yields.Load()
			b.rounds(t, 1)
			expect(t, lone, "VERSION 1.6.45\r\n")
			if turns := b.l.yields.Load() - before; turns != busy {
				t.Errorf("%d turns were taken meanwhile by %d that have more to do", turns, busy)
			}
			b.rounds(t, 50)
			for i := range others {
				say(t, others[i], "mn\r\nversion\r\n") // all of the pipeline was executed in the end
			}
			b.rounds(t, 10)
			for _, other := range others {
				reply := readUntil(t, other, "VERSION 1.6.45\r\n")
				if got, want := strings.Count(reply, "END\r\n"), strings.Count(c.endless, "get"); got != want {
					t.Errorf("%d replies to %d requests", got, want)
				}
			}
		})
	}
}

// readUntil reads up to the given end.
func readUntil(t testing.TB, conn net.Conn, end string) string {
	t.Helper()
	var got []byte
	buf := make([]byte, 64<<10)
	for !strings.HasSuffix(string(got), end) {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("read after %.80q: %v", got, err)
		}
		got = append(got, buf[:n]...)
	}
	return string(got)
}

func TestRequestsCostNoAllocation(t *testing.T) {
	b := newBench(t, nil)
	b.lock.Store(&lock{open: true, verified: true, listed: map[address]struct{}{{}: {}}}) // the lock costs none either
	client := b.connect(t)
	say(t, client, "set k 0 0 100\r\n"+strings.Repeat("v", 100)+"\r\nset n 0 0 1\r\n1\r\n")
	b.rounds(t, 1)
	expect(t, client, "STORED\r\nSTORED\r\n")
	reply := make([]byte, 4096)
	for _, request := range []string{
		"get k\r\n", "gets k n none\r\n", "gat 0 k\r\n", "set k 0 0 5\r\nhello\r\n", "add k 0 0 1\r\nx\r\n",
		"incr n 1\r\n", "touch k 0\r\n", "delete none\r\n", strings.Repeat("get k\r\n", 60),
	} {
		bytes := []byte(request)
		allocs := testing.AllocsPerRun(100, func() {
			_, _ = client.Write(bytes)
			b.l.next, b.l.served, b.l.n = 0, 0, epollNow(b.l.epfd, b.l.events[:])
			b.l.round()
			_, _ = client.Read(reply)
		})
		if allocs > 0 {
			t.Errorf("%.20q: %v allocations", request, allocs)
		}
	}
}

func TestAConnectionIsSmall(t *testing.T) {
	size := unsafe.Sizeof(conn{})
	t.Logf("a connection takes %d bytes", size)
	if size > 300 {
		t.Errorf("a connection takes %d bytes, want at most 300", size)
	}
	if size := unsafe.Sizeof(workspace{}); size > workspaceSize {
		t.Errorf("a workspace takes %d bytes, and is counted with %d", size, workspaceSize)
	}
}

func TestDeadlinesWaitForConnectionsThatAreAway(t *testing.T) {
	b := newBench(t, nil)
	_ = b.connect(t)
	var c *conn
	b.l.slots.each(func(only *conn) { c = only })
	c.hurried, c.inHurry, c.hurryBy = true, true, time.Now().Add(-time.Second)
	b.l.hurried = append(b.l.hurried, c)
	c.away.Store(new(away))
	working := make(chan struct{})
	go func() { // the goroutine that the connection has kept
		c.hurried = false
		c.hurried = true
		close(working)
	}()
	b.l.hurryUp(time.Now())
	<-working
	if len(b.l.hurried) != 1 || b.closes[reasonSlowWriter].Load() != 0 {
		t.Errorf("%d have a deadline, want the one that is away", len(b.l.hurried))
	}
	c.away.Store(nil)
	b.l.hurryUp(time.Now())
	if len(b.l.hurried) != 0 || b.closes[reasonSlowWriter].Load() != 1 {
		t.Errorf("%d have a deadline, want none: its time is up", len(b.l.hurried))
	}
}

func TestLargeValuesAreSentAsTheyWereWhenTheyWereRead(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Loops = 2 })
	const size, reads = 300_000, 200
	version := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), size) }
	writer := f.dial(t)
	send(t, writer, fmt.Sprintf("set k 0 0 %d\r\n%s\r\n", size, version(0)), "STORED\r\n")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
				send(t, writer, fmt.Sprintf("set k 0 0 %d\r\n%s\r\n", size, version(i)), "STORED\r\n")
			}
		}
	}()
	reader := f.dial(t)
	go func() { _, _ = io.WriteString(reader, strings.Repeat("get k none k\r\n", reads)) }()
	header := fmt.Sprintf("VALUE k 0 %d\r\n", size)
	value := make([]byte, size)
	for range reads {
		for range 2 {
			expect(t, reader, header)
			if _, err := io.ReadFull(reader, value); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(value), string(value[:1])); n != size {
				t.Fatalf("a value is %d bytes of one version and %d of others", n, size-n)
			}
			expect(t, reader, "\r\n")
		}
		expect(t, reader, "END\r\n")
	}
	close(stop)
	<-done
}

func TestConnectionsInheritTheirOptions(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Loops = 1 })
	send(t, f.dial(t), "version\r\n", "VERSION 1.6.45\r\n")
	f.allLoops()[0].slots.each(func(c *conn) {
		for _, o := range []struct {
			name                 string
			level, option, value int
		}{
			{"no delay", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{"keepalive", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"time before the first probe", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
			{"time between probes", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
			{"probes", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
			{"time for an acknowledgement", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 120_000},
			{"receive buffer", unix.SOL_SOCKET, unix.SO_RCVBUF, 2 * receiveBuffer},
			{"send buffer", unix.SOL_SOCKET, unix.SO_SNDBUF, 2 * sendBuffer},
		} {
			if got, err := unix.GetsockoptInt(c.fd, o.level, o.option); err != nil || got != o.value {
				t.Errorf("%s is %d, want %d: %v", o.name, got, o.value, err)
			}
		}
	})
}

func TestConnectionsAreSpreadOverTheLoops(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Loops = 4 })
	for range 20 {
		send(t, f.dial(t), "version\r\n", "VERSION 1.6.45\r\n")
	}
	for i, l := range f.allLoops() {
		n := 0
		l.slots.each(func(*conn) { n++ })
		if n != 5 {
			t.Errorf("loop %d has %d of 20 connections, want 5", i, n)
		}
	}
}

func TestALongGetLetsOthersGoFirst(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Loops = 1 })
	long := f.dial(t)
	go func() { _, _ = fmt.Fprintf(long, "get%s\r\n", strings.Repeat(" k", 400_000)) }()
	expect(t, long, "END\r\n")
	if n := f.yields(); n < 400_000/(4*turnWork) {
		t.Errorf("a get of 400,000 keys has let others go first %d times", n)
	}
}
