// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// TestCostOfAConnection measures both ends of many connections together, as one
// process holds both here.
func TestCostOfAConnection(t *testing.T) {
	const pods, most = 200, 400 << 10
	w := newWorld(t)
	var targets []Target
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait) // after all are closed
	for n := range pods {
		uid := fmt.Sprintf("pod-%d", n)
		host := netip.AddrFrom4([4]byte{127, 1, byte(n / 200), byte(1 + n%200)})
		identity, err := controlapi.NewIdentity(uid, w.roots)
		if err != nil {
			t.Fatal(err)
		}
		s := controlapi.NewServer(controlapi.ServerConfig{Identity: identity, Logger: slog.New(slog.DiscardHandler)})
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(host, w.port)))
		if err != nil {
			t.Fatal(err)
		}
		serving.Go(func() { _ = s.Serve(l) })
		t.Cleanup(s.Close)
		targets = append(targets, Target{UID: uid, Name: uid, Addresses: []string{host.String()}})
	}
	p, _ := w.pool()
	before, goroutines := heap(), runtime.NumGoroutine()
	p.Keep("a", targets)
	for i := range targets {
		up(t, p, targets[i].UID)
	}
	each := (heap() - before) / pods
	t.Logf("%d KiB of heap and stacks and %d goroutines for both ends of a connection", each>>10,
		(runtime.NumGoroutine()-goroutines)/pods)
	if each > most {
		t.Fatalf("%d bytes a connection, more than %d", each, most)
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
