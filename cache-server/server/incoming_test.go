// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// patterned is a value in which no two pieces are alike.
func patterned(n int) string {
	var text strings.Builder
	for i := 0; text.Len() < n; i++ {
		fmt.Fprintf(&text, "%d,", i)
	}
	return text.String()[:n]
}

func TestLargeValuesComeWhereverTheyAreCut(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	for _, size := range []int{
		bufferSize - 20, bufferSize, pieceSize - 1, pieceSize, pieceSize + 1, 2*pieceSize - 2, 2 * pieceSize, 5*pieceSize + 7,
		1_000_000,
	} {
		value := patterned(size)
		for _, c := range []struct{ name, request, reply, get, got string }{
			{"set", fmt.Sprintf("set k 7 0 %d\r\n%s\r\n", size, value), "STORED\r\n", "get k\r\n",
				fmt.Sprintf("VALUE k 7 %d\r\n%s\r\nEND\r\n", size, value)},
			{"ms", fmt.Sprintf("ms m %d c F7 q\r\n%s\r\nmn\r\n", size, value), "MN\r\n", "mg m v\r\n",
				fmt.Sprintf("VA %d\r\n%s\r\n", size, value)},
		} {
			end := len(c.request)
			for _, cut := range []int{end, 1, 100, bufferSize - 40, end - 3, end - 2, end - 1} {
				_, _ = io.WriteString(conn, c.request[:cut])
				if cut < len(c.request) {
					time.Sleep(2 * time.Millisecond)
					_, _ = io.WriteString(conn, c.request[cut:])
				}
				expect(t, conn, c.reply)
				send(t, conn, c.get, c.got)
			}
		}
	}
}

func TestALargeValueWithAWrongEndIsNotStored(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	for _, size := range []int{pieceSize - 1, pieceSize, 2*pieceSize + 1} {
		for _, end := range []string{"xy", "\rx", "x\n", "\n\r"} {
			value := patterned(size)
			send(t, conn, "set k 0 0 1\r\nx\r\n", "STORED\r\n")
			_, _ = io.WriteString(conn, fmt.Sprintf("set k 0 0 %d\r\n%s%s", size, value, end))
			expect(t, conn, "CLIENT_ERROR bad data chunk\r\n")
			_, _ = io.WriteString(conn, fmt.Sprintf("set k 0 0 %d noreply\r\n%s%s", size, value, end))
			_, _ = io.WriteString(conn, fmt.Sprintf("ms k %d q\r\n%s%s", size, value, end))
			expect(t, conn, "CLIENT_ERROR bad data chunk\r\n")
			send(t, conn, "get k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n")
		}
	}
}

func TestLargeValuesAreJoined(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	value := patterned(3*pieceSize + 5)
	request := func(command string) string {
		return fmt.Sprintf("%s k 0 0 %d\r\n%s\r\n", command, len(value), value)
	}
	send(t, conn, request("set")+request("append")+request("prepend"), strings.Repeat("STORED\r\n", 3))
	send(t, conn, "get k\r\n", fmt.Sprintf("VALUE k 0 %d\r\n%s\r\nEND\r\n", 3*len(value), strings.Repeat(value, 3)))
	binary := f.dial(t)
	exchange(t, binary, set("b", value))
	if got := exchange(t, binary, packet{op: protocol.OpAppend, key: "b", value: value}); got.status != 0 {
		t.Fatalf("append: %v", got)
	}
	if got := exchange(t, binary, get("b")); got.value != value+value {
		t.Errorf("%d bytes are read back, want %d", len(got.value), 2*len(value))
	}
}

func TestALargeValueHoldsWhatHasComeAlone(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.TransferBytes = 8 << 20 })
	conn := f.dial(t)
	value := patterned(1_000_000)
	_, _ = io.WriteString(conn, "set k 0 0 1000000\r\n"+value[:1000])
	eventually(t, "it has begun", func() bool { return f.transfer.used.Load() > 0 })
	if used := f.transfer.used.Load(); used > firstStep+awaySize {
		t.Errorf("1,000 bytes of it hold %d", used)
	}
	send(t, conn, value[1000:]+"\r\n", "STORED\r\n")
	eventually(t, "all is given back", func() bool { return f.transfer.used.Load() == 0 })
	if peak := f.transfer.peak.Load(); peak > 1_000_000+2*pieceSize+awaySize {
		t.Errorf("a value of 1,000,000 bytes held %d at most", peak)
	}
}

func TestLargeValuesAreReceivedWithoutNewMemory(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	request, reply := []byte("set k 0 0 500000\r\n"+patterned(500_000)+"\r\n"), make([]byte, len("STORED\r\n"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const values = 100
	for range values {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, reply); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	// Under the race detector pools drop a part of what they are given.
	if each := (after.TotalAlloc - before.TotalAlloc) / values; each > 250_000 {
		t.Errorf("%d bytes are allocated for a value of 500,000", each)
	}
}
