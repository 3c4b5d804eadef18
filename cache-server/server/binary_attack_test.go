// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// lie is a request whose header tells other lengths than it has.
func lie(op protocol.Opcode, key uint16, extras uint8, body uint32, rest string) string {
	b := []byte(packet{op: op}.bytes())
	binary.BigEndian.PutUint16(b[2:], key)
	b[4] = extras
	binary.BigEndian.PutUint32(b[8:], body)
	return string(b) + rest
}

// TestAttacksOfThePast sends what has crashed memcached or taken it over.
func TestAttacksOfThePast(t *testing.T) {
	const most = 1<<32 - 1
	extras8, extras20 := strings.Repeat("\xff", 8), strings.Repeat("\xff", 20)
	tail := strings.Repeat("A", 4000)
	for _, c := range []struct {
		name     string
		request  string
		statuses []protocol.Status
		survives bool // the connection goes on
	}{
		{"CVE-2011-4971, a body with the sign bit", lie(protocol.OpSet, 3, 8, 1<<31+11, extras8+"abc"+tail),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"CVE-2011-4971, the largest body", lie(protocol.OpPrepend, 3, 0, most, "abc"+tail),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"CVE-2016-8704, an append whose body is shorter than its key", lie(protocol.OpAppendQ, 250, 0, 0, tail),
			[]protocol.Status{protocol.StatusUnknownCommand}, false},
		{"CVE-2016-8704, a prepend whose body is one byte short", lie(protocol.OpPrepend, 250, 0, 249, tail),
			[]protocol.Status{protocol.StatusUnknownCommand}, false},
		{"CVE-2016-8705, a set whose body is shorter than key and extras", lie(protocol.OpSetQ, 250, 8, 8, tail),
			[]protocol.Status{protocol.StatusUnknownCommand}, false},
		{"CVE-2016-8705, an add whose size wraps", lie(protocol.OpAdd, 3, 8, most-1, extras8+"abc"+tail),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"CVE-2016-8706, a mechanism longer than the body", lie(protocol.OpSASLAuth, 32, 0, 31, tail),
			[]protocol.Status{protocol.StatusUnknownCommand}, false},
		{"CVE-2016-8706, credentials whose size wraps", lie(protocol.OpSASLAuth, 5, 0, most, "PLAIN"+tail),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"CVE-2017-9951, a get whose key is longer than the body", lie(protocol.OpGet, 0xfff0, 0, 0, tail),
			[]protocol.Status{protocol.StatusUnknownCommand}, false},
		{"CVE-2017-9951, a touch whose extras are not there", lie(protocol.OpTouch, 0, 4, 0, tail),
			[]protocol.Status{protocol.StatusUnknownCommand}, false},
		{"CVE-2020-10931, all extras there can be", lie(protocol.OpGetQ, 0, 255, 255, strings.Repeat("A", 255)),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"CVE-2020-10931, extras behind which a key is said to be",
			lie(protocol.OpIncrement, 200, 255, 455, strings.Repeat("A", 455)),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"a key of the largest length", lie(protocol.OpGetK, 0xffff, 0, 0xffff, strings.Repeat("k", 0xffff)),
			[]protocol.Status{protocol.StatusInvalid}, false},
		{"a stat whose value looks like requests",
			request(packet{op: protocol.OpStat, key: "none", value: request(packet{op: protocol.OpFlush})}, noop),
			[]protocol.Status{protocol.StatusNotFound, protocol.StatusOK}, true},
		{"a touch whose value looks like requests", request(packet{op: protocol.OpTouch, extras: u32(0), key: "none",
			value: request(packet{op: protocol.OpFlush})}, noop),
			[]protocol.Status{protocol.StatusNotFound, protocol.StatusOK}, true},
		{"an unknown opcode whose body looks like requests",
			request(packet{op: 0x77, extras: extras20, key: "k", value: request(packet{op: protocol.OpFlush})}, noop),
			[]protocol.Status{protocol.StatusUnknownCommand, protocol.StatusOK}, true},
		{"a value that is too large and looks like requests",
			request(set("k", strings.Repeat(request(packet{op: protocol.OpFlush}), 50_000)), noop),
			[]protocol.Status{protocol.StatusTooLarge, protocol.StatusOK}, true},
		{"a value that is too large, quietly", request(set("k", strings.Repeat("v", 1<<20)).with(protocol.OpSetQ), noop),
			[]protocol.Status{protocol.StatusTooLarge, protocol.StatusOK}, true},
		{"a key of nothing but zeros is compared whole", request(set("\x00", "v"), get("\x00\x00"), get("\x00")),
			[]protocol.Status{protocol.StatusOK, protocol.StatusNotFound, protocol.StatusOK}, true},
		{"a stat key that ends where a word goes on", request(packet{op: protocol.OpStat, key: "res"}, noop),
			[]protocol.Status{protocol.StatusNotFound, protocol.StatusOK}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			exchange(t, f.dial(t), set("kept", "v"))
			conn := f.dial(t)
			go func() { _, _ = io.WriteString(conn, c.request) }()
			for i, want := range c.statuses {
				got, err := readPacket(conn)
				if err != nil || got.status != want {
					t.Fatalf("reply %d: got %v, %v, want status %#x", i, got, err, want)
				}
			}
			if c.survives {
				if got := exchange(t, conn, get("kept")); got.value != "v" {
					t.Errorf("the next get: %v", got)
				}
			} else {
				expectClosed(t, conn)
			}
			if got := exchange(t, f.dial(t), get("kept")); got.value != "v" {
				t.Errorf("another connection's get: %v", got)
			}
		})
	}
}

