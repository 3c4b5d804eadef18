// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// packet is a binary request, or what was read of a reply.
type packet struct {
	op                 protocol.Opcode
	status             protocol.Status
	extras, key, value string
	opaque             uint32
	cas                uint64
}

// bytes is the packet as a request.
func (p packet) bytes() string {
	b := make([]byte, protocol.BinaryHeaderLen)
	b[0], b[1], b[4] = protocol.BinaryMagic, byte(p.op), byte(len(p.extras))
	binary.BigEndian.PutUint16(b[2:], uint16(len(p.key)))
	binary.BigEndian.PutUint32(b[8:], uint32(len(p.extras)+len(p.key)+len(p.value)))
	binary.BigEndian.PutUint32(b[12:], p.opaque)
	binary.BigEndian.PutUint64(b[16:], p.cas)
	return string(b) + p.extras + p.key + p.value
}

// String shows a reply without its CAS, so that it can be told in advance.
func (p packet) String() string {
	s := fmt.Sprintf("%#02x %#02x", uint8(p.op), uint16(p.status))
	for _, part := range []struct{ name, text string }{{"extras", p.extras}, {"key", p.key}, {"body", p.value}} {
		if part.text != "" {
			s += fmt.Sprintf(" %s=%.60q", part.name, part.text)
		}
	}
	return s
}

// request writes many packets.
func request(packets ...packet) string {
	var b strings.Builder
	for _, p := range packets {
		b.WriteString(p.bytes())
	}
	return b.String()
}

// readPacket reads one reply. It returns io.EOF at the end of the stream.
func readPacket(r io.Reader) (packet, error) {
	var b [protocol.BinaryHeaderLen]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return packet{}, err
	}
	if b[0] != protocol.BinaryReplyMagic || b[5] != 0 {
		return packet{}, fmt.Errorf("%q is no reply", b)
	}
	body := make([]byte, binary.BigEndian.Uint32(b[8:]))
	if _, err := io.ReadFull(r, body); err != nil {
		return packet{}, fmt.Errorf("body of %d bytes: %w", len(body), err)
	}
	extras, key := int(b[4]), int(binary.BigEndian.Uint16(b[2:]))
	if extras+key > len(body) {
		return packet{}, fmt.Errorf("%q: %d bytes of extras, %d of key", body, extras, key)
	}
	return packet{
		op: protocol.Opcode(b[1]), status: protocol.Status(binary.BigEndian.Uint16(b[6:])),
		extras: string(body[:extras]), key: string(body[extras : extras+key]), value: string(body[extras+key:]),
		opaque: binary.BigEndian.Uint32(b[12:]), cas: binary.BigEndian.Uint64(b[16:]),
	}, nil
}

// replies reads what a server said until it closed.
func replies(t testing.TB, text string) (packets []packet) {
	t.Helper()
	r := strings.NewReader(text)
	for r.Len() > 0 {
		p, err := readPacket(r)
		if err != nil {
			t.Fatalf("after %d replies: %v", len(packets), err)
		}
		packets = append(packets, p)
	}
	return packets
}

// exchange sends one request and reads one reply.
func exchange(t testing.TB, conn net.Conn, p packet) packet {
	t.Helper()
	if _, err := io.WriteString(conn, p.bytes()); err != nil {
		t.Fatalf("write: %v", err)
	}
	got, err := readPacket(conn)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return got
}

// u32 and u64 are numbers as they stand in extras and replies.
func u32(n uint32) string { return string(binary.BigEndian.AppendUint32(nil, n)) }
func u64(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// The usual requests.
func set(key, value string) packet {
	return packet{op: protocol.OpSet, extras: u32(5) + u32(0), key: key, value: value}
}

func get(key string) packet { return packet{op: protocol.OpGet, key: key} }

func arith(op protocol.Opcode, key string, delta, initial uint64, exptime uint32) packet {
	return packet{op: op, key: key, extras: u64(delta) + u64(initial) + u32(exptime)}
}

var noop = packet{op: protocol.OpNoop}
