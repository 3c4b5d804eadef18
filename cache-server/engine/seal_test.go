// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// arenaPath is a path for an arena that is removed at the test's end, on tmpfs where there is one.
func arenaPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "memkeep-test-") //nolint:usetesting // a disk would be slow
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "arena")
}

// fileEngine opens an engine whose arena is the file at path.
func fileEngine(t testing.TB, path string, cfg Config) (*Engine, Report) {
	t.Helper()
	b, err := BackingFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Backing = b
	e, report, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e, report
}

// sealed ends an engine, which must be consistent.
func sealed(t testing.TB, e *Engine) {
	t.Helper()
	e.keeper.stop()
	e.verifier.stop()
	if err := e.check(); err != nil {
		t.Fatalf("before the seal: %v", err)
	}
	if err := e.Seal(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// kept is what is known of an item.
type kept struct {
	value []byte
	item  Item
}

// contents reads all items, without counting as use where it can. The keeper
// evicts when it likes, so it is stopped.
func contents(t testing.TB, e *Engine) map[string]kept {
	t.Helper()
	e.keeper.stop()
	all := map[string]kept{}
	e.Range(func(key []byte, it Item) bool {
		if _, twice := all[string(key)]; twice {
			t.Errorf("key %q is there twice", key)
		}
		all[string(key)] = kept{item: it}
		return true
	})
	for key := range all {
		v, it, ok := e.Get(nil, []byte(key))
		if !ok {
			t.Fatalf("key %q is in Range and not in Get", key)
		}
		all[key] = kept{value: v, item: Item{Flags: it.Flags, CAS: it.CAS, Expires: it.Expires, Size: it.Size}}
	}
	return all
}

func sameContents(t testing.TB, want, got map[string]kept) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%d items, want %d", len(got), len(want))
	}
	for key, w := range want {
		g, ok := got[key]
		if !ok || !bytes.Equal(w.value, g.value) || w.item != g.item {
			t.Fatalf("key %q: got %+v with %d bytes, want %+v with %d", key, g.item, len(g.value), w.item, len(w.value))
		}
	}
}

// churn stores, changes and removes items of all sizes.
func churn(e *Engine, r *rand.Rand, n, most int) {
	for range n {
		key := fmt.Appendf(nil, "key-%d", r.IntN(4000))
		size := r.IntN(200)
		if r.IntN(50) == 0 {
			size = r.IntN(most)
		}
		value := bytes.Repeat([]byte{byte(r.IntN(256))}, size)
		m := Mutation{Verb: Set, Key: key, Value: value, Flags: r.Uint32() * uint32(r.IntN(2))}
		switch r.IntN(12) {
		case 0:
			m.Verb = Delete
		case 1:
			m.Verb = Append
		case 2:
			m.Expires = e.Now() + int64(r.IntN(1000)) + 100
		case 3:
			e.Get(nil, key)
			continue
		}
		e.Apply(&m)
	}
}

