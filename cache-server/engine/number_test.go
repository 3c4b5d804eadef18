// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"strings"
	"testing"
)

// The wanted results are those of memcached 1.6.18.
func TestIncrementTakesNumbersAsMemcachedDoes(t *testing.T) {
	rows := []struct {
		name, value string
		delta       uint64
		decrement   bool
		want        string // the value afterwards; empty means non-numeric
		number      uint64
	}{
		{"a plain number is increased", "10", 1, false, "11", 11},
		{"a result that is longer grows the value", "99", 1, false, "100", 100},
		{"a result that is shorter is padded", "10", 1, true, "9 ", 9},
		{"a padded number counts on and uses the padding", "9 ", 1, false, "10", 10},
		{"a decrement stops at zero", "5", 6, true, "0", 0},
		{"an increment wraps at 2^64", "18446744073709551615", 1, false, "0" + strings.Repeat(" ", 19), 0},
		{"the largest delta is taken", "1", 1<<64 - 1, false, "0", 0},
		{"2^64 is no number", "18446744073709551616", 1, false, "", 0},
		{"more digits than a number has are none", strings.Repeat("9", 21), 1, false, "", 0},
		{"leading zeros are taken", "00000000000000000000007", 1, false, "8" + strings.Repeat(" ", 22), 8},
		{"white space before is taken", " \t\r\n\v\f5", 1, false, "6      ", 6},
		{"text behind white space is ignored", "5 x", 1, false, "6  ", 6},
		{"text behind a zero byte is ignored", "5\x00abc", 1, false, "6    ", 6},
		{"text right behind the digits is not", "5abc", 1, false, "", 0},
		{"a plus is taken", "+5", 1, false, "6 ", 6},
		{"a negative number is refused", "-5", 1, false, "", 0},
		{"minus zero is zero", "-0", 1, false, "1 ", 1},
		{"a minus whose result is small is taken", "-18446744073709551615", 1, false, "2" + strings.Repeat(" ", 20), 2},
		{"a sign apart from its digits is refused", "- 5", 1, false, "", 0},
		{"a lone sign is refused", "+", 1, false, "", 0},
		{"an empty value is refused", "", 1, false, "", 0},
		{"white space alone is refused", "   ", 1, false, "", 0},
		{"hexadecimal is refused", "0x10", 1, false, "", 0},
	}
	e := newEngine(t, Config{MaxBytes: MinBytes, MaxItemSize: 1 << 10})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			set := e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: []byte(row.value), Flags: 7, Expires: e.Now() + 99})
			verb := Increment
			if row.decrement {
				verb = Decrement
			}
			res := e.Apply(&Mutation{Verb: verb, Key: []byte("k"), Delta: row.delta})
			value, it, _ := e.Get(nil, []byte("k"))
			if row.want == "" {
				if res != (Result{Outcome: NonNumeric}) || string(value) != row.value || it.CAS != set.CAS {
					t.Errorf("got %+v and value %q, want NonNumeric and no change", res, value)
				}
				return
			}
			if res.Outcome != Stored || res.Number != row.number || res.CAS <= set.CAS || it.CAS != res.CAS {
				t.Errorf("got %+v, stored CAS %d then %d", res, set.CAS, it.CAS)
			}
			if string(value) != row.want || it.Flags != 7 || it.Expires == 0 {
				t.Errorf("got %q %+v, want %q with flags and expiry kept", value, it, row.want)
			}
		})
	}
}

func TestLargeValues(t *testing.T) {
	e := newEngine(t, Config{MaxBytes: 4 << 20, MaxItemSize: 1 << 20})
	spaces := strings.Repeat(" ", 50_000)
	rows := []struct {
		name, value, want string // want empty means non-numeric
	}{
		{"what stands behind a number is blanked", "5 " + strings.Repeat("x", 50_000), "6 " + spaces},
		{"white space before a number is taken", spaces + "41", "42" + spaces},
		{"many zeros before a number are taken", strings.Repeat("0", 50_000) + "9", "10" + spaces[1:]},
		{"text far behind white space is none", spaces + "x", ""},
		{"what memcached keeps in chunks is none", "5" + strings.Repeat(" ", 512<<10), ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: []byte(row.value)})
			res := e.Apply(&Mutation{Verb: Increment, Key: []byte("k"), Delta: 1})
			if row.want == "" {
				if res.Outcome != NonNumeric {
					t.Errorf("got %+v, want NonNumeric", res)
				}
				return
			}
			if v, _, _ := e.Get(nil, []byte("k")); res.Outcome != Stored || string(v) != row.want {
				t.Errorf("got %+v and %.40q, want %.40q", res, v, row.want)
			}
		})
	}
}
