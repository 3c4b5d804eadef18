// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/lane"
)

const (
	chaosSeconds   = 4
	troublemakers  = 12
	correctClients = 4
)

// footprint is what a process holds.
type footprint struct {
	descriptors, goroutines, connections, held int
	resident                                   int64 // bytes
}

func (c *child) footprint(t *testing.T, addr, monitor string) footprint {
	t.Helper()
	var f footprint
	metrics := httpGet(t, monitor, "/metrics")
	f.goroutines = numberIn(t, metrics, `(?m)^go_goroutines (\S+)$`)
	f.held = numberIn(t, metrics, `(?m)^memkeep_cache_held_bytes (\S+)$`)
	conn := dialUntil(t, "tcp", addr)
	_, _ = io.WriteString(conn, "stats\r\nquit\r\n")
	stats, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("ask for statistics: %v", err)
	}
	f.connections = numberIn(t, string(stats), `STAT curr_connections (\d+)`)
	if f.resident, err = c.RSS(); err != nil {
		t.Fatal(err)
	}
	descriptors, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	f.descriptors = len(descriptors)
	return f
}

func numberIn(t *testing.T, text, pattern string) int {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("there is no %s in %d bytes", pattern, len(text))
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatalf("%s is %q", pattern, found[1])
	}
	return int(n)
}

// TestChaosLeavesNothingBehind has clients that do all that clients should not, beside others that check what they have
// stored. MEMKEEP_CHAOS_SECONDS sets for how long.
func TestChaosLeavesNothingBehind(t *testing.T) {
	seconds := lane.Number(t, "MEMKEEP_CHAOS_SECONDS", chaosSeconds)
	port, monitor := freePort(t), "127.0.0.1:"+freePort(t)
	addr := "127.0.0.1:" + port
	p := startChild(t, nil, "-p", port, "-l", "127.0.0.1", "-m", "64", "-c", "200", "-t", "2", "--metrics", monitor)
	fillUp(t, dialUntil(t, "tcp", addr))
	chaos(t, addr, time.Second) // what is made on first use is there now
	before := p.settled(t, addr, monitor, footprint{})
	checks := chaos(t, addr, time.Duration(seconds)*time.Second)
	after := p.settled(t, addr, monitor, before)
	t.Logf("%d checks of data; before %+v, after %+v", checks, before, after)
	if checks == 0 {
		t.Error("the correct clients have checked nothing")
	}
	if after.held != 0 {
		t.Errorf("%d bytes of the connections' budget were never given back", after.held)
	}
	if after.descriptors > before.descriptors || after.connections > before.connections {
		t.Errorf("descriptors and connections are left: before %+v, after %+v", before, after)
	}
	if after.goroutines > before.goroutines+2 {
		t.Errorf("goroutines are left: before %d, after %d", before.goroutines, after.goroutines)
	}
	if after.resident > before.resident+16<<20 {
		t.Errorf("memory has grown from %d to %d bytes", before.resident, after.resident)
	}
	if said := p.Stderr(); strings.Contains(said, "panic") || strings.Contains(said, "goroutine ") {
		t.Errorf("it says:\n%.2000s", said)
	}
}

// fillUp stores more than there is room for, so that the items' memory does not grow any more.
func fillUp(t *testing.T, conn net.Conn) {
	t.Helper()
	value := strings.Repeat("f", 10_000)
	for i := range 10_000 {
		if _, err := fmt.Fprintf(conn, "set fill:%d 0 0 %d noreply\r\n%s\r\n", i, len(value), value); err != nil {
			t.Fatalf("fill: %v", err)
		}
	}
	exchange(t, conn, "mn\r\n", "MN\r\n")
	_ = conn.Close()
}

// settled waits until nothing more is held than before, or gives up and returns what is.
func (c *child) settled(t *testing.T, addr, monitor string, before footprint) footprint {
	t.Helper()
	var f footprint
	for range 100 {
		f = c.footprint(t, addr, monitor)
		calm := f.held == 0 && f.connections <= 2
		if calm && (before == footprint{} || f.descriptors <= before.descriptors && f.goroutines <= before.goroutines+2) {
			return f
		}
		time.Sleep(200 * time.Millisecond)
	}
	return f
}

// chaos lets troublemakers and correct clients loose, and returns how often the latter found what they had stored.
func chaos(t *testing.T, addr string, long time.Duration) int64 {
	t.Helper()
	end := time.Now().Add(long)
	var running sync.WaitGroup
	for i := range troublemakers {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 99))
			for time.Now().Before(end) {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					continue
				}
				_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
				troubles[rng.IntN(len(troubles))](conn.(*net.TCPConn), rng)
				_ = conn.Close()
			}
		})
	}
	var checks atomic.Int64
	for i := range correctClients {
		running.Go(func() {
			if err := beCorrect(addr, i, end, &checks); err != nil {
				t.Errorf("correct client %d: %v", i, err)
			}
		})
	}
	running.Wait()
	return checks.Load()
}

