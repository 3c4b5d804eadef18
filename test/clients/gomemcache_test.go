// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build clients

package clients

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

// useGomemcache does what the scripts do.
func useGomemcache(t *testing.T, addr string) {
	t.Helper()
	c := memcache.New(addr)
	c.Timeout = 10 * time.Second
	defer func() { _ = c.Close() }()
	item := func(key, value string) *memcache.Item {
		return &memcache.Item{Key: "gomemcache-" + key, Value: []byte(value)}
	}
	must := func(step string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
	}
	refused := func(step string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Fatalf("%s: got %v, want %v", step, err, want)
		}
	}
	reads := func(key, want string) {
		t.Helper()
		got, err := c.Get("gomemcache-" + key)
		if err != nil || string(got.Value) != want {
			t.Fatalf("get %s: got %v, %v, want %.40q", key, got, err, want)
		}
	}
	short, touched := item("short", "v"), item("touched", "v")
	short.Expiration, touched.Expiration = 2, 2
	must("set short", c.Set(short))
	must("set touched", c.Set(touched))
	must("touch", c.Touch(touched.Key, 100))
	refused("touch of nothing", c.Touch("gomemcache-none", 100), memcache.ErrCacheMiss)
	must("set", c.Set(item("k", "value")))
	reads("k", "value")
	refused("add", c.Add(item("k", "v")), memcache.ErrNotStored)
	must("add", c.Add(item("added", "v")))
	must("replace", c.Replace(item("k", "replaced")))
	refused("replace of nothing", c.Replace(item("none", "v")), memcache.ErrNotStored)
	must("append", c.Append(item("k", ">")))
	must("prepend", c.Prepend(item("k", "<")))
	reads("k", "<replaced>")
	versioned, err := c.Get("gomemcache-k")
	must("gets", err)
	versioned.Value, versioned.Flags = []byte("swapped"), 77
	must("cas", c.CompareAndSwap(versioned))
	refused("cas of an old version", c.CompareAndSwap(versioned), memcache.ErrCASConflict)
	if got, err := c.GetAndTouch(versioned.Key, 100); err != nil || got.Flags != 77 || string(got.Value) != "swapped" {
		t.Fatalf("gat: %v, %v", got, err)
	}
	must("set n", c.Set(item("n", "10")))
	up, err1 := c.Increment("gomemcache-n", 5)
	down, err2 := c.Decrement("gomemcache-n", 20)
	if must("incr and decr", errors.Join(err1, err2)); up != 15 || down != 0 {
		t.Fatalf("incr and decr: %d, %d", up, down)
	}
	must("delete", c.Delete("gomemcache-k"))
	refused("delete again", c.Delete("gomemcache-k"), memcache.ErrCacheMiss)
	keys := []string{"gomemcache-none"}
	for i := range 100 {
		many := item(fmt.Sprintf("many%d", i), fmt.Sprint(i))
		keys = append(keys, many.Key)
		must("set many", c.Set(many))
	}
	if got, err := c.GetMulti(keys); err != nil || len(got) != 100 || string(got["gomemcache-many99"].Value) != "99" {
		t.Fatalf("get many: %d items, %v", len(got), err)
	}
	large := item("large", "")
	large.Value = bytes.Repeat([]byte("\r\nEND\r\n\x00\xff"), 60_000)
	must("set large", c.Set(large))
	reads("large", string(large.Value))
	time.Sleep(3200 * time.Millisecond)
	reads("touched", "v")
	_, err = c.Get("gomemcache-short")
	refused("expiry", err, memcache.ErrCacheMiss)
}
