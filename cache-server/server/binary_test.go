// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// with returns a packet with another opcode.
func (p packet) with(op protocol.Opcode) packet {
	p.op = op
	return p
}

func TestBinaryConversations(t *testing.T) {
	const (
		hit   = `extras="\x00\x00\x00\x05" `
		miss  = `0x01 body="Not found"`
		nodoc = `0x02 body="Data exists for key."`
	)
	never := uint32(protocol.NoCreate)
	for _, c := range []struct {
		name    string
		request []packet
		want    []string
	}{
		{"what is set is read back", []packet{set("k", "abc"), get("k")},
			[]string{"0x01 0x00", "0x00 0x00 " + hit + `body="abc"`}},
		{"an empty value has flags alone", []packet{set("k", ""), get("k")},
			[]string{"0x01 0x00", "0x00 0x00 " + strings.TrimSpace(hit)}},
		{"a quiet get says nothing of a miss", []packet{set("k", "v"), get("none").with(protocol.OpGetQ),
			get("k").with(protocol.OpGetQ), noop},
			[]string{"0x01 0x00", "0x09 0x00 " + hit + `body="v"`, "0x0a 0x00"}},
		{"a get with key tells the key, on a miss as well", []packet{set("k", "v"), get("k").with(protocol.OpGetK),
			get("none").with(protocol.OpGetK), get("none").with(protocol.OpGetKQ), get("none")},
			[]string{"0x01 0x00", "0x0c 0x00 " + hit + `key="k" body="v"`, `0x0c 0x01 key="none"`, "0x00 " + miss}},
		{"quiet stores are silent unless they fail", []packet{set("k", "v").with(protocol.OpSetQ),
			set("k", "v").with(protocol.OpAddQ), set("none", "v").with(protocol.OpReplaceQ),
			{op: protocol.OpAppendQ, key: "none", value: "x"}, {op: protocol.OpAppendQ, key: "k", value: "x"},
			{op: protocol.OpPrependQ, key: "k", value: "y"}, get("k"), {op: protocol.OpDeleteQ, key: "k"},
			{op: protocol.OpDeleteQ, key: "k"}},
			[]string{"0x12 " + nodoc, "0x13 " + miss, `0x19 0x05 body="Not stored."`,
				"0x00 0x00 " + hit + `body="yvx"`, "0x14 " + miss}},
		{"add and replace have memcached's statuses", []packet{set("k", "v").with(protocol.OpReplace),
			set("k", "v").with(protocol.OpAdd), set("k", "v").with(protocol.OpAdd), set("k", "w").with(protocol.OpReplace)},
			[]string{"0x03 " + miss, "0x02 0x00", "0x02 " + nodoc, "0x03 0x00"}},
		{"incr creates what is missing, and counts what is there", []packet{
			arith(protocol.OpIncrement, "n", 5, 7, 0), arith(protocol.OpIncrement, "n", 5, 7, 0), get("n"),
			arith(protocol.OpDecrement, "n", 50, 7, 0)},
			[]string{`0x05 0x00 body="\x00\x00\x00\x00\x00\x00\x00\a"`, `0x05 0x00 body="\x00\x00\x00\x00\x00\x00\x00\f"`,
				`0x00 0x00 extras="\x00\x00\x00\x00" body="12"`, `0x06 0x00 body="\x00\x00\x00\x00\x00\x00\x00\x00"`}},
		{"incr does not create where it must not", []packet{arith(protocol.OpIncrement, "n", 5, 7, never),
			arith(protocol.OpIncrementQ, "n", 5, 7, never), arith(protocol.OpDecrementQ, "n", 5, 7, 0), get("n")},
			[]string{"0x05 " + miss, "0x15 " + miss, `0x00 0x00 extras="\x00\x00\x00\x00" body="7"`}},
		{"incr of a word is refused", []packet{set("k", "word"), arith(protocol.OpIncrementQ, "k", 1, 0, 0)},
			[]string{"0x01 0x00", `0x15 0x06 body="Non-numeric server-side value for incr or decr"`}},
		{"a touch tells the flags and no value", []packet{set("k", "v"), {op: protocol.OpTouch, key: "k", extras: u32(0)},
			{op: protocol.OpTouch, key: "none", extras: u32(0)}},
			[]string{"0x01 0x00", "0x1c 0x00 " + strings.TrimSpace(hit), "0x1c " + miss}},
		{"gat reads and touches in all its forms", []packet{set("k", "v"), {op: protocol.OpGat, key: "k", extras: u32(0)},
			{op: protocol.OpGatK, key: "k", extras: u32(0)}, {op: protocol.OpGatKQ, key: "none", extras: u32(0)},
			{op: protocol.OpGatQ, key: "k", extras: u32(1)}},
			[]string{"0x01 0x00", "0x1d 0x00 " + hit + `body="v"`, "0x23 0x00 " + hit + `key="k" body="v"`,
				"0x1e 0x00 " + hit + `body="v"`}},
		{"flush takes an expiry or none", []packet{set("k", "v"), {op: protocol.OpFlush, extras: u32(1000)}, get("k"),
			{op: protocol.OpFlushQ}, get("k"), {op: protocol.OpFlush}},
			[]string{"0x01 0x00", "0x08 0x00", "0x00 0x00 " + hit + `body="v"`, "0x00 " + miss, "0x08 0x00"}},
		{"noop and version", []packet{noop, {op: protocol.OpVersion}}, []string{"0x0a 0x00", `0x0b 0x00 body="1.6.45"`}},
		{"quit is answered and closes", []packet{{op: protocol.OpQuit}, noop}, []string{"0x07 0x00"}},
		{"a quiet quit closes", []packet{{op: protocol.OpQuitQ}, noop}, nil},
		{"any key goes", []packet{set("a b\r\n\x00", "v"), get("a b\r\n\x00")},
			[]string{"0x01 0x00", "0x00 0x00 " + hit + `body="v"`}},
		{"what is unknown is said, and its body thrown away", []packet{
			{op: 0x1b, extras: u32(1), key: "get k\r\n", value: "x"}, {op: 0x30, key: "k", value: request(noop)}, noop},
			[]string{`0x1b 0x81 body="Unknown command"`, `0x30 0x81 body="Unknown command"`, "0x0a 0x00"}},
		{"there is no SASL unless configured", []packet{{op: protocol.OpSASLList},
			{op: protocol.OpSASLAuth, key: "PLAIN", value: "\x00u\x00p"}, {op: protocol.OpSASLStep, key: "PLAIN"}},
			[]string{`0x20 0x81 body="Unknown command"`, `0x21 0x81 body="Unknown command"`,
				`0x22 0x81 body="Unknown command"`}},
		{"there is no discovery unless configured", []packet{{op: protocol.OpConfigGet, key: "cluster"}, noop},
			[]string{`0x60 0x81 body="Unknown command"`, "0x0a 0x00"}},
		{"a malformed request is refused and closes", []packet{noop, {op: protocol.OpGet}, noop},
			[]string{"0x0a 0x00", `0x00 0x04 body="Invalid arguments"`}},
		{"a key that is too long closes", []packet{get(strings.Repeat("k", 251)), noop},
			[]string{`0x00 0x04 body="Invalid arguments"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range replies(t, start(t, nil).ask(t, request(c.request...))) {
				got = append(got, p.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
		})
	}
}

func TestTheOpaqueComesBack(t *testing.T) {
	f := start(t, nil)
	for i, p := range []packet{set("k", "v"), get("k"), get("none"), {op: protocol.OpStat, key: "none"}, noop,
		{op: 0xfe}, {op: protocol.OpDelete, key: "k"}} {
		p.opaque = 0xfffffff0 + uint32(i)
		if got := replies(t, f.ask(t, p.bytes()))[0]; got.opaque != p.opaque || got.op != p.op {
			t.Errorf("%v: got %v with opaque %#x", p, got, got.opaque)
		}
	}
}

func TestEveryBinaryMutationComparesTheCAS(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	for _, op := range []protocol.Opcode{protocol.OpSet, protocol.OpReplace, protocol.OpAdd, protocol.OpAppend,
		protocol.OpPrepend, protocol.OpIncrement, protocol.OpDecrement, protocol.OpDelete} {
		p := set("k", "1").with(op)
		switch op {
		case protocol.OpAppend, protocol.OpPrepend:
			p.extras = ""
		case protocol.OpIncrement, protocol.OpDecrement:
			p = arith(op, "k", 1, 0, 0)
		case protocol.OpDelete:
			p = packet{op: op, key: "k"}
		default:
		}
		stored := exchange(t, conn, set("k", "1"))
		if read := exchange(t, conn, get("k")); read.cas != stored.cas || stored.cas == 0 {
			t.Fatalf("stored with CAS %d, read with %d", stored.cas, read.cas)
		}
		p.cas = stored.cas + 1000
		if got := exchange(t, conn, p); got.status != protocol.StatusExists || got.cas != 0 {
			t.Errorf("%#x with another CAS: %v", op, got)
		}
		p.cas = stored.cas
		got := exchange(t, conn, p)
		if got.status != protocol.StatusOK || (got.cas <= stored.cas) != (op == protocol.OpDelete) {
			t.Errorf("%#x with the CAS: %v, CAS %d after %d", op, got, got.cas, stored.cas)
		}
		if op != protocol.OpDelete {
			if read := exchange(t, conn, get("k")); read.cas != got.cas {
				t.Errorf("%#x: told CAS %d, stored %d", op, got.cas, read.cas)
			}
		}
	}
	absent := set("none", "v")
	absent.cas = 5
	if got := exchange(t, conn, absent); got.status != protocol.StatusNotFound {
		t.Errorf("a set with a CAS of what is not there: %v", got)
	}
	if got := exchange(t, conn, absent.with(protocol.OpAdd)); got.status != protocol.StatusNotFound {
		t.Errorf("an add with a CAS of what is not there: %v", got)
	}
}

func TestLargeBinaryValues(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	for _, size := range []int{16_000, 16_384, 20_000, 100_000, 1_000_000} {
		value := strings.Repeat("v", size)
		if got := exchange(t, conn, set("big", value)); got.status != protocol.StatusOK {
			t.Fatalf("set of %d bytes: %v", size, got)
		}
		if got := exchange(t, conn, get("big").with(protocol.OpGetK)); got.value != value || got.key != "big" {
			t.Fatalf("get of %d bytes: status %#x, %d bytes", size, got.status, len(got.value))
		}
	}
	small := set("big", "small")
	_, _ = io.WriteString(conn, small.with(protocol.OpSetQ).bytes())
	if got := exchange(t, conn, set("big", strings.Repeat("v", 1<<20))); got.status != protocol.StatusTooLarge ||
		got.value != "Too large." {
		t.Errorf("a set that is too large: %v", got)
	}
	if got := exchange(t, conn, get("big")); got.status != protocol.StatusNotFound {
		t.Errorf("the old value survived a set that was too large: %v", got)
	}
	exchange(t, conn, small)
	long := packet{op: protocol.OpAppend, key: "big", value: strings.Repeat("v", 1<<20-64)}
	if got := exchange(t, conn, long); got.status != protocol.StatusNotStored {
		t.Errorf("an append whose sum is too large: %v", got)
	}
	if got := exchange(t, conn, get("big")); got.value != "small" {
		t.Errorf("after an append that was refused: %v", got)
	}
}

func TestTheFirstByteDecides(t *testing.T) {
	for _, c := range []struct {
		name    string
		binding Binding
		request string
		want    string
	}{
		{"text stays text", BindAuto, "version\r\n" + request(get("k")) + "\r\n", "VERSION 1.6.45\r\nERROR\r\n"},
		{"binary stays binary", BindAuto, request(noop) + "version\r\nversion\r\n", "\x81\x0a" + strings.Repeat("\x00", 22)},
		{"text alone", BindASCII, "version\r\n", "VERSION 1.6.45\r\n"},
		{"text alone closes to binary", BindASCII, request(noop), ""},
		{"binary alone", BindBinary, request(noop), "\x81\x0a" + strings.Repeat("\x00", 22)},
		{"binary alone closes to text", BindBinary, "version\r\nversion\r\nversion\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, func(cfg *Config) { cfg.BindingProtocol = c.binding })
			if got := f.ask(t, c.request); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if got := f.settingsStats(); !slices.Contains(got, stat{"binding_protocol", c.binding.String()}) {
				t.Errorf("stats settings do not tell %s", c.binding)
			}
		})
	}
}

func TestBinaryRequestsMayComeByteByByte(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	stream := request(set("k", "value"), get("k"), noop)
	go func() {
		for i := range len(stream) {
			_, _ = io.WriteString(conn, stream[i:i+1])
		}
	}()
	for _, want := range []string{"0x01 0x00", `0x00 0x00 extras="\x00\x00\x00\x05" body="value"`, "0x0a 0x00"} {
		if got, err := readPacket(conn); err != nil || got.String() != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
}

func TestBinaryPipelinesOfAnyLength(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	const n = 70_000 // memcached once counted an item's readers in 16 bits
	go func() {
		_, _ = io.WriteString(conn, set("k", strings.Repeat("v", 100)).bytes()+
			strings.Repeat(get("k").with(protocol.OpGetKQ).bytes(), n)+noop.bytes())
	}()
	for i := range n + 2 {
		p, err := readPacket(conn)
		if err != nil || p.status != protocol.StatusOK {
			t.Fatalf("reply %d: %v, %v", i, p, err)
		}
	}
}

func TestBinaryStats(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	ask := func(key string) (stats []packet) {
		t.Helper()
		_, _ = io.WriteString(conn, packet{op: protocol.OpStat, key: key, opaque: 9}.bytes())
		for {
			p, err := readPacket(conn)
			if err != nil || p.op != protocol.OpStat || p.opaque != 9 {
				t.Fatalf("%s: %v, %v", key, p, err)
			}
			if p.status != protocol.StatusOK || p.key == "" {
				return append(stats, p)
			}
			stats = append(stats, p)
		}
	}
	exchange(t, conn, set("pre:k", "v"))
	for key, want := range map[string]int{
		"": len(f.generalStats()), "settings": len(f.settingsStats()), "settingsx": len(f.settingsStats()),
		"items": len(f.itemStats()), "slabs": len(f.slabStats()), "sizes": 1, "detail on": 0, "detail dump": 1,
		"detail off": 0, "reset": 0,
	} {
		if got := ask(key); len(got) != want+1 || got[want].String() != "0x10 0x00" {
			t.Errorf("stat %q: %d replies, want %d; the last is %v", key, len(got), want+1, got[len(got)-1])
		}
	}
	for _, key := range []string{"none", "detail", "detail maybe", "item", "itemss", "conns", "cachedump 1 1"} {
		if got := ask(key); len(got) != 1 || got[0].String() != `0x10 0x01 body="Not found"` {
			t.Errorf("stat %q: %v", key, got)
		}
	}
	ask("detail on")
	exchange(t, conn, get("pre:k"))
	want := "PREFIX pre get 1 hit 1 set 0 del 0\r\nEND\r\n"
	if got := ask("detail dump")[0]; got.key != "detailed" || got.value != want {
		t.Errorf("detail dump: %q %q", got.key, got.value)
	}
}

func TestBinaryAdminCommandsAreRefusedUnlessAllowed(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.AdminCommands = nil })
	conn := f.dial(t)
	for p, want := range map[packet]protocol.Status{
		{op: protocol.OpFlush}: protocol.StatusAuthError, {op: protocol.OpFlushQ}: protocol.StatusAuthError,
		{op: protocol.OpStat, key: "reset"}:     protocol.StatusAuthError,
		{op: protocol.OpStat, key: "detail on"}: protocol.StatusNotFound,
	} {
		if got := exchange(t, conn, p); got.status != want {
			t.Errorf("%v: got %v, want %#x", p, got, want)
		}
	}
}

func TestBinaryRequestsAreCountedAsMemcachedDoes(t *testing.T) {
	f := start(t, nil)
	wrong := set("k", "v")
	wrong.cas = 1 << 40
	f.ask(t, request(set("k", "1"), get("k"), get("none").with(protocol.OpGetQ), arith(protocol.OpIncrement, "k", 1, 0, 0),
		arith(protocol.OpIncrement, "new", 1, 0, 0), arith(protocol.OpDecrement, "none", 1, 0, protocol.NoCreate),
		packet{op: protocol.OpTouch, key: "k", extras: u32(0)}, packet{op: protocol.OpGat, key: "none", extras: u32(0)},
		wrong, set("none", "v").with(protocol.OpReplace), packet{op: protocol.OpDelete, key: "k"},
		packet{op: protocol.OpDelete, key: "k"}, packet{op: protocol.OpFlush}, packet{op: protocol.OpQuit}))
	want := map[counter]uint64{
		cmdGet: 2, getHits: 1, getMisses: 1, cmdSet: 3, incrHits: 1, incrMisses: 0, decrMisses: 1, cmdTouch: 2,
		touchHits: 1, touchMisses: 1, casBadval: 1, deleteHits: 1, deleteMisses: 1, cmdFlush: 1,
	}
	eventually(t, "the connection has ended", func() bool { return f.numConns() == 0 })
	for which, n := range want {
		if got := f.count(which); got != n {
			t.Errorf("counter %d is %d, want %d", which, got, n)
		}
	}
}

func TestBothProtocolsSeeTheSameItems(t *testing.T) {
	f := start(t, nil)
	binary, text := f.dial(t), f.dial(t)
	exchange(t, binary, set("k", "from binary"))
	send(t, text, "get k\r\n", "VALUE k 5 11\r\nfrom binary\r\nEND\r\n")
	send(t, text, "set k 7 0 9\r\nfrom text\r\n", "STORED\r\n")
	if got := exchange(t, binary, get("k")); got.value != "from text" || got.extras != u32(7) {
		t.Errorf("got %v", got)
	}
	send(t, text, fmt.Sprintf("cas k 0 0 1 %d\r\nx\r\n", exchange(t, binary, get("k")).cas), "STORED\r\n")
}

func TestBinaryGetsAndSetsAllocateNothing(t *testing.T) {
	f := start(t, nil)
	_, inside := net.Pipe()
	c := newConn(f.Server, inside)
	c.ws = takeWorkspace()
	defer giveWorkspace(c.ws)
	stream := request(set("key", strings.Repeat("v", 100)), get("key"), get("key").with(protocol.OpGetKQ), noop,
		set("key", "v").with(protocol.OpSetQ), packet{op: protocol.OpDelete, key: "key"})
	allocations := testing.AllocsPerRun(200, func() {
		c.ws.in, c.ws.out, c.start = append(c.ws.in[:0], stream...), c.ws.out[:0], 0
		if !c.execute() || c.start != len(stream) {
			t.Fatal("not everything was executed")
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestBinaryRepliesTellNoCASWhereItIsOff(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.DisableCAS = true })
	conn := f.dial(t)
	another := set("k", "1")
	another.cas = 1 << 40
	for _, p := range []packet{another, get("k"), arith(protocol.OpIncrement, "k", 1, 0, 0),
		{op: protocol.OpTouch, key: "k", extras: u32(0)}} {
		if got := exchange(t, conn, p); got.status != protocol.StatusOK || got.cas != 0 {
			t.Errorf("%v: got %v with CAS %d", p, got, got.cas)
		}
	}
}
