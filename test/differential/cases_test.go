// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sameCases are conversations that random streams seldom or never hold. Both sides must say the same.
var sameCases = []struct {
	name string
	// steps are sent one by one with a short pause, a step "wait" is a pause of 2.2 s. {now+5} becomes a Unix time.
	steps []string
}{
	{"a number that becomes shorter is padded with spaces", []string{
		"set n 0 0 3\r\n100\r\n", "decr n 1\r\n", "get n\r\n", "decr n 90\r\n", "get n\r\n", "incr n 1\r\n", "get n\r\n",
		"append n 0 0 1\r\nx\r\n", "get n\r\n", "incr n 1\r\n"}},
	{"incr wraps and pads, decr stops at 0", []string{
		"set n 0 0 20\r\n18446744073709551615\r\n", "incr n 1\r\n", "get n\r\n", "decr n 5\r\n", "get n\r\n"}},
	{"what is no number is not counted", []string{
		"set n 0 0 20\r\n18446744073709551616\r\n", "incr n 1\r\n",
		"set n 0 0 0\r\n\r\n", "incr n 1\r\n", "set n 0 0 2\r\n-1\r\n", "incr n 1\r\n",
		"set n 0 0 2\r\n 5\r\n", "incr n 1\r\n",
		"set n 0 0 3\r\n5 x\r\n", "incr n 1\r\n", "get n\r\n", "set n 0 0 2\r\n5x\r\n", "incr n 1\r\n"}},
	{"items expire after relative times", []string{
		"set e 0 3 1\r\nx\r\n", "get e\r\n", "wait", "wait", "get e\r\n", "add e 0 0 1\r\ny\r\n", "get e\r\n"}},
	{"items expire at points in time, which no clock shows exactly", []string{
		"set e 0 {now+5} 1\r\nx\r\n", "ms f 1 T{now+5}\r\ny\r\n", "set g 0 {now-1} 1\r\nz\r\n", "get e f g\r\n",
		"touch e {now+100}\r\n", "wait", "wait", "wait", "wait", "get e f g\r\n", "gat {now-5} e\r\n", "get e\r\n"}},
	{"touch and gat change when an item expires", []string{
		"set e 0 3 1\r\nx\r\n", "touch e 100\r\n", "set f 0 100 1\r\ny\r\n", "gat 3 f\r\n", "wait", "wait",
		"get e\r\n", "get f\r\n"}},
	{"append keeps the expiry", []string{
		"set e 0 3 1\r\nx\r\n", "append e 0 0 1\r\ny\r\n", "get e\r\n", "wait", "wait", "get e\r\n"}},
	{"a delayed flush takes what is there when its time comes", []string{
		"set e 0 0 1\r\nx\r\n", "flush_all 4\r\n", "get e\r\n", "wait", "wait", "get e\r\n",
		"set e 0 0 1\r\ny\r\n", "get e\r\n"}},
	{"the largest item fits and one byte more does not", []string{
		"set big 0 0 1048511\r\n" + strings.Repeat("v", 1048511) + "\r\n", "get big\r\n",
		"set big 0 0 1048514\r\n" + strings.Repeat("v", 1048514) + "\r\n", "get big\r\n",
		"set big 7 0 1048507\r\n" + strings.Repeat("v", 1048507) + "\r\n", "get big\r\n",
		"set big 7 0 1048511\r\n" + strings.Repeat("v", 1048511) + "\r\n", "get big\r\n"}},
	{"a value that grows too large by append is not stored", []string{
		"set big 0 0 1000000\r\n" + strings.Repeat("v", 1000000) + "\r\n",
		"append big 0 0 100000\r\n" + strings.Repeat("v", 100000) + "\r\n", "get big\r\n"}},
	{"an add that is too large leaves the old item alone", []string{
		"set k 0 0 1\r\nx\r\n", "add k 0 0 1100000\r\n" + strings.Repeat("v", 1100000) + "\r\n", "get k\r\n",
		"set k 0 0 1100000\r\n" + strings.Repeat("v", 1100000) + "\r\n", "get k\r\n"}},
	{"a line without end is cut off after 2048 bytes", []string{strings.Repeat("x", 2049)}},
	{"an unfinished line of 2048 bytes may go on", []string{strings.Repeat("x", 2048), "\r\n"}},
	{"an unfinished get may be longer than that", []string{
		"set k 0 0 1\r\nx\r\n", "get" + strings.Repeat(" k", 3000), " k\r\n"}},
	{"a get with 100 spaces before it may be long, with 101 not", []string{
		strings.Repeat(" ", 100) + "get" + strings.Repeat(" k", 3000), "\r\n",
		strings.Repeat(" ", 101) + "get" + strings.Repeat(" k", 3000), "\r\n"}},
	{"a long line that comes in one piece is read", []string{"gat 0" + strings.Repeat(" k", 3000) + "\r\n"}},
	{"a get with a key that is too long says only that", []string{
		"set k 0 0 1\r\nx\r\n", "get k " + strings.Repeat("l", 251) + " k\r\n", "get k\r\n"}},
	{"an unknown command that ends in HTTP/ closes", []string{"get x\r\nFOO / HTTP/1.1\r\nversion\r\n"}},
	{"stats detail counts by prefix", []string{
		"stats detail on\r\n", "set a:x 0 0 1\r\ny\r\n", "get a:x\r\n", "get a:z\r\n", "gat 0 a:x\r\n", "delete a:x\r\n",
		"touch a:x 0\r\n", "incr a:x 1\r\n", "get plain\r\n", "stats detail dump\r\n", "stats detail off\r\n",
		"get a:x\r\n", "stats detail dump\r\n", "stats reset\r\n", "stats detail dump\r\n"}},
	{"stats sizes says that it is off", []string{"stats sizes\r\n"}},
	{"a stats word that nobody knows is an error", []string{"stats foo\r\n", "stats foo bar\r\n"}},
}

