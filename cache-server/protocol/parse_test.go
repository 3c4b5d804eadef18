// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsWellFormedRequests(t *testing.T) {
	key := []byte("k")
	for line, want := range map[string]Request{
		"get k":               {Command: Get, Keys: []byte("k")},
		"get a  b ":           {Command: Get, Keys: []byte("a  b ")},
		"bget k":              {Command: Get, Keys: []byte("k")},
		" gets k":             {Command: Gets, Keys: []byte("k")},
		"gat 5 a b":           {Command: Gat, Exptime: 5, Keys: []byte("a b")},
		"gat 5":               {Command: Gat, Exptime: 5},
		"gats -1 a":           {Command: Gats, Exptime: -1, Keys: []byte("a")},
		"set k 1 2 3":         {Command: Set, Key: key, Flags: 1, Exptime: 2, Size: 3},
		"set k 1 2 3 noreply": {Command: Set, Key: key, Flags: 1, Exptime: 2, Size: 3, NoReply: true},
		"set k 1 2 3 other":   {Command: Set, Key: key, Flags: 1, Exptime: 2, Size: 3},
		"set k 4294967295 -2147483648 2147483645": {Command: Set, Key: key, Flags: 1<<32 - 1, Exptime: -1 << 31,
			Size: 1<<31 - 3},
		"add k 0 0 0":                 {Command: Add, Key: key},
		"replace k 0 0 0":             {Command: Replace, Key: key},
		"append k 0 0 0":              {Command: Append, Key: key},
		"prepend k 0 0 0":             {Command: Prepend, Key: key},
		"cas k 1 2 3 4":               {Command: Cas, Key: key, Flags: 1, Exptime: 2, Size: 3, CAS: 4},
		"cas k 1 2 3 4 noreply":       {Command: Cas, Key: key, Flags: 1, Exptime: 2, Size: 3, CAS: 4, NoReply: true},
		"incr k 18446744073709551615": {Command: Incr, Key: key, Number: 1<<64 - 1},
		"decr k 5 noreply":            {Command: Decr, Key: key, Number: 5, NoReply: true},
		"touch k 9":                   {Command: Touch, Key: key, Exptime: 9},
		"delete k":                    {Command: Delete, Key: key},
		"delete k 0":                  {Command: Delete, Key: key},
		"delete k noreply":            {Command: Delete, Key: key, NoReply: true},
		"delete k 0 noreply":          {Command: Delete, Key: key, NoReply: true},
		"flush_all":                   {Command: FlushAll},
		"flush_all 9":                 {Command: FlushAll, Exptime: 9},
		"flush_all noreply":           {Command: FlushAll, NoReply: true},
		"flush_all 9 noreply":         {Command: FlushAll, Exptime: 9, NoReply: true},
		"version":                     {Command: Version},
		"version 1 2 3":               {Command: Version},
		"verbosity 2":                 {Command: Verbosity, Number: 2},
		"cache_memlimit 64":           {Command: CacheMemlimit, Number: 64},
		"quit now":                    {Command: Quit},
		"stats":                       {Command: Stats},
		"stats detail on":             {Command: Stats, NArgs: 2, Args: [3][]byte{[]byte("detail"), []byte("on")}},
		"shutdown graceful":           {Command: Shutdown, NArgs: 1, Args: [3][]byte{[]byte("graceful")}},
		"FOO / HTTP/1.1":              {Command: Foreign},
	} {
		t.Run(line, func(t *testing.T) {
			var got Request
			Parse([]byte(line), &got)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestParseTellsTheValueOfARefusedStore(t *testing.T) {
	for line, want := range map[string]int{
		"set k x 0 5": 7, "set k 0 x 5": 7, "set " + strings.Repeat("k", MaxKeyLen+1) + " 0 0 5": 7, "cas k 0 0 5": 7,
		"cas k 0 0 5 x": 7, "cas k 0 0 5 noreply": 7, "set k 4294967296 0 0": 2, "set k 0 0 x": 0, "set k 0 0 -1": 0,
		"set k 0 0": 0, "set k x 0 2147483646": 0,
	} {
		var r Request
		Parse([]byte(line), &r)
		if r.Problem == "" || r.Swallow != want || r.Command.IsStore() {
			t.Errorf("%.30s: %q and %d bytes to be thrown away, want %d", line, r.Problem, r.Swallow, want)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	long := strings.Repeat("l", MaxKeyLen+1)
	for line, want := range map[string]string{
		"":                                  problemError,
		" ":                                 problemError,
		"x":                                 problemError,
		"GET k":                             problemError,
		"get":                               problemError,
		"gat x k":                           problemExptime,
		"set":                               problemError,
		"set k 0 0":                         problemError,
		"set k 0 0 1 noreply more":          problemError,
		"set " + long + " 0 0 1":            problemFormat,
		"set k x 0 1":                       problemFormat,
		"set k -1 0 1":                      problemFormat,
		"set k 4294967296 0 1":              problemFormat,
		"set k 0 2147483648 1":              problemFormat,
		"set k 0 0 -1":                      problemFormat,
		"set k 0 0 2147483646":              problemFormat,
		"set k 0 0 99999999999999999999999": problemFormat,
		"cas k 0 0 1":                       problemFormat,
		"cas k 0 0 1 -1":                    problemFormat,
		"incr k":                            problemError,
		"incr k x":                          problemDelta,
		"incr k 18446744073709551616":       problemDelta,
		"incr " + long + " 1":               problemFormat,
		"touch k":                           problemError,
		"touch k x":                         problemExptime,
		"touch " + long + " x":              problemFormat,
		"delete":                            problemError,
		"delete k 1":                        problemDeleteUsage,
		"delete k 0 0":                      problemDeleteUsage,
		"delete " + long:                    problemFormat,
		"delete k 0 0 0":                    problemError,
		"flush_all x":                       problemExptime,
		"flush_all 1 2 3":                   problemError,
		"verbosity":                         problemError,
		"verbosity x":                       problemFormat,
		"cache_memlimit":                    problemError,
		"cache_memlimit x":                  problemError,
		strings.Repeat("w ", 30):            problemError,
		"set " + strings.Repeat("w ", 30):   problemError,
	} {
		t.Run(line[:min(len(line), 40)], func(t *testing.T) {
			var got Request
			Parse([]byte(line), &got)
			if got.Problem != want {
				t.Errorf("got %q, want %q", got.Problem, want)
			}
		})
	}
}

func TestSilenceCoversErrorsToo(t *testing.T) {
	for _, line := range []string{"set k x 0 1 noreply", "incr k x noreply", "touch k x noreply", "delete k 1 noreply",
		"flush_all x noreply", "verbosity x noreply", "set k 0 0 noreply"} {
		var got Request
		Parse([]byte(line), &got)
		if !got.NoReply || got.Problem == "" {
			t.Errorf("%q: got NoReply %v and problem %q, want silence about a problem", line, got.NoReply, got.Problem)
		}
	}
}

func TestNextLine(t *testing.T) {
	for _, c := range []struct {
		name     string
		buf      string
		line     string
		consumed int
		result   Scan
	}{
		{"nothing is incomplete", "", "", 0, Incomplete},
		{"a line ends in \\r\\n", "get k\r\nmore", "get k", 7, Complete},
		{"a line ends in \\n", "get k\nmore", "get k", 6, Complete},
		{"an empty line is a line", "\n", "", 1, Complete},
		{"a lone \\r stays", "\r\n", "\r", 2, Complete},
		{"a zero byte ends the line", "get k\x00x\r\n", "get k", 9, Complete},
		{"2048 bytes may wait for their end", strings.Repeat("x", MaxLineLen), "", 0, Incomplete},
		{"2049 bytes may not", strings.Repeat("x", MaxLineLen+1), "", 0, TooLong},
		{"a get may", "get " + strings.Repeat("x", MaxLineLen), "", 0, LongGet},
		{"a gets may", "  gets " + strings.Repeat("x", MaxLineLen), "", 0, LongGet},
		{"a gat may not", "gat " + strings.Repeat("x", MaxLineLen), "", 0, TooLong},
		{"100 spaces may stand before", strings.Repeat(" ", 100) + "get " + strings.Repeat("x", MaxLineLen), "", 0, LongGet},
		{"101 may not", strings.Repeat(" ", 101) + "get " + strings.Repeat("x", MaxLineLen), "", 0, TooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			for scanned := range max(strings.IndexByte(c.buf, '\n'), 0) + 1 {
				line, consumed, result := NextLine([]byte(c.buf), scanned)
				if string(line) != c.line || consumed != c.consumed || result != c.result {
					t.Errorf("scanned %d: got %q, %d, %d, want %q, %d, %d",
						scanned, line, consumed, result, c.line, c.consumed, c.result)
				}
			}
		})
	}
}

func TestLooksForeign(t *testing.T) {
	for _, c := range []struct {
		buf   string
		start bool
		want  string
	}{
		{"get k\r\n", true, ""}, {"", true, ""}, {"G", true, ""}, {"GET", true, ""}, {"GETS ", true, ""},
		{"GET /", true, ProtocolHTTP}, {"GET /", false, ProtocolHTTP}, {"POST x", false, ProtocolHTTP},
		{"PRI * HTTP/2.0\r\n", true, ProtocolHTTP}, {"HTTP/1.1 200", false, ProtocolHTTP},
		{"Host: a\r\n", false, ProtocolHTTP},
		{"CONNECT a:1", true, ProtocolHTTP}, {"PROXY TCP4", true, ProtocolProxy}, {"SSH-2.0", true, ProtocolSSH},
		{"\x16\x03\x01", true, ProtocolTLS}, {"\x16\x03\x01", false, ""}, {"\x16", true, ""}, {"\x16\r\n", true, ""},
		{"\x80\x00", true, ProtocolBinary}, {"\x80\x00", false, ""},
		{"\r\n\r\n\x00\r\nQUIT\n\x21", true, ProtocolProxy},
	} {
		if got := LooksForeign([]byte(c.buf), c.start); got != c.want {
			t.Errorf("%q at the start %v: got %q, want %q", c.buf, c.start, got, c.want)
		}
	}
}

func TestDeadline(t *testing.T) {
	const now = 1_700_000_000
	for exptime, want := range map[int32]int64{
		0: 0, -1: -1, -1 << 31: -1, 1: now + 1, MaxRelativeExpiry: now + MaxRelativeExpiry,
		MaxRelativeExpiry + 1: MaxRelativeExpiry + 1, 1<<31 - 1: 1<<31 - 1,
	} {
		if got := Deadline(exptime, now); got != want {
			t.Errorf("Deadline(%d) = %d, want %d", exptime, got, want)
		}
	}
}

func TestAppendReplies(t *testing.T) {
	dst := AppendValueHeader(nil, []byte("k"), 7, 3)
	dst = AppendValueHeaderCAS(dst, []byte("k"), 7, 3, 9)
	dst = AppendNumber(dst, 1<<64-1)
	dst = AppendStat(dst, "name", "value")
	dst = AppendNotAllowed(dst, "flush_all")
	dst = AppendLine(dst, "X")
	want := "VALUE k 7 3\r\nVALUE k 7 3 9\r\n18446744073709551615\r\nSTAT name value\r\n" +
		"CLIENT_ERROR flush_all not allowed\r\nX\r\n"
	if string(dst) != want {
		t.Errorf("got %q, want %q", dst, want)
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	lines := [][]byte{[]byte("get a b c"), []byte("set k 1 2 3 noreply"), []byte("incr k 5"), []byte("stats items")}
	var r Request
	allocs := testing.AllocsPerRun(100, func() {
		for _, line := range lines {
			Parse(line, &r)
		}
	})
	if allocs != 0 {
		t.Errorf("got %v allocations, want none", allocs)
	}
}
