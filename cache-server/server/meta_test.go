// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// engineCAS is a CAS that the engine chose: tests choose larger ones.
var engineCAS = regexp.MustCompile(` c(as=)?[1-9][0-9]{0,8}\b`)

// stopTheClock gives a server an engine whose time stands still, so that replies that tell it are always the same.
func stopTheClock(t *testing.T) func(*Config) {
	return func(cfg *Config) {
		e, err := engine.New(engine.Config{
			MaxBytes: 64 << 20, MaxItemSize: cfg.MaxItemSize, SizeClasses: SizeClasses(Settings{}),
			Now: func() int64 { return 1_700_000_000 },
		})
		if err != nil {
			t.Fatalf("make the engine: %v", err)
		}
		cfg.Engine = e
	}
}

// The replies are those of memcached 1.6.45, but where a row says so.
func TestMetaConversations(t *testing.T) {
	for _, c := range []struct{ name, request, want string }{
		{"mn answers", "mn\r\nmn x\r\n", "MN|MN"},
		{"a value is set and read",
			"ms k 5 F7 T90\r\nhello\r\nmg k s v f t k Oq\r\n", "HD|VA 5 s5 f7 t90 kk Oq|hello"},
		{"a miss shows key and opaque", "mg k k s O1 v\r\nmg k q\r\n", "EN kk O1"},
		{"quiet hides a stored value and shows all else",
			"ms k 1 q\r\nx\r\nms k 1 q ME c s\r\ny\r\nms k 1 q C2000000000\r\nz\r\n",
			"NS c0 s1|EX"},
		{"quiet hides a delete and shows all else",
			"md k q\r\nms k 1 q\r\nx\r\nmd k q C2000000000 O5\r\nmd k q\r\n", "NF|EX O5"},
		{"quiet hides a number and shows all else",
			"ma k q k\r\nma k q N0\r\nma k q v\r\nma k v\r\n", "NF kk|VA 1|2"},
		{"a bad data block is told though quiet", "ms k 2 q\r\nabcd\r\n", "CLIENT_ERROR bad data chunk|CLIENT_ERROR bad command line format"},
		{"the data of a refused set is thrown away", "ms k 5 y\r\nhello\r\nmn\r\n", "CLIENT_ERROR invalid flag|MN"},
		{"a size that cannot be read leaves the data a line",
			"ms k x\r\nmn hi\r\n", "CLIENT_ERROR bad command line format|MN"},
		{"a value that is too large removes what was there, in any mode",
			"ms k 1\r\nx\r\nms k 1100000 MR Oo\r\n" + strings.Repeat("x", 1100000) + "\r\nmg k\r\n",
			"HD|SERVER_ERROR object too large for cache|EN"},
		{"an append that is too large is not stored",
			"ms k 1\r\nx\r\nms k 1000000 MA\r\n" + strings.Repeat("x", 1000000) + "\r\nms k 100000 MA s\r\n" +
				strings.Repeat("x", 100000) + "\r\nmg k s\r\n", "HD|HD|NS s100000|HD s1000001"},
		{"modes add, append, prepend, replace and set",
			"ms k 1 MR\r\nx\r\nms k 1 MA\r\nx\r\nms k 1 MP\r\nx\r\nms k 1 ME\r\nb\r\nms k 1 ME\r\nx\r\n" +
				"ms k 1 MA s\r\nc\r\nms k 1 MP s\r\na\r\nmg k v\r\nms k 1 MR\r\nd\r\nms k 1 MS\r\ne\r\nmg k v\r\n",
			"NS|NS|NS|HD|NS|HD s2|HD s3|VA 3|abc|HD|HD|VA 1|e"},
		{"append makes what is missing if it is asked to",
			"ms k 1 MA N60 T9 F3\r\nx\r\nms k 1 MP N30\r\ny\r\nmg k v t f\r\n",
			"HD|HD|VA 2 t60 f3|yx"},
		{"a CAS of the client is kept and compared",
			"ms k 1 E5000000000 c\r\nx\r\nms k 1 C5000000001\r\ny\r\nms k 1 C5000000000 E5000000001 c\r\nz\r\n" +
				"mg k c v C5000000001\r\nmg k v C1\r\nmd k C1\r\nmd k C5000000001\r\nms k 1 C1\r\nx\r\n",
			"HD c5000000000|EX|HD c5000000001|HD c5000000001|VA 1|z|EX|HD|NF"},
		{"ms takes a new CAS of 0 for none, mg does not",
			"ms k 1 E0 c\r\nx\r\nmg v N0 E0 c\r\nmd v C0\r\nmd k C0\r\n",
			"HD cN|HD c0 W|HD|EX"},
		{"hits and accesses are told as before",
			"ms k 1\r\nx\r\nmg k h l u\r\nmg k h\r\nmg k h u\r\nget k\r\ntouch k 5\r\n",
			"HD|HD h0 l0|HD h0|HD h1|VALUE k 0 1|x|END|TOUCHED"},
		{"a touch counts as a hit", "ms k 1\r\nx\r\ntouch k 50\r\nmg k h t u\r\n", "HD|TOUCHED|HD h1 t50"},
		{"one vivifies, others are told", "mg k N30 v t c\r\nmg k N30 t v h\r\nms k 1\r\nx\r\nmg k v\r\n",
			"VA 0 t30 cN W||VA 0 t30 h1 Z||HD|VA 1|x"},
		{"the last of N and T holds", "mg a N30 T60 t\r\nmg a t\r\nmg b T60 N30 t\r\nmg b t\r\n",
			"HD t60 W|HD t60 Z|HD t30 W|HD t30 Z"},
		{"a recache is won before the expiry", "ms k 0 T30\r\n\r\nmg k R30\r\nmg k R31 t\r\nmg k R31\r\nmg k R-1\r\n",
			"HD|HD|HD t30 W|HD Z|HD Z"},
		{"a recache sees a touch that stands before it",
			"ms k 0 T90\r\n\r\nmg k R30 T9 t\r\nms k 0 T90\r\n\r\nmg k t T9 R30\r\n",
			"HD|HD t9|HD|HD t90 W"},
		{"an invalidated item is stale and won once",
			"ms k 1 T90\r\nx\r\nmd k I T30\r\nmg k v t c\r\nmg k\r\nms k 1 C1 I\r\ny\r\nmg k v t\r\nms k 1\r\nz\r\nmg k\r\n",
			"HD|HD|VA 1 t30 cN X W|x|HD Z X|HD|VA 1 t30 Z X|y|HD|HD"},
		{"an invalid swap needs an older CAS",
			"ms k 1 E5000000000\r\nx\r\nms k 1 C5000000001 I\r\ny\r\nms k 1 C0 I\r\ny\r\n" +
				"ms k 1 I\r\nz\r\nmg k\r\n", "HD|EX|EX|HD|HD"},
		{"a value is dropped",
			"ms k 1 E5000000000 F3\r\nx\r\nmd k x\r\nmg k s v f t c\r\nmd k x I F5 T30\r\nmg k s v f t\r\n",
			"HD|HD|VA 0 s0 f0 t-1 c5000000000||HD|VA 0 s0 f5 t30 X W|"},
		{"numbers count",
			"ma n\r\nma n N60 J13 v t\r\nma n v\r\nma n D10 v\r\nma n MD D25 v\r\nma n M- v\r\nma n MI q\r\n" +
				"ms n 1\r\nx\r\nma n\r\n", "NF|VA 2 t60|13|VA 2|14|VA 2|24|VA 1|0|VA 1|0|HD|" +
				"CLIENT_ERROR cannot increment or decrement non-numeric value"},
		{"numbers are touched, in the order of the flags",
			"ma n N9 J9 t T30 O\r\nma n t T40 C7000000000 k\r\nma n t T50\r\nma n T60 t\r\nmg n t v\r\n",
			"HD t9 O|EX kn|HD t30|HD t60|VA 2 t60|11"},
		{"a number is touched and gets a CAS, longer or not (memcached forgets that where it becomes longer)",
			"ma n N0 J9 E5000000000 T30 c t\r\nma n E5000000001 t T40 c v\r\nmg n c t\r\nma n MD E5000000002 c T50 t\r\n" +
				"mg n c t v\r\n",
			"HD c5000000000 t30|VA 2 t30 c5000000001|10|HD c5000000001 t40|HD c5000000002 t50|VA 2 c5000000002 t50|9 "},
		{"an empty value is no number though the CAS is wrong", "ms n 0\r\n\r\nma n C5\r\n",
			"HD|CLIENT_ERROR cannot increment or decrement non-numeric value"},
		{"keys may be in base64",
			"ms Zm9v 2 b k\r\nhi\r\nmg Zm9v b v k\r\nmg foo v k\r\nme foo\r\nma Zm9v b k\r\nmd Zm9v k b\r\n",
			"HD kZm9v b|VA 2 kZm9v b|hi|VA 2 kZm9v b|hi|ME Zm9v exp=-1 la=0 cN fetch=yes cls=1 size=64|" +
				"CLIENT_ERROR cannot increment or decrement non-numeric value|HD kZm9v b"},
		{"a vivified base64 key is shown as a word where it is one", "mg Zm9v N0 k b\r\nmg Zm9v b k\r\nmg foo k\r\n",
			"HD kfoo W|HD kfoo Z|HD kfoo Z"},
		{"a key never breaks a reply (memcached shows it as it is)",
			"mg " + base64.StdEncoding.EncodeToString([]byte("a\r\nb")) + " N0 b k\r\nme YQ0KYg== b\r\nmg YSBi b N0 k\r\n",
			"HD kYQ0KYg== b W|ME YQ0KYg== exp=-1 la=0 cN fetch=yes cls=1 size=63|HD kYSBi b W"},
		{"me tells all and leaves no trace",
			"me k\r\nms k 100 F1 T30\r\n" + strings.Repeat("x", 100) + "\r\nme k\r\nme k\r\n",
			"EN|HD|ME k exp=30 la=0 cN fetch=no cls=4 size=164|ME k exp=30 la=0 cN fetch=no cls=4 size=164"},
		{"a request that is refused does nothing (memcached may have done it)",
			"ma n N0 O" + strings.Repeat("o", 32) + "\r\nmg n\r\n", "CLIENT_ERROR opaque token too long|EN"},
		{"what is past is shown as memcached does", "ms k 1\r\nx\r\nmg k T-1\r\nmg k\r\nms k 1 T-1\r\nx\r\nmg k\r\n",
			"HD|HD|EN|HD|EN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strings.TrimSuffix(start(t, stopTheClock(t)).ask(t, c.request), "\r\n")
			got = engineCAS.ReplaceAllString(strings.ReplaceAll(got, "\r\n", "|"), " cN")
			if got != c.want {
				t.Errorf("got %.600q, want %.600q", got, c.want)
			}
		})
	}
}