var unixTimes = regexp.MustCompile(`\{now([+-][0-9]+)\}`)

// talk has a conversation with one side.
func talk(addr string, steps []string) ([]byte, error) {
	const pause, wait = 30 * time.Millisecond, 2200 * time.Millisecond
	var pieces [][]byte
	for _, step := range steps {
		if step == "wait" {
			for range wait / pause {
				pieces = append(pieces, nil)
			}
			continue
		}
		pieces = append(pieces, unixTimes.ReplaceAllFunc([]byte(step), func(found []byte) []byte {
			seconds, _ := strconv.ParseInt(string(unixTimes.FindSubmatch(found)[1]), 10, 64)
			return strconv.AppendInt(nil, time.Now().Unix()+seconds, 10)
		}))
	}
	return converse(addr, append(pieces, []byte("quit\r\n")), pause, 2*time.Second)
}

func TestSameConversations(t *testing.T) {
	addrs := [2]string{startMemcached(t), startOurs(t)}
	for _, c := range sameCases {
		t.Run(c.name, func(t *testing.T) {
			var answers [2]string
			if err := onBoth(func(side int) error {
				got, err := talk(addrs[side], c.steps)
				answers[side] = string(got)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if answers[0] != answers[1] {
				t.Errorf("%s says %s,\n%s says %s", names[0], shorten(answers[0]), names[1], shorten(answers[1]))
			}
		})
	}
}

// statNames are the names in a stats answer, in order.
func statNames(t *testing.T, addr, request string) []string {
	t.Helper()
	got, err := talk(addr, []string{request})
	if err != nil {
		t.Fatalf("ask %s: %v", addr, err)
	}
	var stats []string
	for line := range strings.SplitSeq(string(got), "\r\n") {
		if words := strings.SplitN(line, " ", 3); words[0] == "STAT" && len(words) == 3 {
			stats = append(stats, words[1])
		}
	}
	return stats
}

// newerKeys are how the keys of 1.6.45 differ from those of Debian's version: each is replaced by the words
// behind it, or is followed by them if it is the first of them.
var newerKeys = map[string][]string{
	"slab_reassign_evictions_nomem": {},
	"slab_reassign_busy_deletes": {"slab_reassign_busy_deletes", "slab_reassign_busy_nomem",
		"slab_reassign_last_busy_status"},
	"memory_file": {"memory_file", "client_flags_size"},
}

// asNewer is what memcached 1.6.45 shows where Debian's version shows keys.
func asNewer(keys []string) []string {
	var newer []string
	for _, key := range keys {
		if instead, ok := newerKeys[key]; ok {
			newer = append(newer, instead...)
		} else {
			newer = append(newer, key)
		}
	}
	return newer
}

func TestStatsHaveMemcachedsKeys(t *testing.T) {
	addrs := [2]string{startMemcached(t), startOurs(t)}
	for _, addr := range addrs {
		if _, err := talk(addr, []string{"set k 0 0 1\r\nx\r\n"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, request := range []string{"stats\r\n", "stats settings\r\n", "stats items\r\n", "stats slabs\r\n"} {
		t.Run(strings.TrimSpace(request), func(t *testing.T) {
			theirs, ours := statNames(t, addrs[0], request), statNames(t, addrs[1], request)
			if len(theirs) == 0 {
				t.Fatalf("%s has no answer", names[0])
			}
			if theirs = asNewer(theirs); !slices.Equal(theirs, ours) {
				t.Errorf("keys differ: %s", keyDifference(theirs, ours))
			}
		})
	}
}

func keyDifference(theirs, ours []string) string {
	var missing, extra []string
	for _, key := range theirs {
		if !slices.Contains(ours, key) {
			missing = append(missing, key)
		}
	}
	for _, key := range ours {
		if !slices.Contains(theirs, key) {
			extra = append(extra, key)
		}
	}
	return fmt.Sprintf("missing %v, extra %v (or another order)", missing, extra)
}

// TestCountersAgree compares the statistics that follow from the commands alone.
func TestCountersAgree(t *testing.T) {
	addrs := [2]string{startMemcached(t), startOurs(t)}
	steps := []string{
		"set a 0 0 1\r\n1\r\n", "get a b\r\n", "gets a\r\n", "incr a 1\r\n", "incr z 1\r\n", "decr a 1\r\n", "decr z 1\r\n",
		"touch a 0\r\n", "touch z 0\r\n", "gat 0 a\r\n", "gat 0 z\r\n", "delete z\r\n", "cas z 0 0 1 1\r\nx\r\n",
		"cas a 0 0 1 999999\r\nx\r\n", "add a 0 0 1\r\nx\r\n", "append a 0 0 1\r\n1\r\n", "delete a\r\n",
		"set big 0 0 1100000\r\n" + strings.Repeat("v", 1100000) + "\r\n", "flush_all\r\n", "set c 0 0 3\r\nabc\r\n",
	}
	counted := []string{"cmd_get", "cmd_set", "cmd_flush", "cmd_touch", "get_hits", "get_misses", "delete_hits",
		"delete_misses", "incr_hits", "incr_misses", "decr_hits", "decr_misses", "cas_hits", "cas_misses", "cas_badval",
		"touch_hits", "touch_misses", "store_too_large", "store_no_memory", "curr_items", "total_items", "bytes"}
	var values [2]map[string]string
	for i, addr := range addrs {
		got, err := talk(addr, append(steps, "stats\r\n"))
		if err != nil {
			t.Fatalf("%s: %v", names[i], err)
		}
		values[i] = make(map[string]string)
		for line := range strings.SplitSeq(string(got), "\r\n") {
			if words := strings.SplitN(line, " ", 3); words[0] == "STAT" && len(words) == 3 {
				values[i][words[1]] = words[2]
			}
		}
	}
	for _, key := range counted {
		if values[0][key] != values[1][key] || values[0][key] == "" {
			t.Errorf("%s: %s counts %q, %s counts %q", key, names[0], values[0][key], names[1], values[1][key])
		}
	}
}
