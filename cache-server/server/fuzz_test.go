// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

// FuzzConnection sends any bytes to a connection, then ends whatever they have begun, then a valid command.
// That is answered, or the connection was closed, or the bytes have announced a value that is too large and
// is being thrown away. Memory stays within the budget, and all of it comes back.
func FuzzConnection(f *testing.F) {
	for _, seed := range []string{
		"set k 0 0 5\r\nhello\r\nget k\r\n", "set k 0 0 900\r\nhel", "set k 0 0 99999\r\nabc", "get",
		"get a\nget b\r",
		"gat 0 " + strings.Repeat("k ", 500), "get " + strings.Repeat("key ", 8000), "cas k 0 0 1 5 noreply\r\nx\r\n",
		"incr k 1\r\ndecr k 1\r\ntouch k 0\r\n", "stats\r\nstats settings\r\nstats conns\r\nstats detail dump\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00", "\x80\x00\x00\x05", strings.Repeat("x", 5000),
		request(set("k", "v"), get("k").with(protocol.OpGetKQ), noop), request(set("k", strings.Repeat("v", 2000)), noop),
		request(arith(protocol.OpIncrement, "n", 1, 5, 9), packet{op: protocol.OpTouch, key: "n", extras: u32(9)}),
		request(packet{op: protocol.OpStat}, packet{op: protocol.OpFlush, extras: u32(1)}, packet{op: 0x77, value: "x"}),
		request(plain("\x00u\x00p"), packet{op: protocol.OpAppendQ, key: "k", value: "x"}), set("k", "value").bytes()[:37],
		"ms k 5 b T9 I\r\nhello\r\nmg k v k s t c f h l Oq\r\nmd k I x\r\nma k N0 q\r\nme k b\r\nmn\r\n",
		"ms k 9999 y\r\nabc",
		"ms Zm9v 5 b ME E9\r\nhello\r\nmg Zm9v b k v C9 N0 T1 R2\r\nms k 2\r\nabcd\r\n",
		"mg k v v\r\nms k -1\r\n", "ms k 900 q\r\nhel",
		strings.Repeat(" ", 2000) + "\r\n\r\n\n   \n", "mg ==== b v\r\nme = b\r\nms  2\r\nhi\r\n",
		"lru_crawler metadump all\r\n", "lru_crawler mgdump hash\r\nmn\r\n",
		request(get("k").with(protocol.OpGetQ), get("k").with(protocol.OpGetKQ), noop),
		"watch fetchers\r\nget k\r\n",
		"flush_all\r\nverbosity 1\r\ncache_memlimit 9\r\n", "append k 0 0 0\r\n\r\nprepend k 0 0 1\r\nx\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	e, err := engine.New(engine.Config{MaxBytes: 8 << 20, MaxItemSize: engine.MinItemSize})
	if err != nil {
		f.Fatal(err)
	}
	// A watcher is sent lines until its client goes away.
	admin := slices.DeleteFunc(slices.Clone(AllAdminCommands), func(c AdminCommand) bool { return c == AdminWatch })
	srv, err := New(Config{
		Engine: e, MaxItemSize: engine.MinItemSize, MaxConnections: 8, AdminCommands: admin,
		Version: "1.6.45", Logger: slog.New(slog.DiscardHandler), MaxBudget: 16 << 20,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = e.Close() })
	f.Fuzz(func(t *testing.T, data []byte, cuts uint8) {
		checkConnection(t, srv, data, int(cuts)+1)
	})
}

func checkConnection(t *testing.T, srv *Server, data []byte, pieces int) {
	client, inside := net.Pipe()
	c := newConn(srv, inside)
	srv.running.Add(1)
	served := make(chan struct{})
	go func() {
		c.serve()
		close(served)
	}()
	var got bytes.Buffer
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(&got, client) })
	// What ends the data is longer than any value that is taken and than what is waited for before a refusal.
	padding := strings.Repeat("\r\n", engine.MinItemSize) + "version\r\n"
	last := "CLIENT_ERROR bad command line format\r\nVERSION 1.6.45\r\n"
	if len(data) > 0 && data[0] == protocol.BinaryMagic {
		end := packet{op: protocol.OpVersion, opaque: 0xfeedbeef}
		padding = strings.Repeat(noop.bytes(), 500) + end.bytes()
		last = string(protocol.AppendBinaryText(nil, &protocol.Request{
			Binary: protocol.Binary{Opcode: end.op, Opaque: end.opaque},
		}, protocol.StatusOK, "1.6.45"))
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		size := len(data)/pieces + 1
		for rest := data; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if _, err := client.Write(rest[:min(size, len(rest))]); err != nil {
				return
			}
		}
		_, _ = io.WriteString(client, padding)
	}()
	<-written
	// All is read or refused: once it has done with that, the server finds that its time is up.
	timeouts := srv.closes[reasonSlowWriter].Load()
	for ended := false; !ended; {
		_ = inside.SetReadDeadline(time.Unix(1, 0)) // again, where the server has lifted it
		select {
		case <-served:
			ended = true
		case <-time.After(time.Millisecond):
		}
	}
	_ = client.Close()
	reader.Wait()
	open := srv.closes[reasonSlowWriter].Load() > timeouts
	answered := bytes.HasSuffix(got.Bytes(), []byte(last))
	if open && !answered && c.skip == 0 {
		t.Errorf("neither answered nor closed after %q: %q", data, got.Bytes())
	}
	if used, peak := srv.transfer.used.Load(), srv.transfer.peak.Load(); used != 0 || peak > srv.transfer.limit {
		t.Errorf("the budget of %d has %d in use, %d at its peak", srv.transfer.limit, used, peak)
	}
}