func TestTheLargestBodyIsRefusedAtOnce(t *testing.T) {
	f := start(t, nil)
	for _, body := range []uint32{1<<30 - 1, 1 << 30} {
		conn := f.dial(t)
		_, _ = io.WriteString(conn, lie(protocol.OpSetQ, 3, 8, body, strings.Repeat("\x00", 8)+"key"))
		if got, err := readPacket(conn); err != nil || got.status != protocol.StatusTooLarge {
			t.Errorf("%d bytes: got %v, %v", body, got, err)
		}
		if used := f.transfer.used.Load(); used != 0 {
			t.Errorf("%d bytes of the budget are held for a value that is thrown away", used)
		}
	}
}

func TestAnnouncedBinarySizesCostNothingUntilTheyCome(t *testing.T) {
	const clients = 40
	f := start(t, func(cfg *Config) { cfg.Timeouts = Timeouts{Stall: 200 * time.Millisecond} })
	for range clients {
		_, _ = io.WriteString(f.dial(t), lie(protocol.OpSet, 3, 8, 100_000, strings.Repeat("\x00", 8)+"keyvalue"))
	}
	eventually(t, "all have begun", func() bool { return f.transfer.used.Load() >= clients*firstStep })
	if used := f.transfer.used.Load(); used > clients*(firstStep+awaySize) {
		t.Errorf("%d announced values hold %d bytes", clients, used)
	}
	eventually(t, "those who do not go on are closed", func() bool { return f.numConns() == 0 })
}

func TestBinaryValuesWithoutRoomAreRefusedAndThrownAway(t *testing.T) {
	f := start(t, func(cfg *Config) {
		cfg.TransferBytes = 256 << 10
		cfg.Timeouts = Timeouts{Budget: 20 * time.Millisecond}
	})
	conn := f.dial(t)
	exchange(t, conn, set("k", "v"))
	if got := exchange(t, conn, set("k", strings.Repeat("v", 500_000)).with(protocol.OpSetQ)); got.status !=
		protocol.StatusOutOfMemory || got.value != "Out of memory allocating item" {
		t.Errorf("got %v", got)
	}
	if got := exchange(t, conn, get("k")); got.status != protocol.StatusNotFound {
		t.Errorf("the old value survived: %v", got)
	}
}

func TestBinaryRepliesWithoutRoomAreRefused(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Timeouts = Timeouts{Budget: 20 * time.Millisecond} })
	storeBig(t, f)
	eventually(t, "the budget is free", func() bool { return f.transfer.try(f.transfer.limit - 1000) })
	defer f.transfer.give(f.transfer.limit - 1000)
	conn := f.dial(t)
	if got := exchange(t, conn, get("big")); got.status != protocol.StatusOutOfMemory {
		t.Errorf("got %v", got)
	}
	if got := exchange(t, conn, noop); got.status != protocol.StatusOK {
		t.Errorf("got %v", got)
	}
}