// troubles are what troublemakers do with a connection.
var troubles = []func(*net.TCPConn, *rand.Rand){
	func(*net.TCPConn, *rand.Rand) {}, // nothing at all
	func(c *net.TCPConn, rng *rand.Rand) { // any bytes, then a reset
		_, _ = c.Write(noise(rng, rng.IntN(5000)))
		_ = c.SetLinger(0)
	},
	func(c *net.TCPConn, rng *rand.Rand) { // any bytes in binary clothes
		_, _ = c.Write(append([]byte{0x80, byte(rng.IntN(40)), 0, byte(rng.IntN(9))}, noise(rng, rng.IntN(500))...))
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	},
	func(c *net.TCPConn, rng *rand.Rand) { // a request that stops in the middle, and half a close
		_, _ = io.WriteString(c, "get fill:1\r\nset half 0 0 10\r\nabc"[:rng.IntN(33)])
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	},
	func(c *net.TCPConn, rng *rand.Rand) { // many requests, no reply read
		_ = c.SetReadBuffer(4096)
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		_, _ = io.WriteString(c, strings.Repeat("get fill:9999 fill:9998 fill:9997\r\n", 3000))
		time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		_ = c.SetLinger(rng.IntN(2) - 1)
	},
	func(c *net.TCPConn, rng *rand.Rand) { // large values that never come, or not to their end
		_, _ = fmt.Fprintf(c, "set big 0 0 %d\r\n", 100_000+rng.IntN(2_000_000))
		_, _ = c.Write(noise(rng, rng.IntN(200_000)))
		time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
		_ = c.SetLinger(0)
	},
	func(c *net.TCPConn, _ *rand.Rand) { // a slow reader
		_, _ = io.WriteString(c, strings.Repeat("mg fill:9999 v\r\n", 50)+"quit\r\n")
		for range 20 {
			if _, err := io.CopyN(io.Discard, c, 2000); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	},
	func(c *net.TCPConn, rng *rand.Rand) { // a line without end
		_, _ = io.WriteString(c, strings.Repeat("x", rng.IntN(10_000)))
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	},
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// beCorrect stores values under keys of its own and looks that nothing else comes back.
func beCorrect(addr string, id int, end time.Time, checks *atomic.Int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(end.Add(30 * time.Second))
	in, rng := bufio.NewReader(conn), rand.New(rand.NewPCG(uint64(id), 7))
	values := make(map[string][]byte)
	for n := 0; time.Now().Before(end); n++ {
		key := fmt.Sprintf("correct:%d:%d:%d", end.UnixNano(), id, rng.IntN(20))
		if rng.IntN(3) == 0 {
			value := noise(rng, rng.IntN(50_000))
			_, _ = fmt.Fprintf(conn, "set %s 0 0 %d\r\n%s\r\n", key, len(value), value)
			line, err := in.ReadString('\n')
			if err == nil && line != "STORED\r\n" {
				err = errors.New("it is not stored")
			}
			if err != nil {
				return fmt.Errorf("set says %q: %w", line, err)
			}
			values[key] = value
			continue
		}
		_, _ = fmt.Fprintf(conn, "get %s\r\n", key)
		found, err := readValue(in)
		if err != nil {
			return err
		}
		if found != nil {
			if !bytes.Equal(found, values[key]) {
				return fmt.Errorf("request %d: %d bytes came back that are not the %d stored", n, len(found), len(values[key]))
			}
			checks.Add(1)
		}
	}
	return nil
}

// readValue reads the reply to a get of one key; nil is a miss.
func readValue(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadString('\n')
	if err != nil || line == "END\r\n" {
		return nil, err
	}
	words := strings.Fields(line)
	if len(words) != 4 || words[0] != "VALUE" {
		return nil, fmt.Errorf("get says %q", line)
	}
	size, err := strconv.Atoi(words[3])
	if err != nil {
		return nil, fmt.Errorf("get says %q", line)
	}
	value := make([]byte, size+len("\r\nEND\r\n"))
	if _, err := io.ReadFull(in, value); err != nil {
		return nil, err
	}
	if end := string(value[size:]); end != "\r\nEND\r\n" {
		return nil, fmt.Errorf("a value ends in %q", end)
	}
	return value[:size], nil
}
