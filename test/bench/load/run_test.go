// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/inprocess"
)

const testKeys = 2000

func fill(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	w := Workload{Protocol: Text, Connections: 2, Depth: 20, Keys: testKeys, ValueSize: 100, Sequential: true}
	r, err := Run(t.Context(), addr, &w, Spell{CPUs: []int{-1}})
	if err != nil || r.Sets != testKeys {
		t.Fatalf("%+v was stored, with error %v", r, err)
	}
}

func TestRunsEveryKindOfLoad(t *testing.T) {
	addr := inprocess.Serve(t, 64)
	fill(t, addr)
	base := Workload{
		Protocol: Text, Connections: 5, Depth: 1, Keys: testKeys, ValueSize: 100, ReadPercent: 90, Zipf: 0.99, MustHit: true,
	}
	rows := []struct {
		name string
		edit func(*Workload)
		cpus []int
	}{
		{"one request at a time", func(*Workload) {}, []int{-1}},
		{"sixty requests at a time", func(w *Workload) { w.Depth = 60 }, []int{-1}},
		{"gets of many keys", func(w *Workload) { w.Batch, w.ReadPercent = 16, 100 }, []int{-1}},
		{"sets alone by two drivers", func(w *Workload) { w.ReadPercent = 0 }, []int{-1, -1}},
		{"open loop by two drivers", func(w *Workload) { w.Rate = 2000 }, []int{-1, -1}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := base
			row.edit(&w)
			spell := Spell{Warmup: 20 * time.Millisecond, Measure: 100 * time.Millisecond, CPUs: row.cpus}
			r, err := Run(t.Context(), addr, &w, spell)
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests == 0 || r.Keys < r.Requests || r.Hits+r.Sets != r.Keys || r.Misses != 0 || r.GeneratorCPU <= 0 {
				t.Errorf("counted %+v", r)
			}
			if r.Latency.TotalCount() == 0 || (w.Rate > 0) != (r.Late.TotalCount() > 0) {
				t.Errorf("%d latencies and %d late departures were recorded", r.Latency.TotalCount(), r.Late.TotalCount())
			}
		})
	}
}

func TestSeesWhatIsNotThere(t *testing.T) {
	addr := inprocess.Serve(t, 64)
	w := Workload{Protocol: Text, Connections: 1, Depth: 1, Keys: 10, ValueSize: 100, ReadPercent: 100, MustHit: true}
	_, err := Run(t.Context(), addr, &w, Spell{Measure: 50 * time.Millisecond, CPUs: []int{-1}})
	if !errors.Is(err, errMiss) {
		t.Errorf("the error is %v, want %v", err, errMiss)
	}
}

// serve has every connection to an address of loopback handled until the test ends.
func serve(t *testing.T, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				handle(c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// startLiar answers every line with the same reply.
func startLiar(t *testing.T, reply string) netip.AddrPort {
	t.Helper()
	return serve(t, func(c net.Conn) {
		for in := bufio.NewScanner(c); in.Scan(); {
			if _, err := io.WriteString(c, reply); err != nil || reply == "" {
				return
			}
		}
	})
}

func TestRefusesWrongReplies(t *testing.T) {
	rows := []struct {
		name, reply, want string
	}{
		{"an error", "SERVER_ERROR out of memory\r\n", "a wrong reply"},
		{"a reply too many", "END\r\nEND\r\n", "answer nothing"},
		{"a closed connection", "", "1 replies missing"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := Workload{Protocol: Text, Connections: 1, Depth: 1, Keys: 10, ValueSize: 100, ReadPercent: 100}
			_, err := Run(t.Context(), startLiar(t, row.reply), &w, Spell{Measure: time.Second, CPUs: []int{-1}})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the error is %v, want one with %q", err, row.want)
			}
		})
	}
}

// TestOpenLoopCountsFromTheTimeOfDeparture holds a server still: what waits for it counts in full.
func TestOpenLoopCountsFromTheTimeOfDeparture(t *testing.T) {
	const still = 200 * time.Millisecond
	addr := serve(t, func(c net.Conn) {
		in := bufio.NewScanner(c)
		for first := true; in.Scan(); first = false {
			if first {
				time.Sleep(still)
			}
			if _, err := io.WriteString(c, "END\r\n"); err != nil {
				return
			}
		}
	})
	w := Workload{Protocol: Text, Connections: 1, Depth: 1, Keys: 10, ValueSize: 100, ReadPercent: 100, Rate: 1000}
	r, err := Run(t.Context(), addr, &w, Spell{Measure: 2 * still, CPUs: []int{-1}})
	if err != nil {
		t.Fatal(err)
	}
	// Requests leave evenly while the server is still, so half of those wait for half of that time and more.
	if waited := time.Duration(r.Latency.ValueAtQuantile(75)); waited < still/4 {
		t.Errorf("a quarter of the requests waited %s or more, want at least %s", waited, still/4)
	}
}

func TestRefusesWorkloadsThatCannotBe(t *testing.T) {
	good := Workload{Protocol: Text, Connections: 1, Depth: 1, Keys: 1, ValueSize: 1, ReadPercent: 100}
	for name, edit := range map[string]func(*Workload){
		"no connection":          func(w *Workload) { w.Connections = 0 },
		"no depth":               func(w *Workload) { w.Depth = 0 },
		"too deep":               func(w *Workload) { w.Depth = 1e6 },
		"too many keys in a get": func(w *Workload) { w.Batch = 1e6 },
		"no keys":                func(w *Workload) { w.Keys = 0 },
		"values too large":       func(w *Workload) { w.ValueSize = 1 << 30 },
		"more gets than all":     func(w *Workload) { w.ReadPercent = 101 },
		"a negative rate":        func(w *Workload) { w.Rate = -1 },
		"sets of many keys":      func(w *Workload) { w.Batch, w.ReadPercent = 2, 50 },
		"many keys, open loop":   func(w *Workload) { w.Batch, w.Rate = 2, 1 },
	} {
		w := good
		edit(&w)
		if w.Prepare() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := good.Prepare(); err != nil {
		t.Errorf("a good one is refused: %v", err)
	}
}

// startFrugal answers END to every line and allocates nothing for it.
func startFrugal(t *testing.T) netip.AddrPort {
	t.Helper()
	return serve(t, func(c net.Conn) {
		in, end := make([]byte, 64<<10), []byte("END\r\n")
		out := make([]byte, 0, 64<<10)
		for {
			n, err := c.Read(in)
			if err != nil {
				return
			}
			out = out[:0]
			for range bytes.Count(in[:n], end[len(end)-1:]) {
				out = append(out, end...)
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
}

func TestNoAllocationPerRequest(t *testing.T) {
	w := Workload{Protocol: Text, Connections: 1, Depth: 60, Keys: testKeys, ValueSize: 100, ReadPercent: 100}
	if err := w.Prepare(); err != nil {
		t.Fatal(err)
	}
	d, err := newDriver(&w, sockaddr(startFrugal(t)), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.batch(d.conns[0], d.now()); err != nil {
		t.Fatal(err)
	}
	d.recording.Store(true)
	allocations := testing.AllocsPerRun(500, func() {
		if err := d.step(false); err != nil {
			t.Fatal(err)
		}
	})
	if served := d.requests.Load(); served < 500 || allocations > 0 {
		t.Errorf("%g allocations a turn, for %d requests in all", allocations, served)
	}
}