func TestItemsOutliveTheProcess(t *testing.T) {
	memfd := func(t *testing.T) func() *Backing {
		fd, err := unix.MemfdCreate("arena", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		if err != nil {
			t.Skipf("no memfd: %v", err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return func() *Backing {
			handed, err := unix.Dup(fd)
			if err != nil {
				t.Fatal(err)
			}
			b, err := BackingDescriptor(handed)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	file := func(t *testing.T) func() *Backing {
		path := arenaPath(t)
		return func() *Backing {
			b, err := BackingFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	for name, backing := range map[string]func(*testing.T) func() *Backing{"a file": file, "a memfd": memfd} {
		t.Run(name, func(t *testing.T) {
			next, r := backing(t), rand.New(rand.NewPCG(3, 4))
			var want map[string]kept
			for round := range 5 {
				e, report, err := Open(Config{MaxBytes: 8 << 20, MaxItemSize: 2 << 20, Backing: next()})
				if err != nil {
					t.Fatal(err)
				}
				if report.Warm != (round > 0) {
					t.Fatalf("round %d: %+v", round, report)
				}
				var cas uint64
				for _, k := range want {
					cas = max(cas, k.item.CAS)
				}
				if round != 3 { // the fourth time nothing is touched, so that most is sealed unverified
					if round > 0 {
						sameContents(t, want, contents(t, e))
					}
					churn(e, r, 30_000, 1<<20)
				}
				if res := e.Apply(&Mutation{Verb: Set, Key: []byte("new")}); res.CAS <= cas {
					t.Errorf("CAS %d after one of %d", res.CAS, cas)
				}
				if round != 3 {
					want = contents(t, e)
				} else {
					v, it, _ := e.Get(nil, []byte("new"))
					want["new"] = kept{v, it}
					want["new"] = kept{v, Item{CAS: it.CAS}}
				}
				sealed(t, e)
			}
		})
	}
}

func TestEventCountersBeginAnewAndStatesStay(t *testing.T) {
	path, cfg := arenaPath(t), Config{MaxBytes: 8 << 20, MaxItemSize: 1 << 20}
	e, _ := fileEngine(t, path, cfg)
	churn(e, rand.New(rand.NewPCG(1, 1)), 50_000, 1<<19)
	e.keeper.stop()
	before := e.Stats()
	sealed(t, e)
	e, report := fileEngine(t, path, cfg)
	if report.Items != before.CurrItems {
		t.Errorf("the report tells %d items, there are %d", report.Items, before.CurrItems)
	}
	want := Stats{CurrItems: before.CurrItems, Bytes: before.Bytes, LimitBytes: before.LimitBytes, HashPower: 16}
	got := counted(e.Stats())
	got.Unverified = 0
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestAttachingReadsNoItems gates what work grows with: units read, not time.
func TestAttachingReadsNoItems(t *testing.T) {
	path, cfg := arenaPath(t), Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20}
	e, _ := fileEngine(t, path, cfg)
	value := make([]byte, 400)
	for i := range 100_000 {
		e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: value})
	}
	sealed(t, e)
	e, _ = fileEngine(t, path, cfg)
	e.verifier.stop()
	e.keeper.stop()
	before := e.Stats().Unverified
	if before < 400 {
		t.Fatalf("%d units are unverified after attaching", before)
	}
	// One unit of the index, one of items, and whatever else has the key's tag; fewer where the verifier was there
	// before it was stopped.
	all := before
	for i := range 10 {
		before = e.Stats().Unverified
		if _, _, ok := e.Get(nil, fmt.Appendf(nil, "key-%d", 99_999-i*5_000)); !ok {
			t.Fatal("an item is gone")
		}
		if n := before - e.Stats().Unverified; n > 8 {
			t.Errorf("one get verified %d units", n)
		}
	}
	if all-e.Stats().Unverified < 2 {
		t.Errorf("ten gets verified %d units", all-e.Stats().Unverified)
	}
	for u := range e.pending {
		e.verifyUnit(unit(u))
	}
	if s := e.Stats(); s.Unverified != 0 || s.LostUnits != 0 {
		t.Errorf("after the background's work: %+v", s)
	}
}

func TestTheClockGoesOnOverARestart(t *testing.T) {
	path := arenaPath(t)
	now := int64(1_000_000)
	cfg := Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20, Now: func() int64 { return now }}
	e, _ := fileEngine(t, path, cfg)
	set := func(key string, expires int64) {
		t.Helper()
		m := Mutation{Verb: Set, Key: []byte(key), Value: []byte(key), Expires: expires}
		if res := e.Apply(&m); res.Outcome != Stored {
			t.Fatalf("%s: %v", key, res.Outcome)
		}
	}
	there := func(want ...string) {
		t.Helper()
		for _, key := range []string{"soon", "later", "never", "new"} {
			_, _, ok := e.Get(nil, []byte(key))
			if wanted := strings.Contains(strings.Join(want, " "), key); ok != wanted {
				t.Errorf("at %d: %s is there: %v", e.Now(), key, ok)
			}
		}
	}
	restart := func(step int64) {
		t.Helper()
		sealed(t, e)
		now += step
		var report Report
		if e, report = fileEngine(t, path, cfg); !report.Warm {
			t.Fatalf("cold: %s", report.Reason)
		}
	}
	set("soon", now+10)
	set("later", now+100)
	set("never", 0)
	now += 9
	restart(0)
	there("soon", "later", "never")
	restart(-500) // wall time was set back while nobody looked
	if e.Now() != 1_000_009 {
		t.Errorf("the clock is at %d", e.Now())
	}
	there("soon", "later", "never")
	now++
	there("later", "never")
	e.FlushAll(e.Now() + 50)
	restart(0)
	there("later", "never")
	now += 49
	there("later", "never")
	now++ // the flush that was pending over the restart
	set("new", 0)
	there("new")
	restart(0)
	there("new")
	e.FlushAll(0)
	restart(0)
	there()
	set("later", e.Now()+10)
	restart(10_000)
	there()
}

func TestAnotherBudgetIsTakenAsFarAsItReaches(t *testing.T) {
	path := arenaPath(t)
	cfg := Config{MaxBytes: 32 << 20, MaxItemSize: 1 << 20}
	e, _ := fileEngine(t, path, cfg)
	for i := range 200_000 {
		e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, 150)})
	}
	for _, row := range []struct {
		budget int64
		warm   bool
	}{{8 << 20, true}, {64 << 20, true}, {2 << 30, false}} {
		sealed(t, e)
		cfg.MaxBytes = row.budget
		var report Report
		e, report = fileEngine(t, path, cfg)
		if report.Warm != row.warm || !strings.Contains(report.Reason, "budget") {
			t.Fatalf("budget %d: %+v", row.budget, report)
		}
		e.keeper.stop()
		for e.maintain() {
		}
		if s := e.Stats(); s.LimitBytes != row.budget || s.MappedBytes > row.budget || (s.CurrItems > 0) != row.warm {
			t.Errorf("budget %d: %+v", row.budget, s)
		}
	}
}

func TestASealThatCannotEndInTimeIsNone(t *testing.T) {
	path, cfg := arenaPath(t), Config{MaxBytes: 2 << 20, MaxItemSize: 1 << 20}
	e, _ := fileEngine(t, path, cfg)
	e.Apply(&Mutation{Verb: Set, Key: []byte("k")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Seal(ctx); err == nil {
		t.Error("no error")
	}
	e, report := fileEngine(t, path, cfg)
	if report.Warm || e.Stats().CurrItems != 0 {
		t.Errorf("got %+v", report)
	}
}

// TestWhatIsSealedIsDecided fails when a field is added, so that somebody decides whether a restart needs it.
// Raise layoutVersion with every change of what is sealed.
func TestWhatIsSealedIsDecided(t *testing.T) {
	for _, row := range []struct {
		of   any
		want string
	}{
		{partition{}, "mu e a pool id closed idx queues open spare spares wanted units dead drain laps cleanAt bad " +
			"excess work n classes _"},
		{index{}, "a dir n next sweep items shift moved warmed"},
		{queue{}, "oldest newest units"},
		{drain{}, "unit cursor copying clean opened"},
		{pool{}, "a mu resident returned residentN high used budget ceiling overdrafts parts room share bytes"},
		{hashKey{}, "a b"},
		{unitDesc{}, "next prev state queue patience part used live records largest minExp pins seq base born walkAt"},
	} {
		var names []string
		for f := range reflect.TypeOf(row.of).Fields() {
			names = append(names, f.Name)
		}
		if got := strings.Join(names, " "); got != row.want {
			t.Errorf("%T has the fields %q, and what is sealed was decided for %q", row.of, got, row.want)
		}
	}
}