// TestALargeMetaSetKeepsItsFlags sends values that do not fit a workspace: the line is gone when they have come.
func TestALargeMetaSetKeepsItsFlags(t *testing.T) {
	f := start(t, stopTheClock(t))
	conn := f.dial(t)
	for _, size := range []int{20_000, 300_000, 1_000_000} {
		value := strings.Repeat("x", size)
		line := fmt.Sprintf("ms a2V5 %d b T90 F7 E5000000000 Oabc k s c ", size)
		send(t, conn, line+"\r\n"+value[:10], "")
		send(t, conn, value[10:]+"\r\n", fmt.Sprintf("HD Oabc ka2V5 b s%d c5000000000\r\n", size))
		send(t, conn, line+"ME q\r\n"+value+"\r\n", fmt.Sprintf("NS Oabc ka2V5 b s%d c0\r\n", size))
		send(t, conn, line+"I q\r\n"+value+"xx\r\n",
			"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n")
		send(t, conn, line+"Tx q\r\n"+value+"\r\nmn\r\n", "CLIENT_ERROR duplicate flag\r\nMN\r\n")
		send(t, conn, "mg key v t f c k\r\n", fmt.Sprintf("VA %d t90 f7 c5000000000 ka2V5 b\r\n%s\r\n", size, value))
		send(t, conn, "md key\r\n", "HD\r\n")
	}
}

