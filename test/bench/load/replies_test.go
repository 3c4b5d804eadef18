// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

const testSize = 10

func testCodec(t testing.TB, p Protocol) codec {
	t.Helper()
	c, err := newCodec(p, testSize)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// binaryReply is a reply as a server would write it.
func binaryReply(opcode byte, status uint16, opaque uint32, extras int, body string) string {
	h := make([]byte, binaryHeader)
	h[0], h[1], h[4] = responseMagic, opcode, byte(extras)
	binary.BigEndian.PutUint16(h[6:], status)
	binary.BigEndian.PutUint32(h[8:], uint32(len(body)))
	binary.BigEndian.PutUint32(h[12:], opaque)
	return string(h) + body
}

func TestReplies(t *testing.T) {
	key := func(id uint32) string { return string(appendKey(nil, id)) }
	value := func(id uint32) string { return string(newValues(testSize).of(id)) }
	rows := []struct {
		name     string
		protocol Protocol
		reply    string
		expect   expectation
		verdict  verdict
		consumed int // -1 means all of reply
	}{
		{"a value is what was stored", Text, "VALUE " + key(7) + " 0 10\r\n" + value(7) + "\r\nEND\r\n", expectation{id: 7}, hit, -1},
		{"another key's value is wrong", Text, "VALUE " + key(7) + " 0 10\r\n" + value(8) + "\r\nEND\r\n", expectation{id: 7}, wrong, 0},
		{"another key is wrong", Text, "VALUE " + key(8) + " 0 10\r\n" + value(8) + "\r\nEND\r\n", expectation{id: 7}, wrong, 0},
		{"other flags are wrong", Text, "VALUE " + key(7) + " 1 10\r\n" + value(7) + "\r\nEND\r\n", expectation{id: 7}, wrong, 0},
		{"another size is wrong", Text, "VALUE " + key(7) + " 0 11\r\n" + value(7) + "1\r\nEND\r\n", expectation{id: 7}, wrong, 0},
		{"an end at once is a miss", Text, "END\r\n", expectation{id: 7}, miss, -1},
		{"an error is wrong", Text, "SERVER_ERROR out of memory\r\n", expectation{id: 7}, wrong, 0},
		{"an error that begins like an end is wrong", Text, "ERROR\r\n", expectation{id: 7}, wrong, 0},
		{"what follows a reply is left", Text, "END\r\nEND\r\n", expectation{id: 7}, miss, 5},
		{"a set is stored", Text, "STORED\r\n", expectation{kind: kindSet}, done, -1},
		{"a set that is not stored is wrong", Text, "NOT_STORED\r\n", expectation{kind: kindSet}, wrong, 0},
		{"a key of many", Text, "VALUE " + key(7) + " 0 10\r\n" + value(7) + "\r\n", expectation{id: 7, kind: kindKey}, hit, -1},
		{"another key of many comes first", Text, "VALUE " + key(8) + " 0 10\r\n" + value(8) + "\r\n", expectation{id: 7, kind: kindKey}, miss, 0},
		{"many end before a key", Text, "END\r\n", expectation{id: 7, kind: kindKey}, miss, 0},
		{"an error among many is wrong", Text, "SERVER_ERROR out of memory\r\n", expectation{id: 7, kind: kindKey}, wrong, 0},
		{"the end of many", Text, "END\r\n", expectation{kind: kindEnd}, done, -1},
		{"a value after the last of many is wrong", Text, "VALUE " + key(7) + " 0 10\r\n", expectation{kind: kindEnd}, wrong, 0},

		{"mg hits", Meta, "VA 10\r\n" + value(7) + "\r\n", expectation{id: 7}, hit, -1},
		{"mg brings another value", Meta, "VA 10\r\n" + value(8) + "\r\n", expectation{id: 7}, wrong, 0},
		{"mg misses", Meta, "EN\r\n", expectation{id: 7}, miss, -1},
		{"mg errs", Meta, "CLIENT_ERROR bad data chunk\r\n", expectation{id: 7}, wrong, 0},
		{"ms stores", Meta, "HD\r\n", expectation{kind: kindSet}, done, -1},
		{"ms does not store", Meta, "NS\r\n", expectation{kind: kindSet}, wrong, 0},
		{"a quiet mg hits", Meta, "VA 10 k" + key(7) + "\r\n" + value(7) + "\r\n", expectation{id: 7, kind: kindKey}, hit, -1},
		{"another quiet mg hits first", Meta, "VA 10 k" + key(8) + "\r\n" + value(8) + "\r\n", expectation{id: 7, kind: kindKey}, miss, 0},
		{"mn comes before a quiet mg", Meta, "MN\r\n", expectation{id: 7, kind: kindKey}, miss, 0},
		{"a quiet mg errs", Meta, "ERROR\r\n", expectation{id: 7, kind: kindKey}, wrong, 0},
		{"mn ends many", Meta, "MN\r\n", expectation{kind: kindEnd}, done, -1},

		{"GET hits", Binary, binaryReply(opGet, 0, 7, 4, "\x00\x00\x00\x00"+value(7)), expectation{id: 7}, hit, -1},
		{"GET brings another value", Binary, binaryReply(opGet, 0, 7, 4, "\x00\x00\x00\x00"+value(8)), expectation{id: 7}, wrong, 0},
		{"GET brings another opaque", Binary, binaryReply(opGet, 0, 8, 4, "\x00\x00\x00\x00"+value(7)), expectation{id: 7}, wrong, 0},
		{"GET misses", Binary, binaryReply(opGet, 1, 7, 0, "Not found"), expectation{id: 7}, miss, -1},
		{"GET is out of memory", Binary, binaryReply(opGet, 0x82, 7, 0, "Out of memory"), expectation{id: 7}, wrong, 0},
		{"SET stores", Binary, binaryReply(opSet, 0, 7, 0, ""), expectation{id: 7, kind: kindSet}, done, -1},
		{"SET is refused", Binary, binaryReply(opSet, 3, 7, 0, "Too large."), expectation{id: 7, kind: kindSet}, wrong, 0},
		{"GETQ hits", Binary, binaryReply(opGetQ, 0, 7, 4, "\x00\x00\x00\x00"+value(7)), expectation{id: 7, kind: kindKey}, hit, -1},
		{"another GETQ hits first", Binary, binaryReply(opGetQ, 0, 8, 4, "\x00\x00\x00\x00"+value(8)), expectation{id: 7, kind: kindKey}, miss, 0},
		{"NOOP comes before a GETQ", Binary, binaryReply(opNoop, 0, 0, 0, ""), expectation{id: 7, kind: kindKey}, miss, 0},
		{"NOOP ends many", Binary, binaryReply(opNoop, 0, 0, 0, ""), expectation{kind: kindEnd}, done, -1},
		{"text is no binary reply", Binary, "ERROR\r\nERROR\r\nERROR\r\nERROR\r\n", expectation{id: 7}, wrong, 0},
	}
	for _, row := range rows {
		t.Run(string(row.protocol)+": "+row.name, func(t *testing.T) {
			c := testCodec(t, row.protocol)
			consumed := row.consumed
			if consumed < 0 {
				consumed = len(row.reply)
			}
			n, v := c.check([]byte(row.reply), &row.expect)
			if n != consumed || v != row.verdict {
				t.Fatalf("took %d bytes with verdict %d, want %d with %d", n, v, consumed, row.verdict)
			}
			if v == wrong || consumed == 0 {
				return
			}
			for cut := range consumed {
				if n, v := c.check([]byte(row.reply[:cut]), &row.expect); n != 0 || v != more {
					t.Fatalf("of the first %d bytes it took %d with verdict %d, want to wait for more", cut, n, v)
				}
			}
		})
	}
}

func TestRequests(t *testing.T) {
	key, value := string(appendKey(nil, 7)), string(newValues(testSize).of(7))
	other := string(appendKey(nil, 8))
	rows := []struct {
		name string
		got  []byte
		want string
	}{
		{"text get", testCodec(t, Text).get(nil, 7), "get " + key + "\r\n"},
		{"text get of two", testCodec(t, Text).multiget(nil, []uint32{7, 8}), "get " + key + " " + other + "\r\n"},
		{"text set", testCodec(t, Text).set(nil, 7), "set " + key + " 0 0 10\r\n" + value + "\r\n"},
		{"meta get", testCodec(t, Meta).get(nil, 7), "mg " + key + " v\r\n"},
		{"meta get of two", testCodec(t, Meta).multiget(nil, []uint32{7, 8}), "mg " + key + " k q v\r\nmg " + other + " k q v\r\nmn\r\n"},
		{"meta set", testCodec(t, Meta).set(nil, 7), "ms " + key + " 10\r\n" + value + "\r\n"},
		{
			"binary get", testCodec(t, Binary).get(nil, 7),
			"\x80\x00\x00\x14\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00\x07" + strings.Repeat("\x00", 8) + key,
		},
		{
			"binary set", testCodec(t, Binary).set(nil, 7),
			"\x80\x01\x00\x14\x08\x00\x00\x00\x00\x00\x00\x26\x00\x00\x00\x07" + strings.Repeat("\x00", 16) + key + value,
		},
	}
	for _, row := range rows {
		if string(row.got) != row.want {
			t.Errorf("%s is %q, want %q", row.name, row.got, row.want)
		}
	}
}

func TestKeysDifferAndAreAsLongAsPromised(t *testing.T) {
	seen := map[string]bool{}
	for id := range uint32(100_000) {
		key := string(appendKey(nil, id))
		if len(key) != KeyLen || seen[key] || !hasKey([]byte(key+" "), id) || hasKey([]byte(key), id+1) {
			t.Fatalf("key %q of %d: wrong length, or seen before, or not told from its neighbour's", key, id)
		}
		seen[key] = true
	}
}

func FuzzReplies(f *testing.F) {
	for _, seed := range []string{
		"END\r\n", "VALUE key:0123456789abcdef 0 10\r\n0123456789\r\nEND\r\n", "VA 10 kkey:0123456789abcdef\r\n",
		"STORED\r\n", "HD\r\n", "MN\r\n", binaryReply(opGet, 0, 7, 4, "\x00\x00\x00\x000123456789"),
	} {
		f.Add([]byte(seed), uint32(7))
	}
	f.Fuzz(func(t *testing.T, in []byte, id uint32) {
		for _, p := range []Protocol{Text, Meta, Binary} {
			c := testCodec(t, p)
			for k := kindGet; k <= kindSet; k++ {
				e := expectation{id: id, kind: k}
				n, v := c.check(in, &e)
				if n < 0 || n > len(in) || n > 0 && (v == wrong || v == more) {
					t.Fatalf("%s: took %d of %d bytes with verdict %d", p, n, len(in), v)
				}
				if v == hit && !bytes.Contains(in[:n], newValues(testSize).of(id)) {
					t.Fatalf("%s: %q is no hit of key %d", p, in[:n], id)
				}
			}
		}
	})
}
