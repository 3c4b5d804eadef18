// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// packet writes a request by the lengths of its parts.
func packet(op Opcode, extras, key, value string) []byte {
	return header(op, uint8(len(extras)), uint16(len(key)), uint32(len(extras)+len(key)+len(value)),
		extras+key+value)
}

// header writes a request whose lengths may be wrong.
func header(op Opcode, extras uint8, key uint16, body uint32, rest string) []byte {
	p := make([]byte, BinaryHeaderLen, BinaryHeaderLen+len(rest))
	p[0], p[1], p[4] = BinaryMagic, byte(op), extras
	binary.BigEndian.PutUint16(p[2:], key)
	binary.BigEndian.PutUint32(p[8:], body)
	binary.BigEndian.PutUint32(p[12:], 0xdeadbeef)
	binary.BigEndian.PutUint64(p[16:], 77)
	return append(p, rest...)
}

const (
	extras4  = "\x00\x00\x00\x09"
	extras8  = "\x00\x00\x00\x05" + extras4
	extras20 = "\x00\x00\x00\x00\x00\x00\x00\x02" + "\x00\x00\x00\x00\x00\x00\x00\x03" + extras4
)

func TestBinaryRequestsAreRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		packet []byte
		want   Request
	}{
		{"get", packet(OpGet, "", "key", ""), Request{Command: Get, Key: []byte("key")}},
		{"quiet get with key", packet(OpGetKQ, "", "key", ""),
			Request{Command: Get, Key: []byte("key"), NoReply: true, Binary: Binary{WithKey: true}}},
		{"set", packet(OpSet, extras8, "key", "value"),
			Request{Command: Set, Key: []byte("key"), Flags: 5, Size: 5, Binary: Binary{Exptime: 9}}},
		{"set of nothing", packet(OpSetQ, extras8, "key", ""),
			Request{Command: Set, Key: []byte("key"), Flags: 5, NoReply: true, Binary: Binary{Exptime: 9}}},
		{"incr", packet(OpIncrement, extras20, "key", ""),
			Request{Command: Incr, Key: []byte("key"), Number: 2, Binary: Binary{Initial: 3, Exptime: 9}}},
		{"quiet prepend", packet(OpPrependQ, "", "key", "value"),
			Request{Command: Prepend, Key: []byte("key"), Size: 5, NoReply: true}},
		{"gat with key", packet(OpGatK, extras4, "key", ""),
			Request{Command: Gat, Key: []byte("key"), Binary: Binary{WithKey: true, Exptime: 9}}},
		{"flush at once", packet(OpFlush, "", "", ""), Request{Command: FlushAll, Key: []byte{}}},
		{"flush later", packet(OpFlushQ, extras4, "", ""),
			Request{Command: FlushAll, Key: []byte{}, NoReply: true, Binary: Binary{Exptime: 9}}},
		{"stat of something", packet(OpStat, "", "items", ""), Request{Command: Stats, Key: []byte("items")}},
		{"SASL", packet(OpSASLAuth, "", "PLAIN", "\x00me\x00secret"),
			Request{Command: SASLAuth, Key: []byte("PLAIN"), Size: 10}},
		{"an opcode that is not known has its body after the key", packet(0x1b, extras4, "key", "value"),
			Request{Command: BinaryUnknown, Key: []byte("key"), Size: 5}},
		{"the last opcode", packet(0xff, "", "", ""), Request{Command: BinaryUnknown, Key: []byte{}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.CAS, c.want.Binary.On, c.want.Binary.Opaque = 77, true, 0xdeadbeef
			c.want.Binary.Opcode = Opcode(c.packet[1])
			var r Request
			n, ok := ParseBinary(append(c.packet, "more"...), &r)
			if !ok || n+r.BlockSize() != len(c.packet) {
				t.Errorf("took %d bytes and %d, %v, of %d", n, r.BlockSize(), ok, len(c.packet))
			}
			if !bytes.Equal(r.Key, c.want.Key) {
				t.Errorf("key is %q, want %q", r.Key, c.want.Key)
			}
			r.Key, c.want.Key = nil, nil
			if !sameRequest(r, c.want) {
				t.Errorf("got %+v\nwant %+v", r, c.want)
			}
			head := n
			for short := range head {
				if n, ok := ParseBinary(c.packet[:short], &r); n != 0 || !ok {
					t.Fatalf("%d bytes of %d are taken for a request: %d, %v", short, head, n, ok)
				}
			}
		})
	}
}