func TestMetaCommandsAreCounted(t *testing.T) {
	f := start(t, nil)
	conn := f.dial(t)
	send(t, conn, "ms k 1 q\r\nx\r\nms k 1 C9000000000 q\r\nx\r\nms none 1 C1\r\nx\r\nms k 2000000 q\r\n",
		"EX\r\nNF\r\nSERVER_ERROR object too large for cache\r\n")
	send(t, conn, strings.Repeat("x", 2000000)+"\r\nmn\r\n", "MN\r\n")
	send(t, conn, "mg k q\r\nmg v N0\r\nmg v T0\r\nmg none T0 q\r\nma v N0\r\nma n N0 q\r\nma n MD\r\nma m MD\r\nma m\r\n",
		"HD W\r\nHD Z\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\nHD\r\nNF\r\nNF\r\n")
	send(t, conn, "md v I C9000000000\r\nmd v I\r\nmd v x\r\nmd v\r\nmd v\r\nme v\r\n",
		"EX\r\nHD\r\nHD\r\nHD\r\nNF\r\nEN\r\n")
	want := []string{
		"cmd_get 3", "cmd_set 3", "cmd_touch 1", "cmd_meta 1", "get_hits 1", "get_misses 2", "delete_misses 2",
		"delete_hits 2", "incr_misses 1", "incr_hits 0", "decr_misses 1", "decr_hits 1", "cas_misses 1", "cas_hits 0",
		"cas_badval 1", "touch_hits 1", "touch_misses 0", "store_too_large 1",
	}
	send(t, conn, "stats\r\n", "STAT pid ")
	var got []string
	for lines := bufio.NewScanner(conn); lines.Scan() && lines.Text() != "END"; {
		got = append(got, strings.TrimPrefix(lines.Text(), "STAT "))
	}
	for _, stat := range want {
		if !slices.Contains(got, stat) {
			name, _, _ := strings.Cut(stat, " ")
			at := slices.IndexFunc(got, func(s string) bool { return strings.HasPrefix(s, name+" ") })
			t.Errorf("got %s, want %s", got[at], stat)
		}
	}
}

