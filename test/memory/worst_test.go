// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build memory

package memory

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/lane"
)

// siege is how long each attack lasts.
const siege = 4 * time.Second

// crowd connects n clients. They are closed at the test's end.
func (p *pod) crowd(t *testing.T, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := w; i < n; i += 8 {
				conn, err := net.DialTimeout("tcp", p.addr, 10*time.Second)
				if err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
				conns[i] = conn
			}
		})
	}
	all.Wait()
	t.Cleanup(func() {
		for _, conn := range conns {
			if conn != nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return conns
}

// throughout has every connection do something again and again until the siege ends or the server closes it.
// A connection that the server does not read from waits in its write, no longer than the siege.
func throughout(conns []net.Conn, do func(i int, conn net.Conn) error) {
	deadline := time.Now().Add(siege)
	var all sync.WaitGroup
	for i, conn := range conns {
		_ = conn.SetDeadline(deadline)
		all.Go(func() {
			for time.Now().Before(deadline) && do(i, conn) == nil {
			}
		})
	}
	all.Wait()
}

// fill fills the cache with values of a size.
func (p *pod) fill(t *testing.T, items, size int, exptime string) {
	t.Helper()
	conn := p.crowd(t, 1)[0]
	w := bufio.NewWriterSize(conn, 1<<20)
	value := strings.Repeat("v", size)
	for i := range items {
		_, _ = fmt.Fprintf(w, "set key-%d 0 %s %d noreply\r\n%s\r\n", i, exptime, size, value)
	}
	_, _ = io.WriteString(w, "version\r\n")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "VERSION") {
		t.Fatalf("got %q, %v", line, err)
	}
}

func TestLargeValuesBothWays(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: 8 * mi, connections: 256}
	p := start(t, s)
	value := strings.Repeat("v", 8*mi-200)
	throughout(p.crowd(t, 200), func(i int, conn net.Conn) error {
		n := rand.IntN(len(value))
		if _, err := fmt.Fprintf(conn, "set key-%d 0 0 %d\r\n%s\r\nget key-%d\r\n", i%20, n, value[:n], i%20); err != nil {
			return err
		}
		// STORED or a refusal, then the value or none.
		buf := make([]byte, 64<<10)
		_, err := conn.Read(buf)
		return err
	})
	p.survived(t)
}

func TestAsManyConnectionsAsDescriptorsAllow(t *testing.T) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	n := int(min(files.Cur, 40_000)) - 600 // the server has the same limit
	p := start(t, size{memory: 64 * mi, itemSize: mi, connections: int32(n)})
	p.fill(t, 500_000, 100, "0")
	conns := p.crowd(t, n-100)
	t.Logf("%d connections", len(conns))
	// Everyone has been served, and leaves a request that does not end.
	unfinished := "get key-1\r\nset key-2 0 0 100000\r\n" + strings.Repeat("v", 1500)
	for _, conn := range conns {
		_, _ = io.WriteString(conn, unfinished)
	}
	time.Sleep(siege)
	p.survived(t)
}

func TestReadersThatDoNotRead(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	p.fill(t, 60, mi-200, "0")
	throughout(p.crowd(t, 1000), func(i int, conn net.Conn) error {
		_, err := fmt.Fprintf(conn, "get key-%d\r\n", i%60)
		return err
	})
	p.survived(t)
}

func TestReadersThatReadALittle(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	p.fill(t, 60, mi-200, "0")
	buf := make([]byte, 8<<10)
	throughout(p.crowd(t, 1000), func(i int, conn net.Conn) error {
		if _, err := fmt.Fprintf(conn, "get key-%d key-%d key-%d\r\n", i%60, (i+1)%60, (i+2)%60); err != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond)
		_, err := io.ReadFull(conn, buf[:1+rand.IntN(len(buf)-1)])
		return err
	})
	p.survived(t)
}

func TestPipelinesThatNeverRead(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	p.fill(t, 500_000, 100, "0")
	pipeline := strings.Repeat("get key-400001 key-400002 key-400003 key-400004\r\n", 200)
	throughout(p.crowd(t, 1000), func(_ int, conn net.Conn) error {
		_, err := io.WriteString(conn, pipeline)
		return err
	})
	p.survived(t)
}

func TestLinesAndValuesThatNeverEnd(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	p.fill(t, 500_000, 100, "0")
	keys, value := strings.Repeat(" key", 5000), strings.Repeat("v", 20_000)
	begun := make([]bool, 1000)
	throughout(p.crowd(t, 1000), func(i int, conn net.Conn) error {
		switch {
		case i%2 == 0 && !begun[i]:
			begun[i] = true
			_, err := io.WriteString(conn, "get")
			return err
		case !begun[i]:
			begun[i] = true
			_, err := fmt.Fprintf(conn, "set key 0 0 %d\r\n", mi-200)
			return err
		}
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
		text := keys
		if i%2 == 1 {
			text = value
		}
		_, err := io.WriteString(conn, text)
		return err
	})
	p.survived(t)
}

func TestTinyItemsAndThenLargeOnes(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	for range 2 {
		p.fill(t, 1_500_000, 1, "0") // the index grows to what it can be
		p.fill(t, 300, mi-200, "0")  // and is in the way
	}
	p.survived(t)
}

func TestExpiryStorms(t *testing.T) {
	s := size{memory: 64 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	for i := range 4 {
		p.fill(t, 400_000, 50+i*100, "1")
		time.Sleep(1100 * time.Millisecond)
	}
	p.survived(t)
}

// TestTheBudgetMovesUnderLoad moves it between 8 MiB and what the pod was made for.
func TestTheBudgetMovesUnderLoad(t *testing.T) {
	s := size{memory: 128 * mi, itemSize: mi, connections: 1024}
	p := start(t, s)
	value := strings.Repeat("v", 3000)
	moved := 0
	var all sync.WaitGroup
	all.Go(func() {
		throughout(p.crowd(t, 16), func(i int, conn net.Conn) error {
			_, err := fmt.Fprintf(conn, "set key-%d-%d 0 0 %d noreply\r\n%s\r\n", i, rand.IntN(1<<20), len(value), value)
			return err
		})
	})
	for until := time.Now().Add(siege); time.Now().Before(until); moved++ {
		budget := []int{128, 8, 64, 16}[moved%4]
		if got := p.ask(t, fmt.Sprintf("cache_memlimit %d", budget), 10*time.Second); got != "OK" {
			t.Errorf("a budget of %d MiB: %s", budget, got)
		}
		time.Sleep(300 * time.Millisecond)
	}
	all.Wait()
	// More than the kernel's limit holds is refused, not tried.
	if got := p.ask(t, "cache_memlimit 400", time.Second); !strings.HasPrefix(got, "MEMLIMIT_ADJUST_FAILED") {
		t.Errorf("a budget above the limit: %s", got)
	}
	p.survived(t)
}

// TestAWarmRestartInTheSameGroup has the items in a file, whose memory the group is charged for all the while.
func TestAWarmRestartInTheSameGroup(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "memkeep-memory-") //nolint:usetesting // it must be memory
	if err != nil {
		lane.Lacks(t, "no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := size{memory: 128 * mi, itemSize: mi, connections: 1024, args: []string{"-e", filepath.Join(dir, "arena")}}
	p := start(t, s)
	for range 2 {
		p.fill(t, 1_500_000, 100, "0")
		p.stop(t)
		p.run(t, s)
		if !strings.Contains(p.server.Stderr(), "Reattached") {
			t.Errorf("it began cold:\n%s", p.server.Stderr())
		}
	}
	p.fill(t, 200, mi-200, "0")
	p.survived(t)
}