// sameRequest compares requests without slices.
func sameRequest(a, b Request) bool {
	return a.Command == b.Command && a.NoReply == b.NoReply && a.Flags == b.Flags && a.Size == b.Size &&
		a.CAS == b.CAS && a.Number == b.Number && a.Binary == b.Binary
}

func TestMalformedBinaryRequestsAreRefused(t *testing.T) {
	long := strings.Repeat("k", MaxKeyLen+1)
	for _, c := range []struct {
		name   string
		packet []byte
		want   Status
	}{
		{"key longer than the body", header(OpGet, 0, 5, 4, "abcde"), StatusUnknownCommand},
		{"extras and key longer than the body", header(OpSet, 8, 3, 10, extras8+"abc"), StatusUnknownCommand},
		{"a body larger than any", header(OpSet, 8, 3, MaxBinaryBody+1, extras8+"abc"), StatusInvalid},
		{"a body with the sign bit", header(OpSet, 8, 3, 1<<31, extras8+"abc"), StatusInvalid},
		{"the largest body", header(OpAppend, 0, 3, 1<<32-1, "abc"), StatusInvalid},
		{"a key that is too long", packet(OpGet, "", long, ""), StatusInvalid},
		{"the longest key", header(OpGet, 0, 1<<16-1, 1<<16-1, ""), StatusInvalid},
		{"get without a key", packet(OpGet, "", "", ""), StatusInvalid},
		{"get with extras", packet(OpGet, extras4, "key", ""), StatusInvalid},
		{"get with a value", packet(OpGetK, "", "key", "value"), StatusInvalid},
		{"set without extras", packet(OpSet, "", "key", "value"), StatusInvalid},
		{"set with all extras there are", packet(OpSet, strings.Repeat("x", 255), "key", "value"), StatusInvalid},
		{"set without a key", packet(OpSet, extras8, "", "value"), StatusInvalid},
		{"append with extras", packet(OpAppend, extras4, "key", "value"), StatusInvalid},
		{"incr with half the extras", packet(OpIncrement, extras8, "key", ""), StatusInvalid},
		{"incr with a value", packet(OpIncrement, extras20, "key", "v"), StatusInvalid},
		{"delete with extras", packet(OpDelete, extras4, "key", ""), StatusInvalid},
		{"touch without extras", packet(OpTouch, "", "key", ""), StatusInvalid},
		{"gat without a key", packet(OpGat, extras4, "", ""), StatusInvalid},
		{"flush with a key", packet(OpFlush, "", "key", ""), StatusInvalid},
		{"flush with long extras", packet(OpFlush, extras8, "", ""), StatusInvalid},
		{"noop with a body", packet(OpNoop, "", "", "x"), StatusInvalid},
		{"version with a key", packet(OpVersion, "", "key", ""), StatusInvalid},
		{"quit with extras", packet(OpQuit, extras4, "", ""), StatusInvalid},
		{"stat with extras", packet(OpStat, extras4, "", ""), StatusInvalid},
		{"SASL without a mechanism", packet(OpSASLAuth, "", "", "x"), StatusInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r Request
			n, ok := ParseBinary(c.packet, &r)
			if !ok || n == 0 || n > len(c.packet) || r.Binary.Problem != c.want {
				t.Errorf("took %d, %v, status %#x, want %#x", n, ok, r.Binary.Problem, c.want)
			}
		})
	}
}

func TestWhatIsNotBinaryIsSaid(t *testing.T) {
	var r Request
	for _, buf := range []string{"get k\r\n", "\x81", "\x00\x80"} {
		if n, ok := ParseBinary([]byte(buf), &r); ok || n != 0 {
			t.Errorf("%q: %d, %v", buf, n, ok)
		}
	}
}

