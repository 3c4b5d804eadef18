// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// twoMembers is a cluster of two.
type twoMembers struct{}

func (twoMembers) Snapshot() (uint64, []Member) {
	return 12, []Member{{Host: "a.example.com", IP: "192.0.2.1", Port: 11211}, {Host: "b.example.com", Port: 11212}}
}

const membersPayload = "12\na.example.com|192.0.2.1|11211 b.example.com||11212\n"

func startCluster(t *testing.T) *fixture {
	t.Helper()
	return start(t, func(cfg *Config) { cfg.Membership = twoMembers{} })
}

func TestDiscovery(t *testing.T) {
	value := "54\r\n" + membersPayload + "\r\n"
	for _, c := range []struct{ name, request, want string }{
		{"config get cluster", "config get cluster\r\n", "CONFIG cluster 0 " + value + "END\r\n"},
		{"the legacy key", "get AmazonElastiCache:cluster\r\n", "VALUE AmazonElastiCache:cluster 0 " + value + "END\r\n"},
		{"the legacy key among others", "set k 0 0 1\r\nx\r\nget k AmazonElastiCache:cluster none\r\n",
			"STORED\r\nVALUE k 0 1\r\nx\r\nVALUE AmazonElastiCache:cluster 0 " + value + "END\r\n"},
		{"another name", "config get other\r\n", "END\r\n"},
		{"no name", "config get\r\n", "ERROR\r\n"},
		{"nobody sets it, and what was to be set is no command", "config set cluster 0 9\r\nflush_all\r\nversion\r\n",
			"CLIENT_ERROR config set not allowed\r\nVERSION 1.6.45\r\n"},
		{"nobody deletes it", "config delete cluster\r\n", "CLIENT_ERROR config delete not allowed\r\n"},
		{"a size that is none", "config set cluster 0 -1\r\n", "ERROR\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := startCluster(t).ask(t, c.request); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestDiscoveryIsUnknownWithoutMembership(t *testing.T) {
	f := start(t, nil)
	request := "config get cluster\r\nconfig set cluster 0 3\r\nxyz\r\nconfig delete cluster\r\n"
	if got := f.ask(t, request); got != strings.Repeat("ERROR\r\n", 4) {
		t.Errorf("got %q", got)
	}
	if got := f.ask(t, "get AmazonElastiCache:cluster\r\n"); got != "END\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestBinaryDiscovery(t *testing.T) {
	conn := startCluster(t).dial(t)
	config := func(op protocol.Opcode, name string) packet { return packet{op: op, key: name} }
	for _, c := range []struct {
		request packet
		want    string
	}{
		{config(protocol.OpConfigGet, "cluster"), `0x60 0x00 extras="\x00\x00\x00\x00"`},
		{config(protocol.OpGet, "AmazonElastiCache:cluster"), `0x00 0x00 extras="\x00\x00\x00\x00"`},
		{config(protocol.OpConfigGet, "other"), `0x60 0x01 body="Not found"`},
		{config(protocol.OpConfigDelete, "cluster"), `0x66 0x20 body="Auth failure."`},
		{packet{op: protocol.OpConfigSet, extras: u32(0), key: "cluster", value: request(packet{op: protocol.OpQuit})},
			`0x64 0x20 body="Auth failure."`},
	} {
		got := exchange(t, conn, c.request)
		if got.status == protocol.StatusOK {
			if got.value != membersPayload {
				t.Errorf("%v: the list is %q", c.request, got.value)
			}
			got.value = ""
		}
		if got.String() != c.want {
			t.Errorf("%v: got %v, want %s", c.request, got, c.want)
		}
	}
	_, _ = io.WriteString(conn, noop.bytes())
	if got, err := readPacket(conn); err != nil || got.op != protocol.OpNoop {
		t.Errorf("after all that: %v, %v", got, err)
	}
}

// unknownMembers is a cluster whose members nobody has told yet.
type unknownMembers struct{}

func (unknownMembers) Snapshot() (uint64, []Member) { return 0, nil }

func TestDiscoveryIsUnknownUntilTheMembersAreKnown(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.Membership = unknownMembers{} })
	if got := f.ask(t, "config get cluster\r\nget AmazonElastiCache:cluster\r\n"); got != "ERROR\r\nEND\r\n" {
		t.Errorf("got %q", got)
	}
}
