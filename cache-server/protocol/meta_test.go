// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"bytes"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
)

func TestParseReadsMetaCommands(t *testing.T) {
	key := []byte("k")
	flags := func(s string, m Meta) Meta { m.Flags = []byte(s); return m }
	for line, want := range map[string]Request{
		"mn":       {Command: MetaNoop},
		"mn x y z": {Command: MetaNoop},
		"me k":     {Command: MetaDebug, Key: key},
		"me k v !": {Problem: problemFormat},
		"me aw== b": {Command: MetaDebug, Key: []byte("aw=="), Meta: Meta{
			Binary: true}},
		"me k x b": {Command: MetaDebug, Key: key},
		"mg k":     {Command: MetaGet, Key: key, Number: 1},
		"mg  k  v  q ": {Command: MetaGet, Key: key, Number: 1,
			Meta: flags(" v  q ", Meta{Value: true, Quiet: true})},
		"mg k s t c f h l k Oabc Pp Ll u": {Command: MetaGet, Key: key, Number: 1,
			Meta: flags("s t c f h l k Oabc Pp Ll u", Meta{NoBump: true})},
		"mg aw== b": {Command: MetaGet, Key: []byte("aw=="), Number: 1, Meta: flags("b", Meta{Binary: true})},
		"mg k N30 R-1 T2147483647": {Command: MetaGet, Key: key, Number: 1, Exptime: 1<<31 - 1,
			Meta: flags("N30 R-1 T2147483647", Meta{Vivify: true, VivifyExptime: 30, Recache: true, RecacheExptime: -1,
				Touch: true, TouchedLast: true})},
		"mg k T1 N2 R3": {Command: MetaGet, Key: key, Number: 1, Exptime: 1,
			Meta: flags("T1 N2 R3", Meta{Vivify: true, VivifyExptime: 2, Recache: true, RecacheExptime: 3,
				Touch: true, TouchedFirst: true})},
		"mg k C0 E18446744073709551615": {Command: MetaGet, Key: key, Number: 1,
			Meta: flags("C0 E18446744073709551615", Meta{HasCAS: true, HasNewCAS: true, NewCAS: 1<<64 - 1})},
		"mg k T-": {Command: MetaGet, Key: key, Number: 1, Meta: flags("T-", Meta{Touch: true, TouchedFirst: true})},
		"ms k 3":  {Command: MetaSet, Key: key, Size: 3},
		"ms k -":  {Command: MetaSet, Key: key},
		"ms k 00000000003 F4294967295 I C0000000000000000000007 MReplace": {Command: MetaSet, Key: key, Size: 3,
			Flags: 1<<32 - 1, CAS: 7, Meta: flags("F4294967295 I C0000000000000000000007 MReplace",
				Meta{Invalidate: true, HasCAS: true, Mode: 'R'})},
		"md k x q": {Command: MetaDelete, Key: key, Number: 1,
			Meta: flags("x q", Meta{DropValue: true, Quiet: true})},
		"md k M": {Command: MetaDelete, Key: key, Number: 1, Meta: flags("M", Meta{Mode: ' '})},
		"ma k J5 D0 M-": {Command: MetaArithmetic, Key: key,
			Meta: flags("J5 D0 M-", Meta{Initial: 5, Mode: '-'})},
	} {
		t.Run(line, func(t *testing.T) {
			var got Request
			Parse([]byte(line), &got)
			if len(got.Meta.Flags) == 0 {
				got.Meta.Flags = nil
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

// The replies are those of memcached 1.6.45.
func TestParseRefusesMetaCommands(t *testing.T) {
	long := strings.Repeat("k", MaxKeyLen+1)
	for want, lines := range map[string][]string{
		problemFormat: {"mg", "mg ", "me", "md", "ma", "ms", "ms k", "ms k S3", "ms k -1",
			"ms k 000000000003", "ms k 2147483646", "ms k +3", "mg " + long, "md " + long,
			"me " + long, "mg k !", "mg k {", "mg k \xff", "mg k v v !", "mg k F",
			"mg k F4294967296", "ma k !", "me k b"},
		problemError:     {" mg k", "mx k", "mgk", "m"},
		problemAnyFlag:   {"ma " + long, "ma k Tx", "ma k D", "ma k v v", "ma k S"},
		problemFlag:      {"mg k [", "mg k 5", "mg k S", "mg k z", "mg k Tx z"},
		problemDuplicate: {"mg k v v", "mg k Tx v v"},
		problemToken: {"mg k T", "mg k T+5", "mg k N2147483648", "mg k R000000000005", "mg k C",
			"mg k C-1", "mg k E18446744073709551616", "mg k C00000000000000000000001",
			"mg k Tx O" + strings.Repeat("o", 99), "ms k 3 Ms Tx"},
		problemInitial:   {"mg k J"},
		problemMetaDelta: {"mg k D", "mg k Jx Dx", "mg k Dx F"},
		problemBase64:    {"mg k b", "mg ==== b"},
		problemOpaque: {"mg k O" + strings.Repeat("o", MaxOpaqueLen),
			"ma k O" + strings.Repeat("o", 99)},
		problemManyFlags: {"mg k s t c f h l k O u q v P L N0 T0 R0 C0 E0 F0",
			"mg k s t c f h l k O u q v P L N0 T0 R0 C0 E0 F0 J0 D0 I x !"},
		problemSetMode:   {"ms k 3 MX", "ms k 3 M", "ms k 3 Mx O" + strings.Repeat("o", 99)},
		problemCountMode: {"ma k MX", "ma k M"},
	} {
		for _, line := range lines {
			var got Request
			Parse([]byte(line), &got)
			if got.Problem != want {
				t.Errorf("%.60q: got %q, want %q", line, got.Problem, want)
			}
		}
	}
}

func TestTheDataOfARefusedSetIsThrownAwayWhereItsSizeIsKnown(t *testing.T) {
	for line, want := range map[string]int{
		"ms k 3 y": 5, "ms k 0 Tx": 2, "ms k 3 v v": 5, "ms " + strings.Repeat("k", 251) + " 3": 5, "ms k 3 MX": 5,
		"ms k 3 !": 0, "ms k -3 y": 0, "ms k x y": 0, "ms k": 0, "mg k y": 0,
	} {
		var got Request
		Parse([]byte(line), &got)
		if got.Problem == "" || got.Swallow != want || got.Command.IsStore() {
			t.Errorf("%.20s: got %q and %d bytes, want %d", line, got.Problem, got.Swallow, want)
		}
	}
}

func TestDecodeKeyTakesWhatMemcachedTakes(t *testing.T) {
	for word, want := range map[string]string{
		"Zm9v": "foo", "Zm8=": "fo", "Zg==": "f", "Zm9vZm8=": "foofo", "+/+/": "\xfb\xff\xbf",
		"Z!m-9.v": "foo", "Zm=v": "f`", "Zm9vZg==Zm9v": "foof",
		"Zm9": "", "": "", "Z": "", "====": "", "A===": "", "!!!!": "",
	} {
		if got := DecodeKey([]byte("<"), []byte(word)); string(got) != "<"+want {
			t.Errorf("%q: got %q, want %q", word, got, "<"+want)
		}
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for n := 1; n <= len(all); n++ {
		word := base64.StdEncoding.EncodeToString(all[:n])
		if got := DecodeKey(nil, []byte(word)); !bytes.Equal(got, all[:n]) {
			t.Errorf("%d bytes: got %x", n, got)
		}
	}
}

func TestMetaReplies(t *testing.T) {
	it := MetaItem{
		Key: []byte("k"), Flags: 7, CAS: 9, Size: 3, TTL: Immortal, TouchedTTL: 30, VivifiedTTL: 60, Idle: 5, Fetched: true,
		WinSent: true, Stale: true, Won: true,
	}
	made := it
	made.Created, made.BinaryKey, made.Fetched, made.TTL = true, true, false, -1
	request := func(flags string) *Request {
		return &Request{Key: []byte("k"), Meta: Meta{Flags: []byte(flags), Value: strings.Contains(flags, "v")}}
	}
	for _, row := range []struct{ name, got, want string }{
		{"a hit shows what was asked for in its order",
			string(AppendMetaGet(nil, request("k Oo s t T30 t c f l h v q"), &it, true)),
			"VA 3 kk Oo s3 t-1 t30 c9 f7 l5 h1 Z X W\r\n"},
		{"a hit without a value is a head", string(AppendMetaGet(nil, request("v"), &it, false)), "HD Z X W\r\n"},
		{"flags act in their turn", string(AppendMetaGet(nil, request("t N60 t T30 t N60 t k h"), &made, false)),
			"HD t4294967295 t60 t30 t60 kaw== b h0 Z X W\r\n"},
		{"a store shows its outcome", string(AppendMetaStored(nil, request("k s c O t v"), MetaNotStored, &it)),
			"NS kk s3 c9 O\r\n"},
		{"a number may be shown", string(AppendMetaNumber(nil, request("t c v"), 12, &it)), "VA 2 t-1 c9\r\n12\r\n"},
		{"or not", string(AppendMetaNumber(nil, request("t k"), 12, &it)), "HD t-1 kk\r\n"},
		{"a code shows key and opaque", string(AppendMetaCode(nil, request("s k O1 c"), MetaNotFound)), "NF kk O1\r\n"},
		{"debugging shows all", string(AppendMetaDebug(nil, &it, 1, 60)),
			"ME k exp=-1 la=5 cas=9 fetch=yes cls=1 size=60\r\n"},
		{"debugging shows a base64 key", string(AppendMetaDebug(nil, &made, 1, 60)),
			"ME aw== exp=-1 la=5 cas=9 fetch=no cls=1 size=60\r\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.got != row.want {
				t.Errorf("got %q, want %q", row.got, row.want)
			}
		})
	}
}

func TestTheLongestMetaHeaderIsNotLonger(t *testing.T) {
	it := MetaItem{
		Key: make([]byte, MaxKeyLen), BinaryKey: true, Flags: 1<<32 - 1, CAS: 1<<64 - 1, Size: 1 << 30,
		TTL: -1, Idle: 1<<63 - 1, WinSent: true, Stale: true, Won: true,
	}
	r := &Request{Meta: Meta{Flags: []byte("k s t c f l h O" + strings.Repeat("o", MaxOpaqueLen-1))}}
	if n := len(AppendMetaGet(nil, r, &it, true)); n > MaxMetaHeader {
		t.Errorf("got %d bytes, want at most %d", n, MaxMetaHeader)
	}
}

func TestMetaCommandsAllocateNothing(t *testing.T) {
	lines := [][]byte{
		[]byte("mg k v s t c Oabc"), []byte("ms k 5 T30 C7 MR"), []byte("mg Zm9v b k"), []byte("ma k N0 J5 q"),
	}
	var r Request
	dst, key := make([]byte, 0, MaxMetaHeader), make([]byte, 0, MaxKeyLen)
	it := MetaItem{Key: []byte("k"), BinaryKey: true}
	allocs := testing.AllocsPerRun(100, func() {
		for _, line := range lines {
			Parse(line, &r)
			DecodeKey(key, r.Key)
			AppendMetaGet(dst, &r, &it, true)
			AppendMetaNumber(dst, &r, 5, &it)
			AppendMetaCode(dst, &r, MetaMiss)
		}
	})
	if allocs != 0 {
		t.Errorf("got %v allocations, want none", allocs)
	}
}