// TestALargeValueIsWonOnce reads stale values that are too large for a workspace, where the memory for them is there
// at once and where it has to be waited for.
func TestALargeValueIsWonOnce(t *testing.T) {
	f := start(t, stopTheClock(t))
	value := strings.Repeat("x", 900_000)
	for _, waits := range []bool{false, true} {
		conn := f.dial(t)
		send(t, conn, "ms k 900000 T90\r\n"+value+"\r\nmd k I\r\n", "HD\r\nHD\r\n")
		free := f.transfer.limit - 1000
		if waits {
			if !f.transfer.try(free) {
				t.Fatal("the budget is in use")
			}
			time.AfterFunc(50*time.Millisecond, func() { f.transfer.give(free) })
		}
		send(t, conn, "mg k v s t\r\n", "VA 900000 s900000 t90 X W\r\n"+value+"\r\n")
		send(t, conn, "mg k v q\r\n", "VA 900000 Z X\r\n"+value+"\r\n")
		_ = conn.Close()
	}
}

// executor runs requests as a connection does, without a network.
func executor(t *testing.T, f *fixture) func(request []byte) []byte {
	t.Helper()
	inside, outside := net.Pipe()
	t.Cleanup(func() { _, _ = inside.Close(), outside.Close() })
	c := newConn(f.Server, inside)
	c.ws = takeWorkspace()
	return func(request []byte) []byte {
		c.ws.in, c.start, c.ws.out = append(c.ws.input[:0], request...), 0, c.ws.output[:0]
		if !c.execute() {
			t.Fatalf("closed after %q", request)
		}
		return c.ws.out
	}
}

func TestAWorkspaceIsNotLargerThanTheBudgetKnows(t *testing.T) {
	if size := unsafe.Sizeof(workspace{}); size > workspaceSize {
		t.Errorf("%d bytes, the budget counts %d", size, workspaceSize)
	}
}

func TestHotCommandsAllocateNothing(t *testing.T) {
	f := start(t, nil)
	run := executor(t, f)
	value := strings.Repeat("v", 100)
	for _, request := range []string{
		"set k 0 0 100\r\n" + value + "\r\n", "get k\r\n", "get k none k\r\n", "ms k 100 T90 c\r\n" + value + "\r\n",
		"ms k 100 q\r\n" + value + "\r\n", "mg k v\r\n", "mg k s t c f h l u k Oabc q v\r\n", "mg none\r\n",
		"mg k T30 N30 R30 t\r\n", "ms Zm9v 100 b\r\n" + value + "\r\n", "mg Zm9v b k v\r\n", "md k I\r\n",
		"ma n N0 v\r\n", "md foo x\r\n", "me k\r\n", "mn\r\n", "ms k 100 y\r\n" + value + "\r\n",
	} {
		line := []byte(request)
		run(line)
		if n := testing.AllocsPerRun(500, func() { run(line) }); n != 0 {
			t.Errorf("%.30q allocates %v times", request, n)
		}
	}
	if n := f.engine.Stats().CurrItems; n != 3 {
		t.Errorf("%d items are held, want 3: were the commands executed?", n)
	}
}