func TestBinaryReplies(t *testing.T) {
	r := &Request{Key: []byte("key"), Binary: Binary{Opcode: OpGetK, Opaque: 0x01020304, WithKey: true}}
	head := func(status, key, extras, body, cas byte) string {
		return "\x81\x0c\x00" + string([]byte{key, extras, 0, 0, status, 0, 0, 0, body}) + "\x01\x02\x03\x04" +
			"\x00\x00\x00\x00\x00\x00\x00" + string([]byte{cas})
	}
	item := make([]byte, BinaryItemLen(r))
	PutBinaryItem(item, r, 5, 2, 9)
	for _, c := range []struct{ name, got, want string }{
		{"an item", string(item), head(0, 3, 4, 9, 9) + "\x00\x00\x00\x05key"},
		{"a miss with its key", string(AppendBinaryMiss(nil, r)), head(1, 3, 0, 3, 0) + "key"},
		{"a refusal", string(AppendBinaryError(nil, r, StatusTooLarge)), head(3, 0, 0, 10, 0) + "Too large."},
		{"a number", string(AppendBinaryNumber(nil, r, 258, 9)), head(0, 0, 0, 8, 9) + "\x00\x00\x00\x00\x00\x00\x01\x02"},
		{"a touch", string(AppendBinaryTouched(nil, r, 5, 9)), head(0, 0, 4, 4, 9) + "\x00\x00\x00\x05"},
		{"a statistic", string(AppendBinaryStat(nil, r, "pid", "12")), head(0, 3, 0, 5, 0) + "pid12"},
		{"the end of statistics", string(AppendBinaryStat(nil, r, "", "")), head(0, 0, 0, 0, 0)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

func TestBinaryExpiryHasNoSign(t *testing.T) {
	const now = 1_800_000_000
	for exptime, want := range map[uint32]int64{
		0: 0, 1: now + 1, MaxRelativeExpiry: now + MaxRelativeExpiry, MaxRelativeExpiry + 1: MaxRelativeExpiry + 1,
		1<<32 - 1: 1<<32 - 1,
	} {
		if got := BinaryDeadline(exptime, now); got != want {
			t.Errorf("%d: got %d, want %d", exptime, got, want)
		}
	}
}

func TestParsingBinaryRequestsAllocatesNothing(t *testing.T) {
	set := packet(OpSet, extras8, "key", "value")
	var r Request
	if n := testing.AllocsPerRun(100, func() { ParseBinary(set, &r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzBinary checks what a server relies on, whatever the bytes are.
func FuzzBinary(f *testing.F) {
	for _, seed := range [][]byte{
		packet(OpSet, extras8, "key", "value"), packet(OpGetKQ, "", "key", ""), packet(OpIncrement, extras20, "key", ""),
		packet(OpFlush, extras4, "", ""), packet(OpStat, "", "detail dump", ""), packet(0x1b, extras4, "", ""),
		packet(OpSASLAuth, "", "PLAIN", "\x00u\x00p"), header(OpAppend, 255, 65535, 1<<32-1, "abc"),
		header(OpSet, 8, 250, 1<<31, extras8), {0x81, 0}, {BinaryMagic},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		var r Request
		n, ok := ParseBinary(buf, &r)
		switch {
		case !ok:
			if len(buf) == 0 || buf[0] == BinaryMagic || n != 0 {
				t.Errorf("%q is called foreign, %d taken", buf, n)
			}
			return
		case n == 0:
			if len(buf) >= 8<<10 {
				t.Errorf("%d bytes are called incomplete", len(buf))
			}
			return
		case n < BinaryHeaderLen || n > len(buf):
			t.Fatalf("took %d bytes of %d", n, len(buf))
		}
		if r.Binary.Problem != StatusOK {
			return
		}
		if len(r.Key) > MaxKeyLen || r.Size < 0 || n+r.Size > BinaryHeaderLen+MaxBinaryBody {
			t.Errorf("key of %d bytes, size %d", len(r.Key), r.Size)
		}
		if body := binary.BigEndian.Uint32(buf[8:]); n+r.Size != BinaryHeaderLen+int(body) {
			t.Errorf("took %d and %d of a body of %d bytes", n, r.Size, body)
		}
		if (r.Command.IsStore() || r.Command >= Incr && r.Command <= Delete) && len(r.Key) == 0 {
			t.Errorf("%q: no key", buf)
		}
		if r.Command == Unknown {
			t.Errorf("%q is unknown", buf)
		}
	})
}
